"""Who tries."""

from attempts import HOME, RELEASE
from kubernetes import account, user
from objects import PROJECT

alice, dave = user("alice", "researchers"), user("dave", "researchers")
bob, carol = user("bob", "checkers"), user("carol", "checkers")
olga, mallory = user("olga", "officers"), user("mallory", "mallories")
obrien = user("o'brien", "researchers")
star = user("star", "stars")  # verbs *, resources *: as cluster-admin
masters = user("root", "system:masters")
flux, ogit = user("flux-bot", "bots"), user("o'gitops", "bots")  # delegates: see values-forge.yaml
robot, scanner = account(PROJECT, "robot"), account("forge-checks", "scanner")  # the scanner may review
node = user("system:node:n1", "system:nodes")
fake_controller = account(HOME, f"{RELEASE}-controller")  # kubectl --as
collector = account("kube-system", "generic-garbage-collector")

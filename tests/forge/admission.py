"""The admission policies alone: everybody has every right on our kinds that RBAC can give by name.

Only admission stands between these people and the objects. The operator must not run: it
would act on what is made here.
"""

import secrets

import admission_operator as operator
import admission_people as people
from attempts import HOME, RELEASE, Attempts
from cast import alice, bob, dave, flux, olga
from kubernetes import ADMIN, account_subject, core, group_subject, until, user_subject
from objects import ACTIONS, GROUP, KINDS, POLICIES, PROJECT, RECORDS, REQUESTS, REVIEWS, SESSIONS, act, path, policy, rec, req, rev, sess

VERBS = ["create", "get", "list", "watch", "update", "patch", "delete", "deletecollection"]
ADMISSION = "/apis/admissionregistration.k8s.io/v1"
RBAC = "/apis/rbac.authorization.k8s.io/v1"
ROLES = ("forge-generous", "forge-star", "forge-own-volume")


class Fixtures:
    """What is there before the attacks, made by the front door."""

    def __init__(self, t):
        self.run = secrets.token_hex(3)
        self.going = self.name("forge-going")

        def made(who, kind, body):
            return t.api.must("POST", path(kind), body, who)["metadata"]["name"]

        self.request = made(alice, REQUESTS, req(self.name("r-alice"), submitter="alice"))
        self.by_git = made(flux, REQUESTS, req(self.name("r-git"), submitter="alice", createdBy="flux-bot"))
        self.daves = made(dave, REQUESTS, req(self.name("r-dave"), submitter="dave"))
        self.review = made(bob, REVIEWS, rev(self.name("v-bob") + "-", reviewer="bob"))
        self.action = made(olga, ACTIONS, act(self.name("t-olga") + "-", "HoldOfficer", "Hold", actor="olga"))
        self.session = made(alice, SESSIONS, sess(user="alice", groups=alice["all"]))
        self.record = made(t.controller, RECORDS, rec(self.name("rec")))
        self.policy = t.api.must("POST", path(POLICIES, ns=None), policy(self.name("policy")), ADMIN)["metadata"]["name"]

    def name(self, stem):
        """A name that no other run has."""
        return f"{stem}-{self.run}"


def attack(api, table, fills, without):
    """Every row; `without` the chart's bindings it counts what gets through, and judges nothing."""
    t = Attempts(api, table, fills, without)
    table.begin("admission: RBAC as generous as it gets")
    t.controller, t.unbound = operator_tokens(api, f"{RELEASE}-controller")
    t.gateway, _ = operator_tokens(api, f"{RELEASE}-gateway")
    be_generous(api)
    f = Fixtures(t)
    grant(api, f.going)
    held = bindings(api) if without else []
    try:
        remove(api, held)
        people.requests_created(t, f)
        people.requests_updated(t, f)
        people.requests_deleted(t, f)
        people.reviews(t, f)
        people.actions(t, f)
        people.sessions(t, f)
        operator.records(t, f)
        operator.status(t, f)
        people.volumes(t, f)
        operator.accounts(t, f)
        operator.certificates(t, f)
        operator.probe(t, f)
        operator.jobs(t, f)
        operator.packaging_jobs(t, f)
        operator.definitions(t, f)
        operator.clean_up(t, f)
    finally:
        for place, binding in held:
            api.ensure(place, binding)
        be_strict(api, t.controller)
    return t


def be_generous(api):
    """Namespaces, and rights for everybody."""
    for name in (PROJECT, people.OTHER_PROJECT, "forge-checks"):
        namespace(api, name)
    every = list(KINDS) + [f"{kind}/status" for kind in KINDS]
    api.cluster_role("forge-generous", [{"apiGroups": [GROUP], "resources": every, "verbs": VERBS}])
    api.cluster_role("forge-star", [{"apiGroups": ["*"], "resources": ["*"], "verbs": ["*"]}])
    api.cluster_role("forge-own-volume", [{"apiGroups": [""], "resources": ["persistentvolumeclaims"],
                                           "verbs": ["airlock-read", "airlock-write"], "resourceNames": ["alice-work"]}])
    api.bind("forge-generous", "forge-generous", [group_subject("system:authenticated")])
    operators = [account_subject(HOME, f"{RELEASE}-{process}") for process in ("controller", "gateway")]
    api.bind("forge-star", "forge-star", [user_subject("star"), *operators])
    grant(api, PROJECT)


def namespace(api, name):
    api.ensure("/api/v1/namespaces", {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}})


def grant(api, project):
    """The chart's roles, to those of the cast who have them."""
    namespace(api, project)
    robot, scanner = account_subject(PROJECT, "robot"), account_subject("forge-checks", "scanner")
    api.bind("researchers", f"{RELEASE}-researcher", [group_subject("researchers"), group_subject("bots"), robot], project)
    api.bind("checkers", f"{RELEASE}-checker", [group_subject("checkers"), robot, scanner], project)
    api.bind("officers", f"{RELEASE}-hold-officer", [group_subject("officers")], project)
    api.bind("volumes", "forge-own-volume", [user_subject("alice")], project)


def be_strict(api, controller):
    """Take it all back, so that what follows meets RBAC as the chart ships it."""
    for name in ("forge-generous", "forge-star"):
        api.call(ADMIN, "DELETE", f"{RBAC}/clusterrolebindings/{name}")
    for project in (PROJECT, people.OTHER_PROJECT):
        for item in api.must("GET", path(REQUESTS, ns=project))["items"]:
            if item["metadata"].get("finalizers"):
                api.must("PATCH", path(REQUESTS, item["metadata"]["name"], ns=project), {"metadata": {"finalizers": None}}, controller)
    for name in (PROJECT, people.OTHER_PROJECT, "forge-checks"):
        api.must("DELETE", f"/api/v1/namespaces/{name}")
    for name in ROLES:
        api.call(ADMIN, "DELETE", f"{RBAC}/clusterroles/{name}")


def operator_tokens(api, account):
    """Tokens of one of the operator's accounts: bound to a Pod object that nothing runs, and not bound."""
    pod = core("pods", f"forge-{account}", HOME)
    if api.call(ADMIN, "GET", pod)[0] == 404:
        api.must("POST", core("pods", namespace=HOME), {
            "apiVersion": "v1", "kind": "Pod", "metadata": {"name": f"forge-{account}"},
            "spec": {"serviceAccountName": account, "automountServiceAccountToken": False,
                     "containers": [{"name": "c", "image": "none"}]}})
    bound = api.account_token(HOME, account, pod=api.must("GET", pod)["metadata"])
    return {"token": bound}, {"token": api.account_token(HOME, account)}


def bindings(api):
    """The chart's bindings, as they can be made again."""
    found = []
    for kind in ("ValidatingAdmissionPolicyBinding", "MutatingAdmissionPolicyBinding"):
        place = f"{ADMISSION}/{kind.lower()}s"
        for item in api.call(ADMIN, "GET", place)[1].get("items", []):
            meta = {key: item["metadata"].get(key, {}) for key in ("name", "labels", "annotations")}
            if meta["name"].startswith(f"{RELEASE}-"):
                found.append((place, {"apiVersion": "admissionregistration.k8s.io/v1", "kind": kind, "metadata": meta, "spec": item["spec"]}))
    return found


def remove(api, held):
    """Delete the bindings, and wait until the API server no longer asks the policies."""
    for place, binding in held:
        api.must("DELETE", f"{place}/{binding['metadata']['name']}")
    forged = req("without", submitter="somebody-else")
    if held and not until(lambda: api.call(dave, "POST", path(REQUESTS), forged, dryRun="All")[0] == 201):
        raise SystemExit("the policies still hold without their bindings")

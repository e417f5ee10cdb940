"""Each right of the operator's accounts is needed by a test, and they ask for nothing that they may not.

    rules_used.py <environment's folder> <folder of the API servers' audit logs>

The last thing that is done with an environment, after every test: it ends the operator, and then takes each rule away
from the roles that are live, and each right of it, in turn, asks the API server whether something that the operator did
in a test would now be denied, and puts it back. Then the same with the roles that other values of the chart make.
"""

import collections
import contextlib
import itertools
import json
import re
import signal
import sys
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent / "env"), str(HERE.parent / "chart")]
import trevor  # noqa: E402
from cluster import OPERATOR_NAMESPACE as HOME  # noqa: E402
from kube import Kube  # noqa: E402
from render import CHART, documents, helm  # noqa: E402

ACCOUNTS = f"system:serviceaccount:{HOME}:"
GROUPS = ["system:serviceaccounts", f"system:serviceaccounts:{HOME}", "system:authenticated"]
RBAC = "/apis/rbac.authorization.k8s.io/v1"
KINDS = {"ClusterRole": "clusterroles", "ClusterRoleBinding": "clusterrolebindings", "Role": "roles", "RoleBinding": "rolebindings"}
PROJECT = "project-a"  # stands for every project: no role distinguishes them
NO_PROJECTS = (HOME, "default", "kube-system")
PROBE = "trevor-probe"  # the name of the controller's dry runs, which are there to be refused (_helpers.tpl)
BEFORE_AUTHORIZATION = (429, 503, 504)  # what a busy API server answers before it asks whether somebody may
NOTICES = 10  # seconds, in which the authorizer notices a change: it takes milliseconds

Request = collections.namedtuple("Request", "account verb group resource name namespace")
# namespace None: in each, and what has none. name None: every name.
Right = collections.namedtuple("Right", "account verb group resource name namespace")
# A role as it is bound: in a namespace or (None) in all.
Role = collections.namedtuple("Role", "title path document account namespace")


def without_jobs(one):
    """Whether it is asked for where the values name no image for Jobs in projects."""
    return one.namespace == HOME or (one.group, one.resource) not in {("batch", "jobs"), ("", "pods"), ("", "events")}


LISTED, NO_IMAGES = f'namespaces=["{PROJECT}"]', "jobs.images=[]"
VARIANTS = (  # name, what of the environment's values is another, which requests would be made
    ("as the environment is", (), lambda one: True),
    ("projects that are listed", (LISTED,), lambda one: True),
    ("no Jobs in projects", (NO_IMAGES,), without_jobs),
    ("no Jobs in projects that are listed", (LISTED, NO_IMAGES), without_jobs),
)

def said(one):
    """A request or a right, for people."""
    kind = f"{one.resource}.{one.group}" if one.group else one.resource
    name = f" {one.name}" if one.name else ""
    return f"{one.account}: {one.verb} {kind}{name} ({f'in {one.namespace}' if one.namespace else 'cluster-wide'})"


# What was asked for.

def request_of(event):
    at = event.get("objectRef", {"resource": event["requestURI"]})
    resource, namespace = "/".join(filter(None, (at["resource"], at.get("subresource")))), at.get("namespace")
    if namespace and namespace not in NO_PROJECTS:
        namespace = PROJECT
    # RBAC looks at the name in the path. A POST has none there, whatever the log calls what was made.
    name = None if event["verb"] == "create" else at.get("name")
    return Request(event["user"]["username"].removeprefix(ACCOUNTS), event["verb"], at.get("apiGroup", ""), resource, name, namespace)


def events(folder):
    for log in folder.glob("*.log"):
        with log.open() as lines:
            yield from (json.loads(line) for line in lines if line.endswith("\n"))  # the last one may be half written


def recorded(folder):
    """What was allowed, and what was forbidden: each request with how often it was made."""
    allowed, forbidden = collections.Counter(), collections.Counter()
    for event in events(folder):
        asked, code = request_of(event), event.get("responseStatus", {}).get("code")
        probes, dry = asked.name == PROBE, "dryRun=" in event["requestURI"]
        decision = event.get("annotations", {}).get("authorization.k8s.io/decision")
        if decision is None and code in BEFORE_AUTHORIZATION:
            continue
        if decision != "allow":
            forbidden[asked] += 1
        # A dry run is a test's own, but for the probe's; so is what admission refuses.
        elif "objectRef" in event and (probes if dry else code != 403):
            allowed[asked] += 1
            # Within an apply of what is not there, the API server asks for `create` of that name, and logs it not.
            if probes or (asked.verb == "patch" and code == 201):
                allowed[asked._replace(verb="create")] += 1
    return allowed, forbidden


# What is allowed.

def rights(role, rule):
    if "nonResourceURLs" in rule or any("*" in rule[part] for part in ("verbs", "apiGroups", "resources")):
        raise SystemExit(f"{role.title} has a rule that is not taken apart here: {rule}")
    parts = itertools.product(rule["verbs"], rule["apiGroups"], rule["resources"], rule.get("resourceNames", [None]))
    return [Right(role.account, *part, role.namespace) for part in parts]


def allows(right, asked):
    return right[:4] == asked[:4] and right.name in (None, asked.name) and right.namespace in (None, asked.namespace)


def as_rule(right):
    names = {"resourceNames": [right.name]} if right.name else {}
    return {"apiGroups": [right.group], "resources": [right.resource], "verbs": [right.verb], **names}


def path_of(kind, name, namespace):
    scope = f"/namespaces/{namespace}" if namespace and not kind.startswith("Cluster") else ""
    return f"{RBAC}{scope}/{KINDS[kind]}/{name}"


@contextlib.contextmanager
def nothing_interrupts():
    """What was taken away is put back, also when the run is ended meanwhile."""
    before = {number: signal.signal(number, signal.SIG_IGN) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


class Cluster:
    def __init__(self, folder):
        self.folder, kubeconfig = folder, json.loads((folder / "kubeconfig").read_text())
        (token,) = [user["user"]["token"] for user in kubeconfig["users"] if user["name"] == "admin"]
        port = int(kubeconfig["clusters"][0]["cluster"]["server"].rsplit(":", 1)[1])
        self.kube = Kube(port, folder / "cluster/ca.crt", token)

    def call(self, method, path, body=None):
        status, answer = self.kube.call(method, path, body)
        if status not in (200, 201):
            raise SystemExit(f"{method} {path}: {status} {answer}")
        return answer

    def put(self, path, document):
        """Writes it as it is here, whatever it is meanwhile."""
        metadata = {key: value for key, value in document["metadata"].items() if key not in ("resourceVersion", "managedFields")}
        self.call("PUT", path, {**document, "metadata": metadata})

    def roles(self):
        """Those that are bound to the operator's accounts by name. What groups may do, of whom they are, is not theirs."""
        found = []
        for kind in ("ClusterRoleBinding", "RoleBinding"):
            for binding in self.call("GET", f"{RBAC}/{KINDS[kind]}")["items"]:
                namespace, ref = binding["metadata"].get("namespace"), binding["roleRef"]
                path, title = path_of(ref["kind"], ref["name"], namespace), f"{ref['kind']} {ref['name']}"
                for subject in binding.get("subjects", []):
                    if subject["kind"] == "ServiceAccount" and subject.get("namespace", namespace) == HOME:
                        document = self.call("GET", path)
                        found.append(Role(f"{title} in {namespace}" if namespace else title, path, document, subject["name"], namespace))
        return found

    @contextlib.contextmanager
    def with_rules(self, role, rules):
        try:
            self.put(role.path, {**role.document, "rules": rules})
            yield
        finally:
            with nothing_interrupts():
                self.put(role.path, role.document)

    @contextlib.contextmanager
    def with_values(self, changes):
        """The roles that the chart makes with these values, until the end of the block; with none, those that are there."""
        if not changes:
            yield
            return
        more = [word for change in changes for word in ("--set-json", change)]
        code, out, error = helm("template", "trevor", CHART, "-n", HOME, "-f", self.folder / "values.yaml", *more)
        if code:
            raise SystemExit(f"helm template: {error}")
        texts = re.split(r"^---\s*$", out, flags=re.MULTILINE)
        ours = [text for text in texts if re.search(rf"^kind: ({'|'.join(KINDS)})$", text, re.MULTILINE)]
        before = {}
        try:
            for document in documents("\n---\n".join(ours)):
                metadata = document["metadata"]
                path = path_of(document["kind"], metadata["name"], metadata.get("namespace"))
                status, live = self.kube.call("GET", path)
                before[path] = live if status == 200 else None
                if status == 200:
                    self.put(path, {**live, **{key: document[key] for key in ("rules", "subjects") if key in document}})
                else:
                    self.call("POST", path.rsplit("/", 1)[0], document)
            yield
        finally:
            with nothing_interrupts():
                for path, live in before.items():
                    if live:
                        self.put(path, live)
                    else:
                        self.kube.call("DELETE", path)

    def is_allowed(self, asked):
        resource, _, subresource = asked.resource.partition("/")
        review = {"apiVersion": "authorization.k8s.io/v1", "kind": "SubjectAccessReview", "spec": {
            "user": ACCOUNTS + asked.account, "groups": GROUPS, "resourceAttributes": {
                "verb": asked.verb, "group": asked.group, "resource": resource, "subresource": subresource,
                "name": asked.name or "", "namespace": asked.namespace or ""}}}
        return self.call("POST", "/apis/authorization.k8s.io/v1/subjectaccessreviews", review)["status"]["allowed"]

    def becomes(self, allowed, asked):
        """Waits until it is allowed, or until it is denied; whether that came true."""
        deadline = time.monotonic() + NOTICES
        while self.is_allowed(asked) is not allowed:
            if time.monotonic() > deadline:
                return False
            time.sleep(0.01)
        return True


# What is checked.

def check(cluster, asked):
    """The roles that are live, against what was asked for: problems, and how many rules and rights there are."""
    roles, problems, needed, covered = cluster.roles(), [], collections.defaultdict(list), collections.defaultdict(list)
    every = [right for role in roles for rule in role.document["rules"] for right in rights(role, rule)]
    names = {right.name for right in every}
    for one in {one if one.name in names else one._replace(name=None) for one in asked}:
        found = [right for right in every if allows(right, one)]
        for right in found:
            (needed if len(found) == 1 else covered)[right].append(one)
        # What everybody may do is no business of these roles.
        if not found and not cluster.becomes(True, one):
            problems.append(f"{said(one)} is asked for, and denied")
    for right in every:
        if not needed[right]:
            why = "another one covers it" if covered[right] else "no test needs it"
            problems.append(f"{said(right)}: {why}: take it out of _rbac.tpl, or test it")
        elif right.namespace is None and {one.namespace for one in needed[right]} == {HOME}:
            problems.append(f"{said(right)} is needed in {HOME} alone: it belongs to the rules for there")
    for role in roles:
        for number, rule in enumerate(role.document["rules"]):
            others = role.document["rules"][:number] + role.document["rules"][number + 1:]
            own = rights(role, rule)
            witnesses = [one for by in (needed, covered) for right in own for one in by[right]]
            problems += removed(cluster, role, others, f"rule {json.dumps(rule)}", witnesses)
            for right in own if len(own) > 1 else []:
                rest = [as_rule(one) for one in own if one != right]
                problems += removed(cluster, role, others + rest, said(right), needed[right])
    return problems, sum(len(role.document["rules"]) for role in roles), len(every)


def removed(cluster, role, rest, what, witnesses):
    """With the rest of its rules alone, the role no longer allows what was asked for, and as it was it does."""
    if not witnesses:
        return  # told already
    with cluster.with_rules(role, rest):
        denied = cluster.becomes(False, witnesses[0])
    if not denied:
        yield f"{role.title}: {what} is covered by another one or not needed: all is allowed without it"
    if not cluster.becomes(True, witnesses[0]):
        raise SystemExit(f"{role.title} is as it was, and does not allow what it did: {said(witnesses[0])}")


def main():
    folder, logs = (Path(word).resolve() for word in sys.argv[1:])
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    trevor.stop_operator(folder)
    cluster, (allowed, forbidden) = Cluster(folder), recorded(logs)
    problems = [f"{said(one)} was forbidden, {count} times" for one, count in forbidden.items()]
    print(f"{sum(allowed.values())} requests of the operator's accounts, {len(allowed)} different ones; {sum(forbidden.values())} forbidden")
    for name, changes, would_be_made in VARIANTS:
        began, asked = time.monotonic(), [one for one in allowed if would_be_made(one)]
        with cluster.with_values(changes):
            found, rules, count = check(cluster, asked)
        print(f"{name}: {rules} rules with {count} rights, each taken away in turn, {time.monotonic() - began:.1f} s")
        problems += [f"{name}: {problem}" for problem in found]
    print("\n".join(problems) or "each is needed by a test, and nothing else was asked for")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())

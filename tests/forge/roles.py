"""RBAC as the chart ships it: the roles, bound in a project, and nothing more. The operator runs."""

from attempts import HOME, RELEASE, Attempts
from kubernetes import ADMIN, core, until, user, user_subject
from objects import ACTIONS, GROUP, KINDS, POLICIES, RECORDS, REQUESTS, REVIEWS, SESSIONS, act, obj, owner, path, policy, rec, req, rev, sess

PROJECT, OTHER_PROJECT = "project-a", "project-b"  # the environment binds its users' roles there
READ = {"get", "list"}
# docs/reference/permissions.md#roles: what is not listed is refused.
RIGHTS = {
    "researcher": {REQUESTS: READ | {"create", "update", "patch", "apply", "delete"}, REVIEWS: READ, ACTIONS: READ | {"create"},
                   RECORDS: READ, SESSIONS: {"create", "get", "delete"}},
    "checker": {REQUESTS: READ, REVIEWS: READ | {"create"}, ACTIONS: READ | {"create"}, RECORDS: READ, SESSIONS: {"create", "get", "delete"}},
    "hold officer": {REQUESTS: READ, REVIEWS: READ, ACTIONS: READ | {"create"}, RECORDS: READ, SESSIONS: {"create", "get", "delete"}},
    "records reader": {REQUESTS: READ, REVIEWS: READ, ACTIONS: READ, RECORDS: READ, SESSIONS: {"create", "get", "delete"}},
    "trevor's admin": {POLICIES: READ | {"create", "update", "patch", "apply", "delete", "delete all"}, REQUESTS: READ, REVIEWS: READ,
                       ACTIONS: READ, RECORDS: READ},
    "namespace admin": {},
    "outsider": {},
}


def attack(api, table):
    """Every row."""
    t = Attempts(api, table)
    alice, bob, carol, dave, mallory, olga = ({"token": api.tokens[name]} for name in ("alice", "bob", "carol", "dave", "mallory", "olga"))
    rita, petra, ned = user("rita"), user("petra"), user("ned")
    api.bind("forge-records-reader", f"{RELEASE}-records-reader", [user_subject("rita")], PROJECT)
    api.bind("forge-trevor-admin", f"{RELEASE}-admin", [user_subject("petra")])
    api.bind("forge-namespace-admin", "admin", [user_subject("ned")], PROJECT)
    until(lambda: api.allowed("ned", verb="create", resource="rolebindings", group="rbac.authorization.k8s.io", namespace=PROJECT))
    people = {"researcher": dave, "checker": bob, "hold officer": olga, "records reader": rita, "trevor's admin": petra,
              "namespace admin": ned, "outsider": mallory}
    table.begin("roles as the chart ships them: each verb on each kind")
    for role, who in people.items():
        matrix(t, role, who)
    table.begin("roles as the chart ships them: forging")
    name = t.api.must("POST", path(REQUESTS, ns=PROJECT), req("forge-", ns=PROJECT), alice)["metadata"]["name"]
    researchers(t, name, alice, dave)
    reviewers(t, name, alice, bob, olga)
    namespace_admins(t, ned)
    for role, who in {**people, "submitter": alice}.items():
        machinery(t, role, who)
    table.begin("roles as the chart ships them: what must go on working")
    legitimate(t, name, {"alice": alice, "bob": bob, "carol": carol, "olga": olga, "rita": rita, "petra": petra})
    table.begin("users' mistakes: refused, with words that help")
    mistakes(t, alice)
    for kind, one in (("clusterrolebindings", "forge-trevor-admin"),):
        api.call(ADMIN, "DELETE", f"/apis/rbac.authorization.k8s.io/v1/{kind}/{one}")
    for one in ("forge-records-reader", "forge-namespace-admin"):
        api.call(ADMIN, "DELETE", f"/apis/rbac.authorization.k8s.io/v1/namespaces/{PROJECT}/rolebindings/{one}")


def matrix(t, role, who):
    """Each verb on each kind, by a call: RBAC refuses, or lets the call go on (to a 404, or to admission)."""
    for kind in KINDS:
        ns = None if kind == POLICIES else PROJECT
        one, every = path(kind, "none-such", ns=ns), path(kind, ns=ns)
        body = obj(kind, "none-such", {}, ns)
        for verb, call in {
            "get": ("GET", one, None, {}),
            "list": ("GET", every, None, {}),
            "create": ("POST", every, body, {"dryRun": "All"}),
            "update": ("PUT", one, body, {"dryRun": "All"}),
            "patch": ("PATCH", one, {}, {"dryRun": "All"}),
            "apply": ("APPLY", one, body, {"dryRun": "All"}),
            "delete": ("DELETE", one, None, {"dryRun": "All"}),
            "delete all": ("DELETE", every, None, {"dryRun": "All"}),
            "patch the status of": ("PATCH", one + "/status", {}, {"dryRun": "All"}),
        }.items():
            method, place, sent, query = call
            status, answer = t.api.call(who, method, place, sent, **query)
            refused = status == 403 and " cannot " in answer.get("message", "")
            expected = "goes on" if verb in RIGHTS[role].get(kind, ()) else "403 RBAC"
            t.table.row(f"{role}: {verb} {kind}", expected, "403 RBAC" if refused else "goes on", f"{status} {answer.get('message', '')[:200]}")


def researchers(t, name, alice, dave):
    """A colleague with the same role, and the submitter herself."""
    one = path(REQUESTS, name, ns=PROJECT)
    t.wait("the controller puts its finalizer on a request", lambda: t.get(one)["metadata"].get("finalizers"))
    for label, verb, body in (
        ("edits", "PATCH", {"spec": {"title": "mine"}}),
        ("withdraws", "PATCH", {"spec": {"withdrawn": True}}),
        ("submits", "JSON", [{"op": "replace", "path": "/spec/submission", "value": 1}]),
        ("labels", "PATCH", {"metadata": {"labels": {"a": "b"}}}),
        ("frees from the finalizer", "PATCH", {"metadata": {"finalizers": None}}),
        ("owns", "PATCH", {"metadata": {"ownerReferences": [owner()]}}),
        ("applies over", "APPLY", req(name, ns=PROJECT, title="mine")),
        ("deletes", "DELETE", None),
    ):
        t.deny(f"a colleague {label} another's request", "airlockrequests", dave, verb, one, body)
    current = t.get(one)
    t.deny("a colleague replaces another's request", "airlockrequests", dave, "PUT", one, {**current, "spec": {**current["spec"], "title": "mine"}})
    for label, policy_name, kind, body in (
        ("submits in another's name", "airlockrequests", REQUESTS, req("forge-", ns=PROJECT, submitter="dave")),
        ("submits as a delegate", "airlockrequests", REQUESTS, req("forge-", ns=PROJECT, submitter="dave", createdBy="alice")),
        ("makes a request with a finalizer", "airlockrequests", REQUESTS, req("forge-", ns=PROJECT, _meta={"finalizers": [f"{GROUP}/x"]})),
        ("makes a request of the probe's name", "airlockrequests", REQUESTS, req("trevor-probe", ns=PROJECT)),
        ("collects from another's volume", "volumes", REQUESTS,
         req("forge-", ns=PROJECT, sources=[{"persistentVolumeClaim": {"claimName": "others", "path": "out"}}])),
        ("delivers to another's volume", "volumes", REQUESTS,
         req("forge-", ns=PROJECT, direction="Ingress", files=[{"path": "a", "size": 1}],
             delivery={"type": "PersistentVolumeClaim", "persistentVolumeClaim": {"claimName": "others"}})),
        ("acts in another's name", "airlockactions", ACTIONS, act("forge-", "Submitter", "Recall", target=name, ns=PROJECT, actor="dave")),
        ("revokes as a checker", "airlockactions", ACTIONS, act("forge-", "Checker", "Revoke", target=name, ns=PROJECT)),
        ("lifts a hold", "airlockactions", ACTIONS, act("forge-", "HoldOfficer", "LiftHold", target=name, ns=PROJECT)),
        ("logs in as a checker", "airlocksessions", SESSIONS, sess(ns=PROJECT, user="bob")),
        ("logs in with a group more", "airlocksessions", SESSIONS, sess(ns=PROJECT, user="alice", groups=["researchers", "checkers", "system:authenticated"])),
    ):
        t.deny(f"the submitter {label}", policy_name, alice, "POST", path(kind, ns=PROJECT), body)
    for label, verb, place, body in (
        ("reviews her own", "POST", path(REVIEWS, ns=PROJECT), rev("forge-", ns=PROJECT, requestName=name)),
        ("applies a review", "APPLY", path(REVIEWS, "forge", ns=PROJECT), rev("forge", ns=PROJECT, requestName=name)),
        ("writes her status", "PATCH", one + "/status", {"status": {"phase": "Approved"}}),
        ("applies her status", "APPLY", one + "/status", {**req(name, ns=PROJECT), "status": {"phase": "Approved"}}),
        ("records a release", "POST", path(RECORDS, ns=PROJECT), rec("forge", ns=PROJECT)),
        ("deletes all requests", "DELETE", path(REQUESTS, ns=PROJECT), None),
        ("sees who is logged in", "GET", path(SESSIONS, ns=PROJECT), None),
        ("loosens the policy", "PATCH", path(POLICIES, "default", ns=None), {"spec": {"egress": {"requiredApprovals": 1}}}),
        ("makes a request in another project", "POST", path(REQUESTS, ns=OTHER_PROJECT), req("forge-", ns=OTHER_PROJECT)),
    ):
        t.refused(f"the submitter {label}", "403 RBAC", alice, verb, place, body)


def reviewers(t, name, alice, bob, olga):
    """A checker and a hold officer beyond their office."""
    review = t.api.must("POST", path(REVIEWS, ns=PROJECT), rev("forge-", ns=PROJECT, requestName=name), bob)["metadata"]["name"]
    one = path(REVIEWS, review, ns=PROJECT)
    for label, policy_name, kind, body in (
        ("reviews as another", "airlockreviews", REVIEWS, rev("forge-", ns=PROJECT, requestName=name, reviewer="carol")),
        ("makes a review of the probe's name", "airlockreviews", REVIEWS, rev("trevor-probe", ns=PROJECT, requestName=name)),
        ("recalls as the submitter", "airlockactions", ACTIONS, act("forge-", "Submitter", "Recall", target=name, ns=PROJECT)),
        ("lifts a hold", "airlockactions", ACTIONS, act("forge-", "HoldOfficer", "LiftHold", target=name, ns=PROJECT)),
        ("logs in as the submitter", "airlocksessions", SESSIONS, sess(ns=PROJECT, user="alice")),
    ):
        t.deny(f"a checker {label}", policy_name, bob, "POST", path(kind, ns=PROJECT), body)
    for label, verb, place, body in (
        ("rewrites a review", "PATCH", one, {"spec": {"decision": "Reject"}}),
        ("deletes a review", "DELETE", one, None),
        ("counts a review", "PATCH", one + "/status", {"status": {"state": "Counted"}}),
        ("edits a request", "PATCH", path(REQUESTS, name, ns=PROJECT), {"spec": {"title": "mine"}}),
        ("makes a request", "POST", path(REQUESTS, ns=PROJECT), req("forge-", ns=PROJECT)),
        ("approves a request", "PATCH", path(REQUESTS, name, "status", ns=PROJECT), {"status": {"phase": "Approved"}}),
        ("reviews in another project", "POST", path(REVIEWS, ns=OTHER_PROJECT), rev("forge-", ns=OTHER_PROJECT)),
    ):
        t.refused(f"a checker {label}", "403 RBAC", bob, verb, place, body)
    t.deny("a hold officer revokes as a checker", "airlockactions", olga, "POST", path(ACTIONS, ns=PROJECT), act("forge-", "Checker", "Revoke", target=name, ns=PROJECT))
    t.deny("a hold officer acts in another's name", "airlockactions", olga, "POST", path(ACTIONS, ns=PROJECT), act("forge-", "HoldOfficer", "Hold", target=name, ns=PROJECT, actor="bob"))
    t.refused("a hold officer reviews", "403 RBAC", olga, "POST", path(REVIEWS, ns=PROJECT), rev("forge-", ns=PROJECT, requestName=name))


def namespace_admins(t, ned):
    """Kubernetes' own role `admin` in the project: makes accounts and roles, and gets none of ours."""
    rbac = f"/apis/rbac.authorization.k8s.io/v1/namespaces/{PROJECT}"
    meta = {"apiVersion": "rbac.authorization.k8s.io/v1", "metadata": {"name": "forge-escalate", "namespace": PROJECT}}
    for role in ("researcher", "checker", "records-reader", "hold-officer"):
        t.refused(f"a namespace admin binds themselves the {role} role", "403 RBAC", ned, "POST", f"{rbac}/rolebindings", {
            **meta, "kind": "RoleBinding", "subjects": [user_subject("ned")],
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": f"{RELEASE}-{role}"}}, dryRun="All")
    for resource, verb in ((REVIEWS, "create"), ("airlockrequests/review", "create"), ("airlockrequests/content", "get"), ("*", "*")):
        t.refused(f"a namespace admin makes a role that may {verb} {resource}", "403 RBAC", ned, "POST", f"{rbac}/roles", {
            **meta, "kind": "Role", "rules": [{"apiGroups": [GROUP], "resources": [resource], "verbs": [verb]}]}, dryRun="All")
    for name in ("alice", "bob"):
        t.refused(f"a namespace admin impersonates {name}", "403 RBAC", {**user(name), "token": t.api.tokens["mallory"]}, "GET", path(REQUESTS, ns=PROJECT))
    t.api.ensure(core("serviceaccounts", namespace=PROJECT), {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "forge-robot"}})
    minted = t.passes("a namespace admin mints a token of an account", ned, "POST", core("serviceaccounts", "forge-robot", PROJECT, "token"),
                      {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {}})
    robot = {"token": minted["status"]["token"]}
    for kind, body in ((REQUESTS, req("forge-", ns=PROJECT)), (REVIEWS, rev("forge-", ns=PROJECT)), (SESSIONS, sess(ns=PROJECT)), (RECORDS, rec("forge", ns=PROJECT))):
        t.refused(f"... with which it makes one of {kind}", "403 RBAC", robot, "POST", path(kind, ns=PROJECT), body)


def machinery(t, role, who):
    """What everything rests on: no role of ours touches it."""
    controller = f"{RELEASE}-controller"
    for label, verb, place, body in (
        ("mints a token of the operator", "POST", core("serviceaccounts", controller, HOME, "token"),
         {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {}}),
        ("runs a pod beside the operator", "POST", core("pods", namespace=HOME),
         {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "forge"}, "spec": {"serviceAccountName": controller, "containers": [{"name": "c", "image": "x"}]}}),
        ("reads the operator's Secrets", "GET", core("secrets", namespace=HOME), None),
        ("reads the operator's configuration", "GET", core("configmaps", namespace=HOME), None),
        ("takes the leader's lease", "PATCH", f"/apis/coordination.k8s.io/v1/namespaces/{HOME}/leases/trevor-controller", {"spec": {"holderIdentity": "forge"}}),
        ("deletes a binding", "DELETE", f"/apis/admissionregistration.k8s.io/v1/validatingadmissionpolicybindings/{RELEASE}-airlockreviews", None),
        ("changes a policy", "PATCH", f"/apis/admissionregistration.k8s.io/v1/validatingadmissionpolicies/{RELEASE}-airlockreviews", {"spec": {"failurePolicy": "Ignore"}}),
        ("deletes a definition", "DELETE", f"/apis/apiextensions.k8s.io/v1/customresourcedefinitions/{REVIEWS}.{GROUP}", None),
        ("loosens a schema", "PATCH", f"/apis/apiextensions.k8s.io/v1/customresourcedefinitions/{REVIEWS}.{GROUP}", {"metadata": {"labels": {"a": "b"}}}),
        ("binds themselves everything", "POST", "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings",
         {"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRoleBinding", "metadata": {"name": "forge"}, "subjects": [user_subject("mallory")],
          "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "cluster-admin"}}),
        ("deletes the project", "DELETE", f"/api/v1/namespaces/{PROJECT}", None),
        ("impersonates an admin", "GET", path(REQUESTS, ns=PROJECT), "as root"),
    ):
        if body == "as root":
            if "token" in who:
                t.refused(f"{role} {label}", "403 RBAC", {**user("root", "system:masters"), **who}, verb, place)
            continue
        t.refused(f"{role} {label}", "403 RBAC", who, verb, place, body, **({} if verb == "GET" else {"dryRun": "All"}))


def legitimate(t, name, people):
    """The acts that these roles are for."""
    alice, bob, carol, olga, rita, petra = (people[each] for each in ("alice", "bob", "carol", "olga", "rita", "petra"))
    one = path(REQUESTS, name, ns=PROJECT)
    t.passes("the submitter edits her draft", alice, "PATCH", one, {"spec": {"title": "better"}})
    t.passes("the submitter applies her draft", alice, "APPLY", one, req(name, ns=PROJECT, title="best"))
    t.passes("the submitter labels it", alice, "PATCH", one, {"metadata": {"labels": {"a": "b"}}})
    for label, who in (("a checker", bob), ("another checker", carol)):
        t.passes(f"{label} reviews", who, "POST", path(REVIEWS, ns=PROJECT), rev("forge-", ns=PROJECT, requestName=name))
    for label, who, as_, action, kind in (
        ("the submitter recalls", alice, "Submitter", "Recall", "AirlockRequest"),
        ("the submitter renews a release", alice, "Submitter", "Renew", "ReleaseRecord"),
        ("a checker revokes", bob, "Checker", "Revoke", "AirlockRequest"),
        ("a hold officer holds", olga, "HoldOfficer", "Hold", "AirlockRequest"),
        ("a hold officer lifts a hold", olga, "HoldOfficer", "LiftHold", "ReleaseRecord"),
    ):
        t.passes(label, who, "POST", path(ACTIONS, ns=PROJECT), act("forge-", as_, action, kind, target="none-such", ns=PROJECT))
    for label, who in (("the submitter", alice), ("a checker", bob), ("a hold officer", olga), ("a records reader", rita)):
        made = t.passes(f"{label} logs in", who, "POST", path(SESSIONS, ns=PROJECT), sess(ns=PROJECT))
        t.passes(f"{label} logs out", who, "DELETE", path(SESSIONS, made["metadata"]["name"], ns=PROJECT))
    t.passes("trevor's admin makes a policy", petra, "POST", path(POLICIES, ns=None), policy("forge"))
    t.passes("trevor's admin deletes it", petra, "DELETE", path(POLICIES, "forge", ns=None))
    t.passes("the submitter deletes her draft", alice, "DELETE", one)
    t.wait("... and it goes", lambda: t.api.call(ADMIN, "GET", one)[0] == 404)


def mistakes(t, alice):
    """A Git revert, and what people try at the wrong time."""
    spec = {"files": [{"path": "never-uploaded.csv"}], "submission": 1}
    name = t.api.must("POST", path(REQUESTS, ns=PROJECT), req("forge-", ns=PROJECT, **spec), alice)["metadata"]["name"]
    one = path(REQUESTS, name, ns=PROJECT)
    t.wait("a request waits for its files", lambda: t.get(one).get("status", {}).get("phase") == "Submitted")
    for label, change, says in (
        ("a Git revert of submission", {"submission": 0}, "it is 1 now; set it back to 1 in Git"),
        ("the next submission too early", {"submission": 2}, "or to 2 to submit again, once the phase is Draft, ChangesRequested or Failed (it is Submitted)"),
        ("two submissions at once", {"submission": 3}, "it is 1 now; set it back to 1 in Git"),
        ("an edit under review", {"title": "late"}, "closed from submission"),
        ("a Git revert of a file's text", {"files": [{"path": "never-uploaded.csv", "description": "x"}]}, "put back what round 1 was submitted with"),
        ("a withdrawal of the wrong kind", {"withdrawn": "yes"}, "boolean"),
        ("another direction", {"direction": "Ingress"}, "direction cannot change"),
        ("another submitter", {"submitter": "dave"}, "submitter cannot change"),
    ):
        t.code(label, 422, alice, "PATCH", one, {"spec": change}, says=says)
    t.passes("the withdrawal", alice, "PATCH", one, {"spec": {"withdrawn": True}})
    t.code("... taken back", 422, alice, "PATCH", one, {"spec": {"withdrawn": False}}, says="make a new request")

"""Roles and the fence say the same, with and without a list of namespaces."""

import json
import re

from render import find, rendered

# Whoever logs in reads the authority of the gateway's certificate.
EVERYBODY = {"apiGroup": "rbac.authorization.k8s.io", "kind": "Group", "name": "system:authenticated"}
OPERATIONS = {"create": "CREATE", "update": "UPDATE", "patch": "UPDATE", "delete": "DELETE", "deletecollection": "DELETE"}


def writes(role):
    found = set()
    for rule in role["rules"]:
        for group in rule["apiGroups"]:
            for resource in rule["resources"]:
                for verb in rule["verbs"]:
                    for name in rule.get("resourceNames", [""]):
                        if verb in OPERATIONS:
                            found.add(f"{group}/{resource} {OPERATIONS[verb]} {name}".strip())
    return found


def fence(docs, variable):
    """The lists of writes in a variable of the fence, in order."""
    policy = find(docs, "ValidatingAdmissionPolicy", "trevor-operator-fence")
    (expression,) = [one["expression"] for one in policy["spec"]["variables"] if one["name"] == variable]
    return [set(json.loads(text)) for text in re.findall(r'\["[^\]]*\]', expression)]


def test_without_namespaces_the_operator_writes_everywhere_what_the_fence_lists():
    docs = rendered("smallest")
    controller, gateway = find(docs, "ClusterRole", "trevor-controller"), find(docs, "ClusterRole", "trevor-gateway")
    anywhere = fence(docs, "anywhere")
    assert writes(controller) == anywhere[0]
    assert writes(gateway) == anywhere[1] == {
        "authentication.k8s.io/tokenreviews CREATE", "authorization.k8s.io/subjectaccessreviews CREATE"}
    assert "/secrets CREATE" in anywhere[0] and "batch/jobs CREATE" in anywhere[0]
    (home,), (probe,) = fence(docs, "home"), fence(docs, "probe")
    assert writes(find(docs, "Role", "trevor-controller")) == home | probe
    assert not [write for write in home if "jobs" in write]


def test_at_home_it_makes_jobs_only_where_they_package():
    docs = rendered("smallest", 'controller.packaging.mode="Job"', "jobs.images=[]")
    (home,), (probe,) = fence(docs, "home"), fence(docs, "probe")
    assert writes(find(docs, "Role", "trevor-controller")) == home | probe
    assert {write for write in home if "jobs" in write} == {"batch/jobs CREATE", "batch/jobs DELETE"}
    assert not [write for write in fence(docs, "anywhere")[0] if "jobs" in write]


def test_with_namespaces_it_writes_there_only_what_the_fence_lists():
    docs = rendered("everything")
    everywhere, projects = fence(docs, "anywhere")[0], fence(docs, "projects")
    assert projects[0] == {"project-a", "project-b"}
    assert writes(find(docs, "ClusterRole", "trevor-controller")) == everywhere
    roles = [doc for doc in docs if doc["kind"] == "Role" and doc["metadata"]["name"] == "trevor-controller-projects"]
    assert {role["metadata"]["namespace"] for role in roles} == {"project-a", "project-b"}
    assert all(writes(role) == projects[1] for role in roles)
    # Together they are what it has without the list, and nothing of a project is left everywhere.
    whole = fence(rendered("everything", "namespaces=[]"), "anywhere")[0]
    assert everywhere | projects[1] == whole and not everywhere & projects[1]
    assert everywhere == {"airlock.karectl.io/airlockpolicies/status UPDATE"}


def test_events_about_policies_go_to_the_namespace_default_also_with_namespaces():
    def may(*changes):
        docs = rendered("everything", *changes)
        policy = find(docs, "ValidatingAdmissionPolicy", "trevor-operator-fence")
        fenced = fence(docs, "policyEvents") if any(one["name"] == "policyEvents" for one in policy["spec"]["variables"]) else []
        return fenced, [doc for doc in docs if doc["kind"] == "Role" and doc["metadata"]["name"] == "trevor-controller-policy-events"]

    (fenced,), (role,) = may()
    assert role["metadata"]["namespace"] == "default"
    assert writes(role) == fenced == {"events.k8s.io/events CREATE", "events.k8s.io/events UPDATE"}
    # What it may do there anyway is not said twice.
    assert may("namespaces=[]") == may('namespaces=["default"]') == ([], [])


def test_secrets_are_created_and_deleted_and_never_read_but_for_the_gateways_certificate_by_name():
    for values in ("smallest", "everything"):
        for doc in rendered(values):
            if doc["kind"] in ("ClusterRole", "Role"):
                for rule in doc["rules"]:
                    if "secrets" in rule["resources"] and "resourceNames" in rule:
                        assert (doc["kind"], doc["metadata"]["name"], doc["metadata"]["namespace"]) == ("Role", "trevor-controller", "trevor-system")
                        assert rule["resourceNames"] == ["trevor-gateway-serving", "trevor-gateway-ca"] and rule["verbs"] == ["get", "update"]
                    elif "secrets" in rule["resources"]:
                        assert set(rule["verbs"]) <= {"create", "delete"}, doc["metadata"]["name"]
                    assert "*" not in rule["verbs"] + rule["resources"] + rule["apiGroups"], doc["metadata"]["name"]


def test_every_binding_has_its_role_and_account():
    for values in ("smallest", "everything"):
        docs = rendered(values)
        accounts = {doc["metadata"]["name"] for doc in docs if doc["kind"] == "ServiceAccount"}
        for doc in docs:
            if doc["kind"] in ("RoleBinding", "ClusterRoleBinding"):
                there = {(one["kind"], one["metadata"]["name"], one["metadata"].get("namespace")) for one in docs}
                namespace = doc["metadata"].get("namespace") if doc["roleRef"]["kind"] == "Role" else None
                assert (doc["roleRef"]["kind"], doc["roleRef"]["name"], namespace) in there
                assert all(subject["name"] in accounts or subject == EVERYBODY for subject in doc["subjects"])

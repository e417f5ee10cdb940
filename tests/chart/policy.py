"""The default policy is the operator's configuration: nothing that Helm makes beside the release."""

from render import documents, find, rendered, template

SETS = ("nine", "smallest", "everything", "plain")


def config(*values):
    return documents(find(rendered(*values), "ConfigMap", "trevor-config")["data"]["config.yaml"])[0]


def checksums(*values):
    docs = rendered(*values)
    return {name: find(docs, "Deployment", f"trevor-{name}")["spec"]["template"]["metadata"]["annotations"]["airlock.karectl.io/config-sha256"]
            for name in ("controller", "gateway")}


def test_no_object_of_our_kinds_is_rendered_and_no_hook_makes_one():
    for values in SETS:
        docs = rendered(values)
        assert not [doc for doc in docs if doc["apiVersion"].startswith("airlock.karectl.io/")], values
        hooks = {doc["kind"]: doc["metadata"]["annotations"]["helm.sh/hook"] for doc in docs
                 if "helm.sh/hook" in (doc["metadata"].get("annotations") or {})}
        assert hooks in ({"Pod": "test"}, {"Pod": "test", "Job": "pre-delete"}), hooks


def test_it_is_in_the_configuration_that_a_rollback_brings_back():
    assert config("nine")["default_policy"] == {"name": "default", "egress": {"requiredApprovals": 2}, "ingress": {"requiredApprovals": 1}}
    one = config("nine", "default_policy.egress.requiredApprovals=1")["default_policy"]
    assert one["egress"] == {"requiredApprovals": 1}
    # Both processes read it, and both start anew when it changes.
    before, after = checksums("nine"), checksums("nine", "default_policy.egress.requiredApprovals=1")
    assert all(before[name] != after[name] for name in before), (before, after)
    assert checksums("nine") == before


def test_every_field_of_an_airlock_policy_reaches_it():
    rules = 'default_policy.egress={"requiredApprovals": 3, "reviewers": {"type": "Listed", "users": ["a", "b", "c"]}, "maxFiles": 5}'
    assert config("nine", rules)["default_policy"]["egress"] == {
        "requiredApprovals": 3, "reviewers": {"type": "Listed", "users": ["a", "b", "c"]}, "maxFiles": 5}


def test_it_can_be_turned_off():
    for change in ("default_policy.create=false", "default_policy=null"):
        code, _, error = template("nine", change)
        assert code == 0, error
        assert config("nine", change)["default_policy"] is None

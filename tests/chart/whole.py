"""The chart as a whole: lint, the README, one output for one set of values, and what survives."""

import json
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from render import CHART, HERE, documents, find, helm, rendered, template

SETS = ("nine", "smallest", "everything", "plain")
EXAMPLES = HERE.parents[1] / "examples"


def test_helm_lint_finds_nothing():
    for values in SETS:
        code, out, error = helm("lint", "--strict", CHART, "-f", HERE / "values" / f"{values}.yaml")
        assert code == 0, out + error


def test_the_readme_is_that_of_the_schema():
    done = subprocess.run([sys.executable, HERE / "readme.py", "--check"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_two_renders_are_identical_and_ask_no_cluster():
    for values in SETS:
        first, second = template(values), template(values)
        assert first[0] == 0, first[2]
        assert first[1] == second[1]
    for path in CHART.rglob("templates/**/*"):
        if path.is_file():
            text = path.read_text()
            for word in ("lookup ", "randAlpha", "genCA", "genSelfSigned", "genPrivateKey", "uuidv4", "now |", "now)", "derivePassword"):
                assert word not in text, f"{path}: {word}"


def test_no_secret_is_rendered():
    for values in SETS:
        assert not [doc for doc in rendered(values) if doc["kind"] == "Secret"]


def test_no_object_is_rendered_twice():
    for values in SETS:
        docs = rendered(values)
        names = [(doc["kind"], doc["metadata"].get("namespace"), doc["metadata"]["name"]) for doc in docs]
        assert len(names) == len(set(names))


def test_a_second_release_meets_one_object_of_the_first():
    code, out, _ = helm("template", "other", CHART, "-n", "elsewhere", "-f", HERE / "values/smallest.yaml", "--set", "crds.install=false")
    assert code == 0
    cluster_wide = {(doc["kind"], doc["metadata"]["name"]) for doc in documents(out) if "namespace" not in doc["metadata"]}
    both = cluster_wide & {(doc["kind"], doc["metadata"]["name"]) for doc in rendered("smallest")}
    assert both == {("ClusterRole", "airlock.karectl.io:one-release-per-cluster")}
    assert find(rendered("smallest"), *both.pop())["rules"] == []


def test_it_can_be_a_dependency_that_a_condition_leaves_out():
    with tempfile.TemporaryDirectory() as folder:
        shutil.copytree(CHART, Path(folder, "charts/trevor"))
        version = next(line.split()[1] for line in (CHART / "Chart.yaml").read_text().splitlines() if line.startswith("version:"))
        Path(folder, "Chart.yaml").write_text(
            "apiVersion: v2\nname: house\nversion: 0.1.0\n"
            f"dependencies:\n- {{name: trevor, version: {version}, condition: trevor.enabled}}\n")
        values = {"trevor": {"storage": nine()["storage"]}, "global": {"registry": "house"}}
        for enabled in (True, False):
            values["trevor"]["enabled"] = enabled
            Path(folder, "values.yaml").write_text(json.dumps(values))
            code, out, error = helm("template", "house", folder, "-n", "trevor-system")
            assert code == 0, error
            assert ("kind: Deployment" in out) == enabled


def nine():
    return documents((HERE / "values/nine.yaml").read_text())[0]


def test_definitions_are_kept_unless_values_say_otherwise():
    kinds = [doc for doc in rendered("smallest") if doc["kind"] == "CustomResourceDefinition"]
    assert len(kinds) == 6
    assert all(doc["metadata"]["annotations"]["helm.sh/resource-policy"] == "keep" for doc in kinds)
    loose = [doc for doc in rendered("smallest", "crds.keep=false") if doc["kind"] == "CustomResourceDefinition"]
    assert not any("helm.sh/resource-policy" in (doc["metadata"].get("annotations") or {}) for doc in loose)
    assert not [doc for doc in rendered("smallest", "crds.install=false") if doc["kind"] == "CustomResourceDefinition"]


def test_rules_about_people_are_kept_with_the_definitions():
    def kept(documents):
        return {doc["metadata"]["name"] for doc in documents if (doc["metadata"].get("annotations") or {}).get("helm.sh/resource-policy") == "keep"
                and doc["kind"] in ("ValidatingAdmissionPolicy", "ValidatingAdmissionPolicyBinding")}

    people = {f"trevor-{name}" for name in ("airlockrequests", "airlockreviews", "airlockactions", "airlocksessions", "releaserecords", "status", "crds", "volumes")}
    assert kept(rendered("smallest")) == people
    assert len([doc for doc in rendered("smallest") if doc["metadata"]["name"] in people and doc["kind"].startswith("Validating")]) == 2 * len(people)
    assert not kept(rendered("smallest", "crds.keep=false"))


def test_without_workloads_there_are_no_pods_and_the_rules_are_the_same():
    off, on = rendered("smallest", "workloads.enabled=false"), rendered("smallest")
    kinds = {doc["kind"] for doc in off}
    assert not kinds & {"Deployment", "Pod", "Job", "Service", "PodDisruptionBudget", "NetworkPolicy"}, kinds
    assert find(off, "ConfigMap", "trevor-rules") == find(on, "ConfigMap", "trevor-rules")


def test_nine_values_of_storage_are_enough_and_nothing_is_licensed_by_default():
    config = documents(find(rendered("nine"), "ConfigMap", "trevor-config")["data"]["config.yaml"])[0]
    assert not config["crate"].get("license") and "publisher" not in config["crate"], config["crate"]
    code, out, error = helm("install", "trevor", CHART, "-n", "trevor-system", "-f", HERE / "values/nine.yaml", "--dry-run=client")
    assert code == 0, error
    for values, asked in (("nine", True), ("smallest", False)):
        code, out, error = helm("install", "trevor", CHART, "-n", "trevor-system", "-f", HERE / f"values/{values}.yaml", "--dry-run=client")
        notes = out.partition("NOTES:")[2]
        assert code == 0 and ("crate.publisher.name" in notes) == asked and "crate.license" in notes, notes


def test_the_configuration_has_the_operators_keys_only():
    config = documents(find(rendered("everything"), "ConfigMap", "trevor-config")["data"]["config.yaml"])[0]
    chart_only = {"image", "workloads", "certificate", "trust", "network_policy", "monitoring", "uninstall", "namespaces", "crds"}
    assert not chart_only & set(config), set(config)
    assert set(config["gateway"]) == {"listen", "metrics_listen", "tls", "audience", "memory_budget_mib", "min_rate_kib_s", "url"}
    assert set(config["gateway"]["tls"]) == {"secret", "authority", "dns_names", "allow_plaintext"}
    assert config["gateway"]["url"] == "https://trevor-gateway.trevor-system.svc"


def test_the_gateways_url_and_service_follow_tls_and_port():
    docs = rendered("plain")
    config = documents(find(docs, "ConfigMap", "trevor-config")["data"]["config.yaml"])[0]
    assert config["gateway"]["url"] == "http://trevor-gateway.trevor-system.svc"
    assert find(docs, "Service", "trevor-gateway")["spec"]["ports"][0]["port"] == 80
    docs = rendered("smallest", "workloads.gateway.service.port=8443")
    config = documents(find(docs, "ConfigMap", "trevor-config")["data"]["config.yaml"])[0]
    assert config["gateway"]["url"].endswith(".svc:8443")
    assert find(docs, "Service", "trevor-gateway")["spec"]["ports"][0]["port"] == 8443


def test_bucket_policies_of_the_examples_are_those_that_the_tests_run_with():
    import storage
    for bucket in (storage.quarantine(), storage.staging(), storage.release()):
        file = EXAMPLES / "bucket-policies" / f"{bucket.name.removeprefix('trevor-')}.json"
        assert json.loads(file.read_text())["Statement"] == bucket.policy, file


def test_the_policies_for_minio_allow_the_same_to_each_user():
    import storage
    allowed = {}
    for bucket in (storage.quarantine(), storage.release(), storage.staging()):
        for rule in bucket.policy:
            user = rule["Principal"]["AWS"][0].rpartition("/")[2]
            if rule["Effect"] == "Allow":  # a Deny is there for what SeaweedFS adds to PutObject
                allowed.setdefault(user, []).append({k: v for k, v in rule.items() if k != "Principal"})
    for user, rules in allowed.items():
        file = EXAMPLES / "bucket-policies/minio" / f"{user}.json"
        assert json.loads(file.read_text())["Statement"] == rules, file

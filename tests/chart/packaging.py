"""The Jobs that make packages: their pod, their identities, and nothing of them where the controller packages itself."""

import json

from render import documents, find, rendered

JOB = 'controller.packaging.mode="Job"'
OWN = 'workloads.packaging.credentials={"quarantine": "pack-q", "records": "pack-r", "release": "pack-out"}'


def template(*more, values="everything"):
    """The Job in the operator's configuration, and everything that was rendered with it."""
    docs = rendered(values, JOB, *more)
    return documents(find(docs, "ConfigMap", "trevor-config")["data"]["packaging-job.yaml"])[0], docs


def pod(job):
    return job["spec"]["template"]["spec"]


def secrets(job):
    return {entry["name"]: entry["valueFrom"]["secretKeyRef"]["name"] for entry in pod(job)["containers"][0].get("env", [])
            if "valueFrom" in entry}


def test_in_process_there_is_nothing_of_jobs():
    for values in ("smallest", "everything", "plain"):
        docs = rendered(values)
        assert "packaging-job.yaml" not in find(docs, "ConfigMap", "trevor-config")["data"]
        named = [doc["metadata"]["name"] for doc in docs if "packaging" in doc["metadata"]["name"]]
        assert not named, named
        config = documents(find(docs, "ConfigMap", "trevor-config")["data"]["config.yaml"])[0]
        assert "job_template" not in config["controller"]["packaging"]


def test_the_pod_is_restricted_has_no_token_and_no_second():
    for values in ("smallest", "everything", "plain"):
        job, _ = template(values=values)
        spec = pod(job)
        assert job["spec"]["backoffLimit"] == 0 and job["metadata"]["namespace"] == "trevor-system"
        assert spec["automountServiceAccountToken"] is False and spec["serviceAccountName"] == "trevor-packaging"
        assert spec["securityContext"]["runAsNonRoot"] is True and spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        assert not [source for volume in spec["volumes"] for source in volume.get("projected", {}).get("sources", []) if "serviceAccountToken" in source]
        (container,) = spec["containers"]
        assert container["securityContext"] == {"allowPrivilegeEscalation": False, "readOnlyRootFilesystem": True, "capabilities": {"drop": ["ALL"]}}
        assert container["args"] == ["package", "--config", "/etc/trevor/config/config.yaml"]
        assert {mount["name"] for mount in container["volumeMounts"]} <= {volume["name"] for volume in spec["volumes"]}
        spool = [volume for volume in spec["volumes"] if volume["name"] == "spool"]
        assert spool == [{"name": "spool", "emptyDir": {"sizeLimit": "10Gi"}}]
        assert {one["topologyKey"] for one in spec["topologySpreadConstraints"]} == {"kubernetes.io/hostname", "topology.kubernetes.io/zone"}


def test_it_has_its_own_identities_or_the_controllers_and_never_those_that_sign():
    job, _ = template()
    assert set(secrets(job).values()) == {"trevor-quarantine", "trevor-records", "trevor-release"}
    job, docs = template(OWN)
    assert set(secrets(job).values()) == {"pack-q", "pack-r", "pack-out"}
    assert {name.split("_")[2] for name in secrets(job)} == {"QUARANTINE", "RECORDS", "RELEASE"}
    policy = json.dumps(find(docs, "ValidatingAdmissionPolicy", "trevor-operator-packaging"))
    assert all(name in policy for name in ("pack-q", "pack-r", "pack-out")) and "trevor-release" not in policy
    assert secrets(template(values="plain")[0]).keys() == {
        f"TREVOR_S3_RELEASE_{part}" for part in ("ACCESS_KEY_ID", "SECRET_ACCESS_KEY", "SESSION_TOKEN", "EXPIRATION")}


def test_its_account_is_bound_to_nothing():
    _, docs = template()
    account = find(docs, "ServiceAccount", "trevor-packaging")
    assert account["automountServiceAccountToken"] is False
    bound = [doc["metadata"]["name"] for doc in docs if doc["kind"] in ("RoleBinding", "ClusterRoleBinding")
             for subject in doc["subjects"] if subject["name"] == "trevor-packaging"]
    assert not bound, bound


def test_its_network_is_name_servers_and_storage():
    job, docs = template()
    policy = find(docs, "NetworkPolicy", "trevor-packaging")["spec"]
    labels = job["spec"]["template"]["metadata"]["labels"]
    assert policy["podSelector"]["matchLabels"].items() <= labels.items()
    deny = find(docs, "NetworkPolicy", "trevor-deny")["spec"]["podSelector"]["matchLabels"]
    assert deny.items() <= labels.items()
    assert "ingress" not in policy and policy["policyTypes"] == ["Ingress", "Egress"]
    assert {port["port"] for rule in policy["egress"] for port in rule["ports"]} == {53, 9000, 8443, 443}


def test_the_rules_that_the_operator_compares_have_the_fence_of_its_jobs():
    _, docs = template()
    rules = documents(find(docs, "ConfigMap", "trevor-rules")["data"]["rules.yaml"])
    for kind in ("ValidatingAdmissionPolicy", "ValidatingAdmissionPolicyBinding"):
        assert find(rules, kind, "trevor-operator-packaging")["spec"] == find(docs, kind, "trevor-operator-packaging")["spec"]


def test_a_change_of_the_jobs_restarts_the_controller():
    def stamp(*changes):
        docs = rendered("smallest", JOB, *changes)
        meta = find(docs, "Deployment", "trevor-controller")["spec"]["template"]["metadata"]
        return meta["annotations"]["airlock.karectl.io/config-sha256"]
    assert stamp() != stamp('workloads.packaging.nodeSelector={"disk": "ssd"}')

"""The pods: Pod Security restricted, identities, tokens, probes, spreading, networks."""

import json
import re

from render import find, pods, rendered

SETS = ("smallest", "everything", "plain")


def test_every_pod_is_restricted():
    for values in SETS:
        found = list(pods(rendered(values)))
        assert {"trevor-controller", "trevor-gateway", "trevor-check"} <= {name for name, _, _ in found}
        for name, _, spec in found:
            security = spec["securityContext"]
            assert security["runAsNonRoot"] is True and security["runAsUser"] > 0, name
            assert security["seccompProfile"] == {"type": "RuntimeDefault"}, name
            assert not {"hostNetwork", "hostPID", "hostIPC"} & set(spec), name
            assert {next(iter(set(volume) - {"name"})) for volume in spec["volumes"]} <= {"projected", "configMap", "secret", "emptyDir"}, name
            for container in spec["containers"]:
                assert container["securityContext"] == {"allowPrivilegeEscalation": False, "readOnlyRootFilesystem": True,
                                                        "capabilities": {"drop": ["ALL"]}}, name
                assert container["resources"]["requests"] and container["resources"]["limits"]["memory"], name


def test_the_token_is_bound_to_the_pod_and_nothing_is_mounted_by_itself():
    docs = rendered("smallest")
    for doc in docs:
        if doc["kind"] == "ServiceAccount":
            assert doc["automountServiceAccountToken"] is False
    for name, _, spec in pods(docs):
        assert spec["automountServiceAccountToken"] is False and spec["enableServiceLinks"] is False, name
        sources = [source for volume in spec["volumes"] for source in volume.get("projected", {}).get("sources", [])]
        tokens = [source["serviceAccountToken"] for source in sources if "serviceAccountToken" in source]
        assert tokens == [{"path": "token", "expirationSeconds": 3600}], name


def secrets(spec):
    return {entry["name"]: entry["valueFrom"]["secretKeyRef"]["name"]
            for container in spec["containers"] for entry in container["env"]
            if "secretKeyRef" in entry.get("valueFrom", {})}


def test_each_process_has_its_own_identities_and_no_others():
    for values in ("smallest", "everything"):
        docs = rendered(values)
        mine = {name: secrets(spec) for name, _, spec in pods(docs)}
        gateway, controller = mine["trevor-gateway"], mine["trevor-controller"]
        assert not [name for name in gateway if "RELEASE" in name or "SIGNING" in name], gateway
        assert not set(gateway.values()) & set(controller.values())
        assert "TREVOR_S3_RELEASE_SECRET_ACCESS_KEY" in controller
        assert mine["trevor-check"] == controller
        identities = {name.split("_")[2] for name in gateway}
        assert identities == ({"QUARANTINE"} if values == "smallest" else {"QUARANTINE", "RECORDS", "STAGING"})
    assert controller["TREVOR_AUDIT_SIGNING_KEY"] == "trevor-audit"
    assert controller["TREVOR_S3_SIGNING_ACCESS_KEY_ID"] == "trevor-signing"
    told = {name: secret for name, secret in controller.items() if name.startswith("TREVOR_NOTIFY_")}
    assert told == {"TREVOR_NOTIFY_DESK_1_SIGNING_SECRET": "trevor-desk", "TREVOR_NOTIFY_MAIL_PASSWORD": "trevor-mail"}
    assert not [name for name in gateway if "NOTIFY" in name or "AUDIT" in name]


def test_pods_of_hooks_wait_for_no_secret_and_no_authority():
    docs = rendered("everything")
    for name, _, spec in pods(docs):
        if name not in ("trevor-check", "trevor-uninstall"):
            continue
        keys = [entry["valueFrom"]["secretKeyRef"] for entry in spec["containers"][0]["env"] if "secretKeyRef" in entry.get("valueFrom", {})]
        assert keys and all(key["optional"] for key in keys), name
        (trust,) = [volume["projected"]["sources"] for volume in spec["volumes"] if volume["name"] == "trust"]
        assert all(inner["optional"] for source in trust for inner in source.values()), name
    controller = find(docs, "Deployment", "trevor-controller")["spec"]["template"]["spec"]
    needed = [entry["valueFrom"]["secretKeyRef"] for entry in controller["containers"][0]["env"] if "secretKeyRef" in entry.get("valueFrom", {})]
    assert [key["name"] for key in needed if not key.get("optional")]


def test_a_secret_that_is_a_variable_is_a_file_too_so_that_its_change_is_seen():
    docs = rendered("everything")
    for name in ("controller", "gateway"):
        spec = find(docs, "Deployment", f"trevor-{name}")["spec"]["template"]["spec"]
        (volume,) = [one["projected"] for one in spec["volumes"] if one["name"] == "credentials"]
        files = {item["path"]: source["secret"]["name"] for source in volume["sources"] for item in source["secret"]["items"]}
        assert files == secrets(spec)
        env = {entry["name"]: entry.get("value") for entry in spec["containers"][0]["env"]}
        assert env["TREVOR_CREDENTIALS_DIR"] in {mount["mountPath"] for mount in spec["containers"][0]["volumeMounts"]}
    plain = find(rendered("plain"), "Deployment", "trevor-gateway")["spec"]["template"]["spec"]
    assert "credentials" not in {one["name"] for one in plain["volumes"]}


def test_without_a_secret_the_pods_own_identity_is_used():
    plain = {name: secrets(spec) for name, _, spec in pods(rendered("plain"))}
    assert plain["trevor-gateway"] == {}
    assert not [name for name in plain["trevor-controller"] if "QUARANTINE" in name]


def test_accounts_differ():
    accounts = {name: spec["serviceAccountName"] for name, _, spec in pods(rendered("everything"))}
    assert accounts == {"trevor-controller": "trevor-controller", "trevor-gateway": "trevor-gateway",
                        "trevor-check": "trevor-controller", "trevor-uninstall": "trevor-controller"}


def test_probes_go_to_a_port_that_is_there_by_the_scheme_that_is_served():
    for values, scheme in (("smallest", "HTTPS"), ("plain", "HTTP")):
        docs = rendered(values)
        for name in ("controller", "gateway"):
            container = find(docs, "Deployment", f"trevor-{name}")["spec"]["template"]["spec"]["containers"][0]
            ports = {port["name"]: port["containerPort"] for port in container["ports"]}
            for probe, path in (("livenessProbe", "/livez"), ("readinessProbe", "/readyz")):
                get = container[probe]["httpGet"]
                assert get["path"] == path and get["port"] in ports, name
                assert get.get("scheme", "HTTP") == (scheme if get["port"] == "serve" else "HTTP")
                apart = probe == "livenessProbe" and values != "plain"
                assert get["port"] == ("http" if name == "controller" else "metrics" if apart else "serve")
            target = find(docs, "Service", f"trevor-{name}")["spec"]["ports"][0]["targetPort"]
            assert target in ports
    ports = find(rendered("smallest", 'gateway.listen="0.0.0.0:9443"'), "Deployment", "trevor-gateway")
    assert {"name": "serve", "containerPort": 9443} in ports["spec"]["template"]["spec"]["containers"][0]["ports"]


def test_nobody_reads_metrics_until_somebody_is_named():
    peers = [{"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "monitoring"}}}]
    for named in ([], peers):
        docs = rendered("smallest", f"network_policy.monitoring={json.dumps(named)}")
        for name, port in (("controller", "http"), ("gateway", "metrics")):
            rules = find(docs, "NetworkPolicy", f"trevor-{name}")["spec"]["ingress"]
            at = [rule.get("from") for rule in rules if rule["ports"][0]["port"] == port]
            gateways = [peer for peer in at if peer != named]
            assert [peer for peer in at if peer == named] == ([named] if named else []), (name, rules)
            # Hints come from the gateway alone.
            assert all("podSelector" in peer[0] for peer in gateways) and len(gateways) == (name == "controller"), (name, rules)


def test_services_and_policies_select_the_pods():
    docs = rendered("everything")
    labels = {name: meta["labels"] for name, meta, _ in pods(docs)}
    for name in ("controller", "gateway"):
        deployment = find(docs, "Deployment", f"trevor-{name}")["spec"]
        selectors = [deployment["selector"]["matchLabels"], find(docs, "Service", f"trevor-{name}")["spec"]["selector"],
                     find(docs, "PodDisruptionBudget", f"trevor-{name}")["spec"]["selector"]["matchLabels"],
                     find(docs, "PodMonitor", f"trevor-{name}")["spec"]["selector"]["matchLabels"],
                     *(one["labelSelector"]["matchLabels"] for one in deployment["template"]["spec"]["topologySpreadConstraints"])]
        for selector in selectors:
            assert [pod for pod, has in labels.items() if selector.items() <= has.items()] == [f"trevor-{name}"], selector


def test_a_disruption_budget_only_where_there_are_two():
    assert len([doc for doc in rendered("smallest") if doc["kind"] == "PodDisruptionBudget"]) == 2
    assert not [doc for doc in rendered("plain") if doc["kind"] == "PodDisruptionBudget"]


def egress_ports(docs, name):
    rules = find(docs, "NetworkPolicy", f"trevor-{name}")["spec"]["egress"]
    return {port["port"] for rule in rules for port in rule["ports"]}


def test_networks_are_closed_but_for_what_each_process_needs():
    docs = rendered("everything")
    deny = find(docs, "NetworkPolicy", "trevor-deny")["spec"]
    assert deny["policyTypes"] == ["Ingress", "Egress"] and "ingress" not in deny and "egress" not in deny
    assert all(deny["podSelector"]["matchLabels"].items() <= meta["labels"].items() for _, meta, _ in pods(docs))
    assert egress_ports(docs, "gateway") == {443, 6443, 53, 9000, "http"}
    assert egress_ports(docs, "controller") == {443, 6443, 53, 9000, 8443, 587}
    assert 587 not in egress_ports(rendered("everything", "network_policy.notifications.ports=[]"), "controller")
    clients = find(docs, "NetworkPolicy", "trevor-gateway")["spec"]["ingress"][0]
    assert clients["from"] == [{"namespaceSelector": {"matchLabels": {"airlock": "true"}}}]
    assert not [doc for doc in rendered("plain") if doc["kind"] == "NetworkPolicy"]


def test_the_collector_of_spans_is_reached_where_one_is_named():
    assert not {4318, 80} & egress_ports(rendered("everything"), "gateway")
    for url, port in (("http://collector.tracing:4318", 4318), ("http://collector", 80), ("https://collector/otlp", 443)):
        docs = rendered("smallest", f'log.otlp_endpoint="{url}"')
        assert port in egress_ports(docs, "controller") and port in egress_ports(docs, "gateway")


def test_configuration_and_rules_restart_the_pods_when_they_change():
    def stamps(*changes):
        annotations = find(rendered("smallest", *changes), "Deployment", "trevor-controller")["spec"]["template"]["metadata"]["annotations"]
        return annotations["airlock.karectl.io/config-sha256"], annotations["airlock.karectl.io/rules-sha256"]
    config, rules = stamps()
    assert stamps("storage.quarantine_retention_days=91")[0] != config
    assert stamps('identity.reviewing_service_accounts=["system:serviceaccount:a:b"]')[1] != rules
    assert stamps("workloads.controller.replicas=3") == (config, rules)


def test_authorities_of_ones_own_are_added_to_the_public_ones():
    for name, _, spec in pods(rendered("everything")):
        env = {entry["name"]: entry.get("value") for entry in spec["containers"][0]["env"]}
        assert env["SSL_CERT_FILE"] == "/etc/ssl/certs/ca-certificates.crt" and env["SSL_CERT_DIR"] == "/etc/trevor/trust", name
        assert "/etc/trevor/trust" in {mount["mountPath"] for mount in spec["containers"][0]["volumeMounts"]}, name


def test_jobs_run_the_operators_image_and_trust_its_gateway_without_being_told():
    def jobs(*changes):
        docs = rendered("smallest", 'gateway.tls.secret="trevor-gateway-tls"', *changes)
        images = re.findall(r"in (\[[^\]]*\])\)", str(find(docs, "ValidatingAdmissionPolicy", "trevor-operator-jobs")["spec"]["validations"]))
        rules = find(docs, "ClusterRole", "trevor-controller")["rules"]
        config = find(docs, "ConfigMap", "trevor-config")["data"]["config.yaml"]
        (controller,) = [spec for name, _, spec in pods(docs) if name == "trevor-controller"]
        volumes = [volume["secret"] for volume in controller["volumes"] if volume["name"] == "gateway-ca"]
        return images[0], any("jobs" in rule["resources"] for rule in rules), config, volumes

    own = ["localhost/trevor:0.1.0"]
    images, allowed, config, volumes = jobs()
    assert json.loads(images) == own and allowed and "images:\n  - localhost/trevor:0.1.0" in config
    _, _, config, volumes = jobs('gateway.tls.secret="given"')
    assert volumes == [{"secretName": "given", "optional": True, "items": [{"key": "ca.crt", "path": "ca.crt"}]}]
    assert "ca_bundle_if_any: /etc/trevor/gateway-ca/ca.crt" in config
    digest = "sha256:" + 64 * "0"
    images, _, config, _ = jobs(f'image.digest="{digest}"')
    assert json.loads(images) == [f"localhost/trevor@{digest}"] and f"- localhost/trevor@{digest}" in config
    images, allowed, config, _ = jobs('jobs.images=["a:2","a:1"]')
    assert json.loads(images) == ["a:2", "a:1"] and allowed
    images, allowed, config, _ = jobs("jobs.images=[]")
    assert json.loads(images) == [] and not allowed and "images: []" in config
    _, _, config, _ = jobs('gateway.tls.secret="given"', 'trust.gateway.config_map="authority"')
    assert "ca_bundle: /etc/trevor/trust/gateway.pem" in config and "if_any" not in config
    # Where the operator makes the certificate it knows the authority by itself.
    _, _, config, volumes = jobs("gateway.tls.secret=null")
    assert "ca_bundle_if_any" not in config and "authority: trevor-gateway-ca" in config and volumes == []


def test_every_mount_has_its_volume():
    for values in SETS:
        for name, _, spec in pods(rendered(values)):
            volumes = {volume["name"] for volume in spec["volumes"]}
            assert {mount["name"] for container in spec["containers"] for mount in container["volumeMounts"]} <= volumes, name


def test_the_hooks_are_hooks():
    docs = rendered("everything")
    assert find(docs, "Pod", "trevor-check")["metadata"]["annotations"]["helm.sh/hook"] == "test"
    assert find(docs, "Job", "trevor-uninstall")["metadata"]["annotations"]["helm.sh/hook"] == "pre-delete"
    assert find(rendered("smallest"), "Job", "trevor-uninstall")  # no namespace is to wait for an operator that is gone
    assert not [doc for doc in rendered("smallest", "uninstall.release_finalizers=false") if doc["kind"] == "Job"]

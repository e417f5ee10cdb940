"""The gateway's certificate: given, from cert-manager, made by the operator, or none at all."""

from render import documents, find, rendered

GIVEN = 'gateway.tls.secret="mine"'


def config(*values):
    return documents(find(rendered(*values), "ConfigMap", "trevor-config")["data"]["config.yaml"])[0]["gateway"]["tls"]


def mounted(*values):
    volumes = find(rendered(*values), "Deployment", "trevor-gateway")["spec"]["template"]["spec"]["volumes"]
    return [volume["secret"] for volume in volumes if volume["name"] == "tls"]


def test_without_a_word_the_operator_makes_it():
    assert config("smallest") == {
        "secret": "trevor-gateway-serving", "authority": "trevor-gateway-ca", "allow_plaintext": False,
        "dns_names": ["trevor-gateway.trevor-system.svc", "trevor-gateway.trevor-system.svc.cluster.local"]}
    assert config("smallest", 'gateway.tls.dns_names=["gw.example"]')["dns_names"][2:] == ["gw.example"]
    # The pod waits for it, so that nothing is served before.
    assert mounted("smallest") == [{"secretName": "trevor-gateway-serving", "defaultMode": 0o440}]


def test_one_that_is_named_or_cert_managers_is_used_and_nothing_of_the_operators_is_there():
    for values, name in ((("smallest", GIVEN), "mine"), (("everything",), "trevor-gateway-tls")):
        assert config(*values)["secret"] == name and config(*values)["authority"] is None
        assert [secret["secretName"] for secret in mounted(*values)] == [name]
    assert config("plain")["secret"] is None and mounted("plain") == []
    for values in (("smallest", GIVEN), ("everything",), ("plain",)):
        docs = rendered(*values)
        assert not [doc for doc in docs if doc["metadata"]["name"] == "trevor-gateway-ca"]
        rules = [rule for doc in docs if doc["kind"] in ("Role", "ClusterRole") for rule in doc["rules"] if "secrets" in rule["resources"]]
        assert not [rule for rule in rules if "get" in rule["verbs"] or "update" in rule["verbs"]]
        assert "certificate" not in {one["name"] for one in fence(docs)["variables"]}


def fence(docs):
    return find(docs, "ValidatingAdmissionPolicy", "trevor-operator-secrets")["spec"]


def test_a_right_to_create_is_there_once():
    """In all of the cluster where there is no list of namespaces, else at home too."""
    def creates(*values):
        return [doc["metadata"]["name"] for doc in rendered(*values) if doc["kind"] in ("Role", "ClusterRole")
                for rule in doc["rules"] if "secrets" in rule["resources"] and "create" in rule["verbs"]]
    assert creates("smallest") == ["trevor-controller"]
    assert sorted(creates("smallest", 'namespaces=["project-a"]')) == ["trevor-controller", "trevor-controller-projects"]


def test_the_authority_is_read_by_whoever_logs_in_and_nothing_else_is():
    role = find(rendered("smallest"), "Role", "trevor-gateway-ca")
    assert role["rules"] == [{"apiGroups": [""], "resources": ["configmaps"], "resourceNames": ["trevor-gateway-ca"], "verbs": ["get"]}]
    assert find(rendered("smallest"), "ConfigMap", "trevor-gateway-ca").get("data") is None


def test_cert_manager_makes_it_for_every_name():
    certificate = find(rendered("everything", 'gateway.tls.dns_names=["gw.example"]'), "Certificate", "trevor-gateway")
    service = ["trevor-gateway.trevor-system.svc", "trevor-gateway.trevor-system.svc.cluster.local"]
    assert certificate["spec"]["dnsNames"] == [*service, "airlock.example", "gw.example"]
    assert "ipAddresses" not in certificate["spec"]


def test_cert_manager_makes_it_for_the_host_of_the_gateways_url():
    service = ["trevor-gateway.trevor-system.svc", "trevor-gateway.trevor-system.svc.cluster.local", "airlock.example"]
    for url, names, addresses in (
            ("https://airlock.tre.example", ["airlock.tre.example"], None),
            ("https://Airlock.TRE.example:8443", ["airlock.tre.example"], None),
            ("https://airlock.example", [], None),
            ("https://192.0.2.7:8443", [], ["192.0.2.7"]),
            ("https://[2001:db8::7]:8443", [], ["2001:db8::7"]),
            ("https://[2001:db8::7]", [], ["2001:db8::7"])):
        spec = find(rendered("everything", f'gateway.url="{url}"'), "Certificate", "trevor-gateway")["spec"]
        assert spec["dnsNames"] == service + names and spec.get("ipAddresses") == addresses, (url, spec)
    listed = find(rendered("everything", 'gateway.tls.dns_names=["10.0.0.1", "gw.example"]'), "Certificate", "trevor-gateway")["spec"]
    assert listed["dnsNames"] == [*service, "gw.example"] and listed["ipAddresses"] == ["10.0.0.1"]

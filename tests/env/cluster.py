"""The control plane of the light shape: etcd, kube-apiserver, kube-controller-manager. No node, no root."""

import base64
import csv
import io
import json
import os
import secrets
import ssl
import time
from pathlib import Path

from kube import Kube
from processes import start, wait_until
from storage import write_secret

OPERATOR_NAMESPACE = "trevor-system"
PROJECTS = ("project-a", "project-b")
USERS = {  # name: groups
    "admin": ["system:masters"],
    "alice": ["researchers"],
    "dave": ["researchers"],
    "bob": ["checkers"],
    "carol": ["checkers"],
    "olga": ["hold-officers"],
    "mallory": [],
}
ROLES = [  # project, the chart's ClusterRole, users
    ("project-a", "trevor-researcher", ["alice", "dave"]),
    ("project-a", "trevor-checker", ["bob", "carol"]),
    ("project-a", "trevor-hold-officer", ["olga"]),
    ("project-b", "trevor-researcher", ["dave"]),
    ("project-b", "trevor-checker", ["carol"]),
]
EXAMPLE = Path(__file__).resolve().parents[2] / "examples/static-admission"
CONTROLLER_MANAGER = "system:kube-controller-manager"


class Cluster:
    """A control plane under `<folder>/cluster`."""

    def __init__(self, folder, tools, ports):
        self.folder, self.home, self.tools, self.lock = folder, folder / "cluster", tools, ports.lock
        self.etcd_port, self.etcd_peer_port = ports.new(), ports.new()
        self.port, self.manager_port = ports.new(), ports.new()
        self.url = f"https://127.0.0.1:{self.port}"
        self.tokens = {user: secrets.token_urlsafe(24) for user in (*USERS, CONTROLLER_MANAGER)}
        self.ca = self.home / "ca.crt"

    def start(self, static_admission=False):
        """etcd and the API server; returns when that is ready."""
        self.home.mkdir(parents=True)
        write_secret(self.home / "tokens.csv", self.token_file())
        write_secret(self.home / "service-accounts.key", new_key())
        etcd_url, peer_url = f"http://127.0.0.1:{self.etcd_port}", f"http://127.0.0.1:{self.etcd_peer_port}"
        etcd = start(self.folder, "etcd", [
            self.tools["etcd"], f"--data-dir={self.home / 'etcd'}", "--unsafe-no-fsync", "--log-level=warn",
            f"--listen-client-urls={etcd_url}", f"--advertise-client-urls={etcd_url}",
            f"--listen-peer-urls={peer_url}", f"--initial-advertise-peer-urls={peer_url}",
            f"--initial-cluster=default={peer_url}",
        ], keep_open=[self.lock.fileno()])
        server = start(self.folder, "kube-apiserver", [
            self.tools["kube_apiserver"], f"--etcd-servers={etcd_url}",
            f"--secure-port={self.port}", f"--cert-dir={self.home / 'serving'}",
            f"--service-account-key-file={self.home / 'service-accounts.key'}",
            f"--service-account-signing-key-file={self.home / 'service-accounts.key'}",
            f"--token-auth-file={self.home / 'tokens.csv'}", "--profiling=false",
            *self.address_flags(), *self.audit(), *(self.static_admission() if static_admission else []),
        ])
        self.learn_ca(server)
        self.admin = self.client("admin")
        wait_until(self.admin.ready, self.folder, server, "kube-apiserver", 120)
        wait_until(lambda: True, self.folder, etcd, "etcd", 1)

    def address_flags(self):
        """Where it serves, and for whom: another shape says otherwise."""
        return ["--bind-address=127.0.0.1", "--service-account-issuer=https://kubernetes.default.svc",
                "--authorization-mode=RBAC", "--service-cluster-ip-range=10.0.0.0/24", "--endpoint-reconciler-type=none"]

    def audit(self):
        """What the operator's accounts ask for, a line each, if TREVOR_KUBE_AUDIT names a folder for it: there the log
        outlives the environment, and is another one each time that one is started. tests/it/rules_used.py reads it."""
        kept = os.environ.get("TREVOR_KUBE_AUDIT")
        if not kept:
            return []
        policy, log = self.home / "audit-policy.yaml", Path(kept).absolute() / f"{self.folder.name}-{time.time_ns()}.log"
        policy.write_text(json.dumps({
            "apiVersion": "audit.k8s.io/v1", "kind": "Policy", "omitStages": ["RequestReceived"],
            "rules": [{"level": "Metadata", "userGroups": [f"system:serviceaccounts:{OPERATOR_NAMESPACE}"]}, {"level": "None"}]}))
        log.parent.mkdir(parents=True, exist_ok=True)
        return [f"--audit-policy-file={policy}", f"--audit-log-path={log}", "--audit-log-maxsize=10000"]

    def learn_ca(self, server):
        """The API server signs its certificate itself; the last one in its file is the authority."""
        serving = self.home / "serving/apiserver.crt"
        wait_until(lambda: serving.exists() and serving.read_text().count("END CERTIFICATE") >= 2,
                   self.folder, server, "kube-apiserver", 30)
        self.ca.write_text("-----BEGIN CERTIFICATE-----" + serving.read_text().rsplit("-----BEGIN CERTIFICATE-----", 1)[1])

    def static_admission(self):
        """Policies from files, none yet: `<folder>/static-admission`, set up as examples/static-admission says."""
        manifests, configuration = self.folder / "static-admission", self.home / "admission-configuration.yaml"
        manifests.mkdir()
        text = (EXAMPLE / "admission-configuration.yaml").read_text()
        configuration.write_text(text.replace("/etc/kubernetes/static-admission", str(manifests)))
        return [f"--admission-control-config-file={configuration}"]

    def start_controller_manager(self, *more):
        """Garbage collection and the end of namespaces. Started after the CRDs, so that it knows them at once."""
        kubeconfig = self.kubeconfig("cluster/controller-manager.kubeconfig", [CONTROLLER_MANAGER])
        self.manager = start(self.folder, "kube-controller-manager", [
            self.tools["kube_controller_manager"], f"--kubeconfig={kubeconfig}", "--leader-elect=false",
            "--bind-address=127.0.0.1", f"--secure-port={self.manager_port}", f"--cert-dir={self.home / 'serving'}",
            f"--service-account-private-key-file={self.home / 'service-accounts.key'}", f"--root-ca-file={self.ca}",
            "--use-service-account-credentials", "--kube-api-qps=300", "--kube-api-burst=600", *more,
        ])

    def token_file(self):
        out = io.StringIO()
        for user, token in self.tokens.items():
            csv.writer(out, lineterminator="\n").writerow([token, user, f"uid-{user}", ",".join(USERS.get(user, []))])
        return out.getvalue()

    def client(self, user):
        return Kube(self.port, self.ca, self.tokens[user])

    def kubeconfig(self, name, users=tuple(USERS), namespace=PROJECTS[0], token_file=None):
        """A kubeconfig with a context for each user; the first is the current one."""
        def credentials(user):
            return {"tokenFile": str(token_file)} if token_file else {"token": self.tokens[user]}

        path = self.folder / name
        write_secret(path, json.dumps({
            "apiVersion": "v1", "kind": "Config", "current-context": users[0],
            "clusters": [{"name": "light", "cluster": {
                "server": self.url, "certificate-authority-data": base64.b64encode(self.ca.read_bytes()).decode()}}],
            "users": [{"name": user, "user": credentials(user)} for user in users],
            "contexts": [{"name": user, "context": {"cluster": "light", "user": user, "namespace": namespace}}
                         for user in users],
        }, indent=1))
        return path

    def create_namespaces(self):
        for name in (OPERATOR_NAMESPACE, *PROJECTS):
            self.admin.create("/api/v1/namespaces", {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}})

    def bind_roles(self):
        group = "rbac.authorization.k8s.io"
        for project, role, users in ROLES:
            self.admin.create(f"/apis/{group}/v1/namespaces/{project}/rolebindings", {
                "apiVersion": f"{group}/v1", "kind": "RoleBinding", "metadata": {"name": role},
                "roleRef": {"apiGroup": group, "kind": "ClusterRole", "name": role},
                "subjects": [{"apiGroup": group, "kind": "User", "name": user} for user in users]})

    def wait_for_accounts(self):
        """A pod is refused until its namespace has the `default` account, which the controller manager makes."""
        def there():
            return all(self.admin.call("GET", f"/api/v1/namespaces/{name}/serviceaccounts/default")[0] == 200
                       for name in (OPERATOR_NAMESPACE, *PROJECTS))
        wait_until(there, self.folder, self.manager, "kube-controller-manager", 120)

    def pod_bound_token(self, account, pod):
        """A token as a pod's: bound to a Pod object that nothing runs. Without a node nothing collects it."""
        pods = f"/api/v1/namespaces/{OPERATOR_NAMESPACE}/pods"
        made = self.admin.create(pods, {
            "apiVersion": "v1", "kind": "Pod", "metadata": {"name": pod, "labels": {"app.kubernetes.io/name": "trevor"}},
            "spec": {"serviceAccountName": account, "automountServiceAccountToken": False,
                     "containers": [{"name": "trevor", "image": "trevor:light"}]}})
        uid = made["metadata"]["uid"] if made["kind"] == "Pod" else self.admin.call("GET", f"{pods}/{pod}")[1]["metadata"]["uid"]
        path = f"/api/v1/namespaces/{OPERATOR_NAMESPACE}/serviceaccounts/{account}/token"
        answer = self.admin.create(path, {
            "apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest",
            "spec": {"expirationSeconds": 86_400,
                     "boundObjectRef": {"apiVersion": "v1", "kind": "Pod", "name": pod, "uid": uid}}})
        return answer["status"]["token"]


def new_key():
    """A P-256 key in PEM, without openssl: RFC 5915 lets the public half be left out."""
    private = (secrets.randbelow(0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632550) + 1).to_bytes(32, "big")
    curve = bytes.fromhex("a00a06082a8648ce3d030107")  # [0] OBJECT IDENTIFIER prime256v1
    body = b"\x02\x01\x01" + b"\x04\x20" + private + curve
    der = bytes([0x30, len(body)]) + body
    return ssl.DER_cert_to_PEM_cert(der).replace("CERTIFICATE", "EC PRIVATE KEY")

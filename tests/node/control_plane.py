"""The control plane of the node: that of the light shape, and what pods need of it besides."""

import csv
import io
import secrets

import processes
from cluster import Cluster
from init import NODE, NODE_IP

SERVICES = "10.96.0.0/16"
COMPONENTS = {  # user: groups
    f"system:node:{NODE}": ["system:nodes"],
    "system:kube-scheduler": [],
    "system:kube-proxy": [],
}
NAMES = ["IP:127.0.0.1", f"IP:{NODE_IP}", "IP:10.96.0.1", "DNS:localhost", "DNS:kubernetes", "DNS:kubernetes.default",
         "DNS:kubernetes.default.svc", "DNS:kubernetes.default.svc.cluster.local"]


class ControlPlane(Cluster):
    """Users, tokens, projects and roles are the light shape's; the certificates are an authority's."""

    def __init__(self, folder, tools, ports, authority):
        super().__init__(folder, tools, ports)
        self.authority, self.ca = authority, authority.certificate
        self.scheduler_port = ports.new()
        self.tokens |= {user: secrets.token_urlsafe(24) for user in COMPONENTS}

    def token_file(self):
        out = io.StringIO()
        for user, groups in COMPONENTS.items():
            csv.writer(out, lineterminator="\n").writerow([self.tokens[user], user, f"uid-{user}", ",".join(groups)])
        return super().token_file() + out.getvalue()

    def address_flags(self):
        serving, serving_key = self.authority.sign("apiserver", "/CN=kube-apiserver", "serverAuth", NAMES)
        # As whom it reads logs and runs commands at the kubelet's.
        client, client_key = self.authority.sign("apiserver-kubelet", "/O=system:masters/CN=apiserver-kubelet", "clientAuth")
        return [f"--advertise-address={NODE_IP}", f"--service-cluster-ip-range={SERVICES}",
                f"--tls-cert-file={serving}", f"--tls-private-key-file={serving_key}", f"--client-ca-file={self.ca}",
                f"--kubelet-client-certificate={client}", f"--kubelet-client-key={client_key}",
                f"--kubelet-certificate-authority={self.ca}", "--kubelet-preferred-address-types=InternalIP",
                "--service-account-issuer=https://kubernetes.default.svc.cluster.local", "--allow-privileged=true",
                "--authorization-mode=Node,RBAC", "--enable-admission-plugins=NodeRestriction"]

    def learn_ca(self, server):
        """It is known: our authority's."""

    def start_scheduler(self):
        kubeconfig = self.kubeconfig("cluster/scheduler.kubeconfig", ["system:kube-scheduler"])
        processes.start(self.folder, "kube-scheduler", [
            self.tools["kube_scheduler"], f"--kubeconfig={kubeconfig}", "--leader-elect=false",
            "--bind-address=127.0.0.1", f"--secure-port={self.scheduler_port}", f"--cert-dir={self.home / 'serving'}"])

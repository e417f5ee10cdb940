"""Runs on the node: starts control plane, container runtime, kubelet and the rest, and two S3 servers."""

import base64
import contextlib
import json
import os
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import configs
import oci
import outputs
import processes
import storage
import trevor
from cluster import OPERATOR_NAMESPACE
from control_plane import ControlPlane
from init import NODE, NODE_IP
from pki import Authority
from ports import Ports
from tools import Failed

HERE = Path(__file__).resolve().parent
IMAGES = {"pause": configs.PAUSE_IMAGE, "coredns": "localhost/coredns:1"}
KERNEL_DEFAULTS = {  # what kubelet wants to see: values of the whole machine, which no namespace shields
    "vm/overcommit_memory": "1", "vm/panic_on_oom": "0", "kernel/panic": "10", "kernel/panic_on_oops": "1",
    "kernel/keys/root_maxkeys": "1000000", "kernel/keys/root_maxbytes": "25000000",
}
SECRETS = {  # of the chart, by name: (bucket, identity)
    "trevor-quarantine": ("quarantine", "controller"),
    "trevor-release": ("release", "controller"),
    "trevor-staging": ("staging", "controller-staging"),
    "trevor-gateway-quarantine": ("quarantine", "gateway"),
    "trevor-gateway-staging": ("staging", "gateway-staging"),
    "trevor-packaging-quarantine": ("quarantine", "packaging"),
    "trevor-packaging-release": ("release", "packaging"),
}
GATEWAY = f"trevor-gateway.{OPERATOR_NAMESPACE}.svc"


def up(folder, tools, step):
    authority = Authority(folder / "pki", "trevor-node")
    ports = Ports()
    (folder / "ports").write_text(f"{ports.next} {ports.end}\n")
    cluster = ControlPlane(folder, tools, ports, authority)
    buckets = {"quarantine": storage.quarantine(), "staging": storage.staging(), "release": storage.release()}
    servers = [storage.Server(folder, "s3-quarantine", tools, ports, [buckets["quarantine"], buckets["staging"]], NODE_IP),
               storage.Server(folder, "s3-release", tools, ports, [buckets["release"]], NODE_IP)]
    with ThreadPoolExecutor() as pool:
        for server in servers:
            server.start()
        prepared = [pool.submit(server.prepare) for server in servers]
        runtime = start_containerd(folder, tools)
        packed = [pool.submit(pack, folder, tools, name) for name in IMAGES]
        cluster.start()
        step("etcd and kube-apiserver")
        cluster.kubeconfig("kubeconfig")
        cluster.start_controller_manager("--pvclaimbinder-sync-period=1s")
        cluster.start_scheduler()
        ctr = tools["containerd"].with_name("ctr")
        processes.wait_until(lambda: answers([ctr, "version"]), folder, runtime, "containerd", 120)
        for image in packed:
            import_image(tools, image.result())
        step("containerd, with its images")
        with kernel_defaults(folder):
            kubelet = start_kubelet(folder, tools, cluster, authority)
            start_kube_proxy(folder, tools, cluster)
            processes.wait_until(lambda: node_ready(cluster.admin), folder, kubelet, "kubelet", 120)
        step("kubelet and kube-proxy; the node is Ready")
        cluster.create_namespaces()
        apply(folder, tools, (HERE / "coredns.yaml").read_text())
        for server in prepared:
            server.result()
        step("two S3 servers, their buckets and identities")
        give_credentials(cluster.admin, buckets)
        cluster.wait_for_accounts()
    wait_for_dns(folder, tools)
    step("DNS")
    write_state(folder, tools, buckets)


def start_containerd(folder, tools):
    (folder / "cni").mkdir()
    (folder / "cni/10-node.conflist").write_text(configs.cni())
    (folder / "containerd.toml").write_text(configs.containerd(folder, tools))
    # It looks for its shim, and that for runc, on PATH.
    path = f"{tools['containerd'].parent}:{tools['runc'].parent}:{os.environ['PATH']}"
    return processes.start(folder, "containerd", [tools["containerd"], "-c", folder / "containerd.toml"], {"PATH": path})


def start_kubelet(folder, tools, cluster, authority):
    certificate, key = authority.sign("kubelet", f"/O=system:nodes/CN=system:node:{NODE}", "serverAuth",
                                      [f"IP:{NODE_IP}", f"DNS:{NODE}"])
    (folder / "kubelet.json").write_text(configs.kubelet(folder, authority.certificate, certificate, key))
    kubeconfig = cluster.kubeconfig("cluster/kubelet.kubeconfig", [f"system:node:{NODE}"])
    return processes.start(folder, "kubelet", [
        tools["kubelet"], f"--config={folder / 'kubelet.json'}", f"--kubeconfig={kubeconfig}",
        f"--hostname-override={NODE}", f"--node-ip={NODE_IP}"])


def start_kube_proxy(folder, tools, cluster):
    kubeconfig = cluster.kubeconfig("cluster/kube-proxy.kubeconfig", ["system:kube-proxy"])
    (folder / "kube-proxy.json").write_text(configs.kube_proxy(kubeconfig))
    processes.start(folder, "kube-proxy", [tools["kube_proxy"], f"--config={folder / 'kube-proxy.json'}"])


@contextlib.contextmanager
def kernel_defaults(folder):
    """Files over sysctls, in our mount namespace, while kubelet looks at them once: it then writes none.

    Left in place they would make pods with user namespaces fail.
    """
    shown = folder / "kernel-defaults"
    shown.mkdir()
    places = {Path("/proc/sys", name): shown / name.replace("/", ".") for name in KERNEL_DEFAULTS}
    for (place, file), value in zip(places.items(), KERNEL_DEFAULTS.values()):
        file.write_text(f"{value}\n")
        subprocess.run(["mount", "--bind", file, place], check=True)
    try:
        yield
    finally:
        for place in places:
            subprocess.run(["umount", place], check=True)


def pack(folder, tools, name):
    """An image of a tool's program, made once for each version."""
    out = tools[name].parent / "image.tar"
    if not out.exists():
        part = folder / f"{name}.tar"
        oci.write(part, IMAGES[name], "65532:65532", tools[name])
        part.replace(out) if part.stat().st_dev == out.parent.stat().st_dev else out.write_bytes(part.read_bytes())
    return out


def import_image(tools, archive):
    done = subprocess.run([tools["containerd"].with_name("ctr"), "-n", "k8s.io", "images", "import", "--local", archive],
                          capture_output=True, text=True)
    if done.returncode != 0:
        raise Failed(f"containerd does not take {archive}: {done.stderr.strip()[-1000:]}")


def answers(command):
    return subprocess.run(command, capture_output=True).returncode == 0


def node_ready(admin):
    status, node = admin.call("GET", f"/api/v1/nodes/{NODE}")
    return status == 200 and any(condition["type"] == "Ready" and condition["status"] == "True"
                                 for condition in node["status"].get("conditions", []))


def kubectl(folder, tools, *arguments, text=None):
    return subprocess.run([tools["kubectl"], "--kubeconfig", folder / "kubeconfig", *arguments], input=text,
                          capture_output=True, text=True)


def apply(folder, tools, text):
    done = kubectl(folder, tools, "apply", "-f", "-", text=text)
    if done.returncode != 0:
        raise Failed(f"kubectl apply: {done.stderr[-2000:]}")


def wait_for_dns(folder, tools):
    done = kubectl(folder, tools, "-n", "kube-system", "rollout", "status", "deployment/coredns", "--timeout=60s")
    if done.returncode != 0:
        pods = kubectl(folder, tools, "-n", "kube-system", "describe", "pods")
        raise Failed(f"CoreDNS does not become ready: {done.stderr}\n{pods.stdout[-3000:]}")


def give_credentials(admin, buckets):
    """The Secrets that the chart's values name: a storage identity each."""
    for name, (bucket, identity) in SECRETS.items():
        admin.create(f"/api/v1/namespaces/{OPERATOR_NAMESPACE}/secrets", {
            "apiVersion": "v1", "kind": "Secret", "type": "Opaque", "metadata": {"name": name},
            "data": {key: base64.b64encode(value.encode()).decode() for key, value in buckets[bucket].keys[identity].items()}})


def write_state(folder, tools, buckets):
    settings = trevor.storage_settings(buckets["quarantine"], buckets["release"], buckets["staging"])
    for name in ("quarantine", "release", "staging"):
        settings[name]["credentials_secret"] = f"trevor-{name}"
    storage.write_secret(folder / "values.yaml", json.dumps({
        "storage": settings, "crate": trevor.crate_settings()}, indent=1))
    outputs.write(folder, {
        "shape": "node", "folder": str(folder), "bin": None, "tokens": {}, "pids": {},
        "addresses": {"gateway": GATEWAY, "controller": f"trevor-controller.{OPERATOR_NAMESPACE}.svc:8080"},
        # The operator makes it; e2e.py writes it here.
        "gateway_ca": str(folder / "gateway-ca.pem"), "tools": {name: str(path) for name, path in tools.items()},
        "buckets": {name: {"bucket": bucket.name, "endpoint": bucket.endpoint, "root": bucket.keys["root"]}
                    for name, bucket in buckets.items()}})


def main():
    order = json.load(sys.stdin)
    began = time.monotonic() - order["elapsed"]
    try:
        up(Path(order["folder"]), {name: Path(path) for name, path in order["tools"].items()},
           lambda text: print(f"{time.monotonic() - began:5.1f} s  {text}", file=sys.stderr, flush=True))
    except Failed as failure:
        print(f"error: {failure}", file=sys.stderr)
        return 1
    return 0

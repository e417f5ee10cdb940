"""Configuration of what makes a node: containerd, CNI, kubelet, kube-proxy. JSON is YAML, and JSON needs no library."""

import json

from init import DNS_IP, NODE
from machine import cgroup_name

PODS = "10.244.0.0/24"
CONTAINERD_SOCKET = "/run/containerd/containerd.sock"
PAUSE_IMAGE = "localhost/pause:1"


def containerd(folder, tools):
    home = folder / "containerd"
    return f"""version = 3
root = '{home}/root'
state = '/run/containerd'
imports = []
[grpc]
  address = '{CONTAINERD_SOCKET}'
[plugins.'io.containerd.internal.v1.opt']
  path = '{home}/opt'
[plugins.'io.containerd.cri.v1.images'.pinned_images]
  sandbox = '{PAUSE_IMAGE}'
[plugins.'io.containerd.cri.v1.runtime']
  restrict_oom_score_adj = true  # root without CAP_SYS_RESOURCE, as in many virtual machines, may not lower it
  disable_apparmor = true
[plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.runc]
  runtime_type = 'io.containerd.runc.v2'
[plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.runc.options]
  BinaryName = '{tools["runc"]}'
  SystemdCgroup = false
[plugins.'io.containerd.cri.v1.runtime'.cni]
  bin_dirs = ['{tools["cni"].parent}']
  conf_dir = '{folder}/cni'
[plugins.'io.containerd.nri.v1.nri']
  disable = true
"""


def cni():
    return json.dumps({"cniVersion": "1.0.0", "name": "node", "plugins": [
        {"type": "bridge", "bridge": "cni0", "isGateway": True, "ipMasq": False, "hairpinMode": True,
         "ipam": {"type": "host-local", "dataDir": "/run/cni-ipam", "ranges": [[{"subnet": PODS}]],
                  "routes": [{"dst": "0.0.0.0/0"}]}},
        {"type": "portmap", "capabilities": {"portMappings": True}}]}, indent=1)


def kubelet(folder, authority, certificate, key):
    (folder / "empty-resolv.conf").touch()
    return json.dumps({
        "apiVersion": "kubelet.config.k8s.io/v1beta1", "kind": "KubeletConfiguration",
        "failCgroupV1": False,  # 1.37 still runs on version 1, but only when it is told so
        "failSwapOn": False, "cgroupDriver": "cgroupfs", "cgroupRoot": f"/{cgroup_name(folder)}",
        "containerRuntimeEndpoint": f"unix://{CONTAINERD_SOCKET}",
        "clusterDNS": [DNS_IP], "clusterDomain": "cluster.local", "resolvConf": str(folder / "empty-resolv.conf"),
        "tlsCertFile": str(certificate), "tlsPrivateKeyFile": str(key),
        "authentication": {"anonymous": {"enabled": False}, "webhook": {"enabled": True},
                           "x509": {"clientCAFile": str(authority)}},
        "authorization": {"mode": "Webhook"},
        "evictionHard": {"nodefs.available": "1%", "imagefs.available": "1%", "memory.available": "100Mi"},
        # There is no registry: an image that was collected would be gone.
        "imageGCHighThresholdPercent": 100, "imageGCLowThresholdPercent": 99,
        "nodeStatusUpdateFrequency": "4s",
        "oomScoreAdj": 0, "maxOpenFiles": 20000,  # the defaults need CAP_SYS_RESOURCE
        "volumePluginDir": str(folder / "volume-plugins"),
        "protectKernelDefaults": True,  # never write sysctls of the whole machine: see node_up.kernel_defaults
    }, indent=1)


def kube_proxy(kubeconfig):
    return json.dumps({
        "apiVersion": "kubeproxy.config.k8s.io/v1alpha1", "kind": "KubeProxyConfiguration",
        "mode": "nftables", "clusterCIDR": PODS, "hostnameOverride": NODE,
        "clientConnection": {"kubeconfig": str(kubeconfig)}, "oomScoreAdj": 0,
        # nf_conntrack_max is the whole machine's: left alone.
        "conntrack": {"maxPerCore": 0, "min": 0, "tcpEstablishedTimeout": "0s", "tcpCloseWaitTimeout": "0s"},
    }, indent=1)

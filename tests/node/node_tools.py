"""What a node needs besides the light shape's tools, pinned and cached in the same way.

kube-scheduler, kubelet and kube-proxy come from the module of the control plane
(tests/env/controlplane), the rest from modules beside this file. runc is C as
well: its library and compiler are Debian packages, as is the `nft` that
kube-proxy runs. They are installed where that is possible (root, apt-get);
elsewhere their absence is said.
"""

import os
import shutil
import subprocess
from pathlib import Path

import tools
from tools import Failed, Tool, say

HERE = Path(__file__).resolve().parent
PROGRAMS = {  # what the node runs, and the Debian package that has it
    "nft": "nftables",
    "ip": "iproute2",
    "unshare": "util-linux",
    "nsenter": "util-linux",
    "openssl": "openssl",
}
COMPILING = {"gcc": "gcc", "pkg-config": "pkg-config"}  # for runc alone


def build(module, packages, tags="", cgo=False, out=None):
    """Compile packages of a wrapper module into the tool's folder; `out` names the only one."""
    def make(work, log):
        if cgo:
            compiler()
        environment = dict(os.environ, CGO_ENABLED="1" if cgo else "0", GOWORK="off",
                           # containerd asks for a patch release of Go: an older one fetches it as a module.
                           GOTOOLCHAIN="auto", GOFLAGS="-trimpath -mod=readonly -buildvcs=false")
        flags = "-s -w -linkmode external -extldflags -static" if cgo else "-s -w"
        tools.run([tools.go(), "build", "-ldflags", flags, *(["-tags", tags] if tags else []),
                   "-o", str(work / out if out else work) + ("" if out else "/"), *packages],
                  log, cwd=HERE / module, env=environment)
    return make


def kubernetes(command, about):
    return Tool(command, tools.KUBERNETES, command, about, tools.go_build(
        "controlplane", f"k8s.io/kubernetes/cmd/{command}", command, tools.kubernetes_version(tools.KUBERNETES)))


def node_tools():
    containerd, plugins = "github.com/containerd/containerd/v2/cmd", "github.com/containernetworking/plugins/plugins"
    return {
        "pause": Tool("pause", "1", "pause", "compiling, seconds", build("pause", ["."], out="pause")),
        "runc": Tool("runc", "1.5.2", "runc", "compiling, about 15 s on 2 cores", build(
            "runc", ["github.com/opencontainers/runc"], "seccomp netgo osusergo urfave_cli_no_docs", cgo=True)),
        "cni": Tool("cni-plugins", "1.9.1", "bridge", "compiling, about 15 s on 2 cores", build(
            "cni", [f"{plugins}/{name}" for name in ("main/bridge", "main/loopback", "ipam/host-local", "meta/portmap")])),
        "containerd": Tool("containerd", "2.4.2", "containerd", "compiling, about 90 s on 2 cores", build(
            "containerd", [f"{containerd}/{name}" for name in ("containerd", "containerd-shim-runc-v2", "ctr")])),
        "kube_scheduler": kubernetes("kube-scheduler", "compiling, about 30 s on 2 cores"),
        "kube_proxy": kubernetes("kube-proxy", "compiling, about 20 s on 2 cores"),
        "kubelet": kubernetes("kubelet", "compiling, about 60 s on 2 cores"),
        "coredns": Tool("coredns", "1.14.2", "coredns", "compiling, about 20 s on 2 cores",
                        build("coredns", ["."], out="coredns")),
    }


def ensure():
    """Make what is missing, the light shape's tools first; gives every tool's path by name."""
    packages(PROGRAMS)
    paths = tools.ensure()
    ours = node_tools()
    if not all(tool.ready() for tool in ours.values()):
        with tools.sole_user():
            missing = [tool for tool in ours.values() if not tool.ready()]
            if missing:
                say(f"installing {len(missing)} of {len(ours)} tools of the node into {tools.cache()}")
            for tool in missing:
                tool.ensure()
    return paths | {name: tool.path for name, tool in ours.items()}


def packages(wanted, also=()):
    """See that programs are there, from Debian packages where they are not."""
    missing = sorted({package for program, package in wanted.items() if not shutil.which(program)} | set(also))
    if not missing:
        return
    if os.geteuid() != 0 or not shutil.which("apt-get"):
        raise Failed(f"the node needs these Debian packages: {' '.join(missing)}. Install them and run this again "
                     "(as root with apt-get at hand, this does it by itself)")
    say(f"installing Debian packages: {' '.join(missing)}")
    log, environment = tools.cache() / "log/apt.log", dict(os.environ, DEBIAN_FRONTEND="noninteractive")
    tools.run(["apt-get", "update", "-qq"], log, env=environment)
    tools.run(["apt-get", "install", "-y", "-qq", "--no-install-recommends", *missing], log, env=environment)


def compiler():
    """What runc is compiled with, statically: nothing of it is needed afterwards."""
    packages(COMPILING)
    known = subprocess.run(["pkg-config", "--exists", "libseccomp"]).returncode == 0
    packages({}, also=() if known else ("libc6-dev", "libseccomp-dev"))

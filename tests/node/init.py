"""PID 1 of the node: sets its mounts and network up, then reaps what is left to it.

Nothing here reaches the host: each mount, link, route and sysctl is of a namespace
that ends with this process.
"""

import os
import signal
import subprocess
import sys
from pathlib import Path

NODE, NODE_IP, DNS_IP = "node-1", "10.99.0.1", "10.96.0.10"


def run(*command):
    subprocess.run(command, check=True)


def mounts(folder):
    run("mount", "--make-rshared", "/")  # kubelet passes mounts on to containers
    resolv = Path(os.path.realpath("/etc/resolv.conf"))  # before /run, where it may lie, is hidden
    run("mount", "-t", "tmpfs", "-o", "mode=755", "tmpfs", "/run")
    run("mount", "-t", "tmpfs", "-o", "mode=755", "tmpfs", "/var/log")
    Path("/run/lock").mkdir()
    # kubelet's folder is hard-coded in places; over /var/lib lies a layer that the host does not see.
    for part in ("upper", "work"):
        Path("/run/var-lib", part).mkdir(parents=True)
    run("mount", "-t", "overlay", "-o", "lowerdir=/var/lib,upperdir=/run/var-lib/upper,workdir=/run/var-lib/work",
        "overlay", "/var/lib")
    Path("/var/lib/kubelet").mkdir(exist_ok=True)
    (folder / "kubelet").mkdir(exist_ok=True)
    run("mount", "--bind", str(folder / "kubelet"), "/var/lib/kubelet")
    # Names of Services resolve on the node as they do in its pods.
    own = Path("/run/resolv.conf")
    own.write_text(f"nameserver {DNS_IP}\nsearch svc.cluster.local cluster.local\noptions ndots:5 timeout:1\n")
    if resolv.is_relative_to("/run"):
        resolv.parent.mkdir(parents=True, exist_ok=True)
        resolv.touch()
    if resolv.exists():
        run("mount", "--bind", str(own), str(resolv))


def network():
    run("ip", "link", "set", "lo", "up")
    # A pair, both ends here: one carries the node's address, and the default route by which
    # the node's own processes get as far as the rules that know where a Service is.
    run("ip", "link", "add", "node0", "type", "veth", "peer", "name", "node0-peer")
    run("ip", "address", "add", f"{NODE_IP}/24", "dev", "node0")
    run("ip", "link", "set", "node0", "up")
    run("ip", "link", "set", "node0-peer", "up")
    run("ip", "route", "add", "default", "dev", "node0")
    Path("/proc/sys/net/ipv4/ip_forward").write_text("1")  # of this network namespace


def reap():
    while True:
        try:
            os.wait()
        except ChildProcessError:
            signal.sigwait({signal.SIGCHLD})


if __name__ == "__main__":
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGCHLD})
    run("hostname", NODE)
    home = Path(sys.argv[1])
    mounts(home)
    network()
    (home / "machine.ready").touch()
    reap()

"""The machine that the node runs on: namespaces of its own, and control groups.

One process, PID 1 of the node's PID namespace (init.py), holds all of it: mounts,
network, processes, containers. When that process ends, the kernel ends the rest.
What is left on the host are the files of the folder and the control groups, whose
name comes from the folder: a killed run's are found again.
"""

import hashlib
import os
import shlex
import shutil
import subprocess
import sys
import time
from pathlib import Path

import processes
from tools import Failed, cache

HERE = Path(__file__).resolve().parent
NAME = "machine"  # the mark of the process that holds the namespaces
NAMESPACES = ["--mount", "--net", "--pid", "--uts", "--ipc"]
CGROUPS = Path("/sys/fs/cgroup")
NEEDED = {"cpu", "cpuset", "memory", "pids"}  # controllers that kubelet and runc cannot do without
HIDDEN = ("/run", "/var/log")  # the node has its own there


def cgroup_name(folder):
    return "trevor-node-" + hashlib.sha256(bytes(folder)).hexdigest()[:8]


def unified():
    return (CGROUPS / "cgroup.controllers").exists()


def hierarchies():
    """Where the node's control group has to be made: one place, or one for each controller of version 1."""
    if unified():
        return [CGROUPS]
    mounts = (line.split() for line in Path("/proc/self/mounts").read_text().splitlines())
    return sorted({Path(place) for _, place, kind, *_ in mounts if kind == "cgroup" and place.startswith(f"{CGROUPS}/")})


def check(folder):
    """Say what this machine lacks, before anything is started."""
    def fail(why):
        raise Failed(f"a node cannot start on this machine: {why}")

    if not sys.platform.startswith("linux"):
        fail(f"it needs Linux, and this is {sys.platform}")
    if os.geteuid() != 0:
        fail("it needs root, for namespaces, mounts and control groups")
    if missing := [program for program in ("unshare", "nsenter", "mount") if not shutil.which(program)]:
        fail(f"{', '.join(missing)} not found: install util-linux")
    tried = subprocess.run(["unshare", *NAMESPACES, "--fork", "true"], capture_output=True, text=True)
    if tried.returncode != 0:
        fail(f"new namespaces are refused: {tried.stderr.strip()} (in a container: it has to be a privileged one)")
    present = controllers()
    if not NEEDED <= present:
        fail(f"control groups lack {', '.join(sorted(NEEDED - present))} under {CGROUPS}: "
             "mount them, or run on a machine that has them")
    if "overlay" not in Path("/proc/filesystems").read_text() and subprocess.run(
            ["modprobe", "overlay"], capture_output=True).returncode != 0:
        fail("the kernel has no overlay file system, which images are unpacked on")
    for path in (folder, HERE, cache()):
        if any(path.is_relative_to(hidden) for hidden in HIDDEN):
            fail(f"{path} lies under {' or '.join(HIDDEN)}, which the node hides: choose another place")
    make_cgroups(folder)


def controllers():
    if unified():
        return set((CGROUPS / "cgroup.controllers").read_text().split())
    return {controller for place in hierarchies() for controller in place.name.split(",")}


def make_cgroups(folder):
    try:
        if unified():
            wanted = " ".join(f"+{name}" for name in sorted(controllers()))
            (CGROUPS / "cgroup.subtree_control").write_text(wanted)
        for place in hierarchies():
            group = place / cgroup_name(folder)
            group.mkdir(exist_ok=True)
            for file in ("cpuset.cpus", "cpuset.mems"):  # empty at first in version 1, and then nothing can run there
                if not unified() and (group / file).exists() and not (group / file).read_text().strip():
                    (group / file).write_text((place / file).read_text())
    except OSError as error:
        remove_cgroups(folder)
        raise Failed(f"a node cannot start on this machine: no control groups can be made: {error}") from error


def remove_cgroups(folder, seconds=10):
    """The innermost first; they are free once the kernel has let go of what ran there."""
    deadline = time.monotonic() + seconds
    # runc makes one more where both versions are mounted.
    groups = [CGROUPS / cgroup_name(folder), *CGROUPS.glob(f"*/{cgroup_name(folder)}")]
    while left := [group for group in groups if group.exists()]:
        for group in left:
            for path, _, _ in os.walk(group, topdown=False):
                try:
                    os.rmdir(path)
                except OSError as error:
                    last = error
        if time.monotonic() > deadline:
            raise Failed(f"control groups of the node cannot be removed: {last}")
        time.sleep(0.05)


def start(folder):
    """The namespaces, with their PID 1; returns when that has set them up."""
    ready = folder / "machine.ready"
    process = processes.start(folder, NAME, [
        "unshare", *NAMESPACES, "--fork", "--mount-proc", "--kill-child",
        sys.executable, HERE / "init.py", folder])
    processes.wait_until(ready.exists, folder, process, NAME, 60)


def pid(folder):
    """PID 1 of the node, as the host counts; None if no node runs."""
    for name, number in processes.every(folder):
        if name != NAME:
            continue
        status = Path(f"/proc/{number}/status").read_text()
        seen = next((line.split()[1:] for line in status.splitlines() if line.startswith("NSpid:")), [])
        if len(seen) > 1 and seen[-1] == "1":
            return number
    return None


def entering(folder, command):
    """The command line that runs a command on the node, in the present directory."""
    number = pid(folder)
    if number is None:
        raise Failed(f"no node runs in {folder}: tests/node/node.py up")
    return ["nsenter", f"--target={number}", *NAMESPACES, "--", "sh", "-c", 'cd "$0" && exec "$@"', os.getcwd(), *command]


def write_wrappers(folder, names):
    """Programs for env.sh's PATH that run on the node: `on-node COMMAND…`, and some by their own names."""
    bin_folder = folder / "bin"
    bin_folder.mkdir(exist_ok=True)
    driver = " ".join(shlex.quote(str(word)) for word in (sys.executable, HERE / "node.py", "in", "--dir", folder))
    on_node = f"grep -qsz {shlex.quote(f'^{processes.MARK}={folder}#{NAME}$')} /proc/1/environ"
    for name, command in {"on-node": "", **names}.items():
        path, word = bin_folder / name, shlex.quote(str(command)) if command else ""
        path.unlink(missing_ok=True)
        path.write_text(f'#!/bin/sh\nif {on_node}; then exec {word} "$@"; fi\nexec {driver} -- {word} "$@"\n')
        path.chmod(0o755)


def stop(folder):
    processes.stop(folder)
    remove_cgroups(folder)

#!/usr/bin/env python3
"""A real Kubernetes node on this machine, for tests: kubelet, containerd, pods. Needs root.

    node.py check            say what this machine lacks
    node.py tools            install every pinned tool (see node_tools.py)
    node.py up               the node, two S3 servers, people and projects, in DIR; not trevor
    node.py in -- COMMAND…   run a command where the node's addresses and names are reachable
    node.py k ARGUMENT…      kubectl, there
    node.py image FILE.tar   give the node an image (OCI archive)
    node.py down             end it all and remove DIR
"""

import argparse
import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(1, str(HERE.parent / "env"))

import env  # noqa: E402
import machine  # noqa: E402
import node_tools  # noqa: E402
import node_up  # noqa: E402
import outputs  # noqa: E402
import storage  # noqa: E402
from tools import Failed, say  # noqa: E402


def main():
    options = arguments()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        if options.command == "tools":
            for name, path in node_tools.ensure().items():
                print(f"{name}={path}")
        elif options.command == "check":
            machine.check(options.dir)
            if not machine.pid(options.dir):
                machine.remove_cgroups(options.dir)
        elif options.command in ("up", "down"):
            with env.one_at_a_time(options.dir):
                {"up": up, "down": down}[options.command](options)
        elif options.command == "on-node":
            return node_up.main()
        else:
            words = [word for word in options.words if word != "--"] if options.command == "image" else options.words
            run_inside(options, words[1:] if words[:1] == ["--"] else words)
    except Failed as failure:
        say(f"error: {failure}")
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("tools")
    commands.add_parser("on-node")  # the second half of `up`; its order comes on standard input
    for name in ("check", "up", "down", "in", "k", "image"):
        command = commands.add_parser(name)
        command.add_argument("--dir", type=lambda text: Path(text).absolute(), default=env.CHECKOUT / "target/node-env")
        if name in ("in", "k", "image"):
            command.add_argument("words", nargs=argparse.REMAINDER)
    return parser.parse_args()


def up(options):
    began, folder = time.monotonic(), options.dir
    if (state := outputs.read(folder)) and state["shape"] == "node" and machine.pid(folder):
        say(f"already up in {folder}")
        return
    installed = node_tools.ensure()
    clean(folder)
    machine.check(folder)
    folder.mkdir(parents=True)
    folder.chmod(0o700)
    (folder / env.OURS).touch()
    try:
        machine.start(folder)
        order = {"folder": str(folder), "elapsed": time.monotonic() - began,
                 "tools": {name: str(path) for name, path in installed.items()}}
        done = subprocess.run(machine.entering(folder, [sys.executable, str(HERE / "node.py"), "on-node"]),
                              input=json.dumps(order), text=True)
        if done.returncode != 0:
            raise Failed(f"the node does not come up; logs are in {folder}/log")
        programs = {name: installed[name] for name in ("kubectl", "helm")} | {"curl": shutil.which("curl") or "curl"}
        machine.write_wrappers(folder, programs)
    except BaseException:
        stop(folder)  # its logs stay for reading
        raise
    say(f"{time.monotonic() - began:5.1f} s  up: . {folder}/env.sh; `on-node COMMAND` reaches its addresses")


def down(options):
    clean(options.dir)
    say(f"down: {options.dir}")


def stop(folder):
    machine.stop(folder)
    with contextlib.suppress(OSError, ValueError):
        storage.remove_sockets(range(*map(int, (folder / "ports").read_text().split())))


def clean(folder):
    """End what runs for this folder and remove it, whatever state a killed run left it in."""
    stop(folder)
    if not folder.exists():
        return
    if not (folder / env.OURS).exists() and any(folder.iterdir()):
        raise Failed(f"{folder} holds something else than an environment: not touched")
    shutil.rmtree(folder)


def run_inside(options, words):
    state = outputs.read(options.dir)
    if not state:
        raise Failed(f"no node is up in {options.dir}: tests/node/node.py up")
    if options.command == "k":
        words = [state["tools"]["kubectl"], "--kubeconfig", f"{options.dir}/kubeconfig", *words]
    if options.command == "image":
        if len(words) != 1:
            raise Failed("name one OCI archive: node.py image FILE.tar")
        ctr = Path(state["tools"]["containerd"]).with_name("ctr")
        words = [str(ctr), "-n", "k8s.io", "images", "import", "--local", str(Path(words[0]).absolute())]
    command = machine.entering(options.dir, words)
    os.execvp(command[0], command)


if __name__ == "__main__":
    sys.exit(main())

#!/usr/bin/env python3
"""The environments' driver: tools, up, down, restart. Python's standard library alone.

    env.py tools               install every pinned tool (see tools.py)
    env.py up [--no-operator]  a control plane, two S3 servers and trevor, in DIR
    env.py restart             the operator only
    env.py down                end it all and remove DIR
"""

import argparse
import contextlib
import fcntl
import hashlib
import shutil
import signal
import sys
import time
from pathlib import Path

import dialects
import light
import outputs
import processes
import tools
from tools import Failed, say

CHECKOUT = Path(__file__).resolve().parents[2]
OURS = ".trevor-environment"  # a mark in the folder: only what bears it is ever removed
SERVICES = {"etcd", "kube-apiserver", "kube-controller-manager", "s3-quarantine", "s3-release"}


def main():
    options = arguments()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        if options.command == "tools":
            installed = tools.ensure(options.oldest)
            if options.dialects:
                installed |= tools.ensure_dialects()
            for name, path in installed.items():
                print(f"{name}={path}")
        else:
            with one_at_a_time(options.dir):
                {"up": up, "down": down, "restart": restart}[options.command](options)
    except Failed as failure:
        say(f"error: {failure}")
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    for name in ("tools", "up", "down", "restart"):
        command = commands.add_parser(name)
        if name in ("tools", "up"):
            command.add_argument("--oldest", action="store_true", help="the oldest Kubernetes that is supported")
        if name == "tools":
            command.add_argument("--dialects", action="store_true", help="the S3 servers of `make dialects`, too")
            continue
        command.add_argument("--dir", type=lambda text: Path(text).absolute(), default=CHECKOUT / "target/env")
        if name == "up":
            command.add_argument("--no-operator", action="store_true", help="all but trevor controller and gateway")
            command.add_argument("--storage", choices=sorted(dialects.SERVERS), default="seaweedfs", help="another S3 server")
            command.add_argument("--shape", choices=["light"], default="light")
            command.add_argument("--static-admission", action="store_true",
                                 help="an API server that reads policies from DIR/static-admission (1.37 and later)")
    return parser.parse_args()


def up(options):
    installed = tools.ensure(options.oldest)
    if options.storage != "seaweedfs":
        installed |= tools.ensure_dialects()
    folder = options.dir
    if complete(folder, with_operator=not options.no_operator):
        say(f"already up: . {folder}/env.sh (make env-restart takes a new build, make env-down ends it)")
        return
    began = time.monotonic()

    def step(text):
        say(f"{time.monotonic() - began:5.1f} s  {text}")

    for last_try in (False, True):
        clean(folder)
        folder.mkdir(parents=True)
        folder.chmod(0o700)
        (folder / OURS).touch()
        try:
            light.up(folder, installed, not options.no_operator, step, options.static_admission, options.storage)
            break
        except BaseException as failure:
            light.down(folder)  # its logs stay for reading
            if last_try or not port_was_taken(folder) or not isinstance(failure, Failed):
                raise
            say("a port was taken meanwhile: once more with others")
    say(f"{time.monotonic() - began:5.1f} s  up: . {folder}/env.sh")


def restart(options):
    state = outputs.read(options.dir)
    if not state or not SERVICES <= set(processes.running(options.dir)):
        raise Failed(f"nothing is up in {options.dir}: make env-up")
    began = time.monotonic()
    light.restart(options.dir, state, lambda text: say(f"{time.monotonic() - began:5.1f} s  {text}"))


def down(options):
    clean(options.dir)
    say(f"down: {options.dir}")


def complete(folder, with_operator):
    wanted = SERVICES | ({"controller", "gateway"} if with_operator else set())
    return outputs.read(folder) is not None and wanted <= set(processes.running(folder))


def clean(folder):
    """End what runs for this folder and remove it, whatever state a killed run left it in."""
    light.down(folder)
    if not folder.exists():
        return
    if not (folder / OURS).exists() and any(folder.iterdir()):
        raise Failed(f"{folder} holds something else than an environment: not touched")
    shutil.rmtree(folder)


def port_was_taken(folder):
    logs = (folder / "log").glob("*.log")
    return any("address already in use" in log.read_text(errors="replace").lower() for log in logs)


@contextlib.contextmanager
def one_at_a_time(folder):
    """Two runs for one folder take turns. The lock lies in the cache: the folder comes and goes."""
    locks = tools.cache() / "environments"
    locks.mkdir(parents=True, exist_ok=True)
    with open(locks / hashlib.sha256(bytes(folder)).hexdigest()[:16], "w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say(f"another run works on {folder}: waiting for it")
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


if __name__ == "__main__":
    sys.exit(main())

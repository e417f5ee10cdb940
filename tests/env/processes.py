"""Processes that outlive the driver, found again by a mark in their environment.

No pid file can go stale: a process is ours if /proc says that it was started
with our mark, which names the environment's folder. A killed run's leftovers
are found in the same way.
"""

import contextlib
import os
import select
import signal
import subprocess
import time
from pathlib import Path

from tools import Failed

MARK = "TREVOR_ENV_PROCESS"


def start(folder, name, command, environment=None, cwd=None, keep_open=()):
    """Start a process in a session of its own; its output goes to log/<name>.log."""
    log = folder / "log" / f"{name}.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    environment = dict(plain_environment(), **(environment or {}), **{MARK: f"{folder}#{name}"})
    with open(log, "ab") as out:
        return subprocess.Popen([str(word) for word in command], stdin=subprocess.DEVNULL, stdout=out,
                                stderr=subprocess.STDOUT, env=environment, cwd=cwd or folder,
                                start_new_session=True, pass_fds=keep_open)


def plain_environment():
    """What a service needs of ours; nobody's AWS_* or KUBECONFIG slips in."""
    return {name: os.environ[name] for name in ("PATH", "HOME", "LANG", "TZ") if name in os.environ}


def running(folder):
    """The living processes of this environment: name to pid."""
    return dict(every(folder))


def every(folder):
    pids = (int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit())
    return [(name, pid) for pid in pids if (name := mark_of(pid, folder))]


def mark_of(pid, folder):
    """The name under which this environment started the process, or None for a stranger."""
    try:
        variables = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    except OSError:
        return None
    start = f"{MARK}={folder}#".encode()
    return next((word[len(start):].decode() for word in variables if word.startswith(start)), None)


def stop(folder, names=None, patience=0):
    """End our processes (or only those named): asked first if there is patience, then killed."""
    if patience:
        send(signal.SIGTERM, folder, names, patience)
    if left := send(signal.SIGKILL, folder, names, 10):
        raise Failed(f"these processes do not end: {', '.join(left)}")


def send(number, folder, names, seconds):
    """Signal our processes and wait for their end; gives the names of those that stay."""
    handles = {}
    for name, pid in every(folder):
        if names is None or name in names:
            with contextlib.suppress(ProcessLookupError):
                handles[os.pidfd_open(pid)] = (name, pid)
    left, deadline = [], time.monotonic() + seconds
    for handle, (name, pid) in handles.items():
        with contextlib.suppress(ProcessLookupError):
            if mark_of(pid, folder):  # the handle was opened before this look: it cannot come to mean a stranger
                signal.pidfd_send_signal(handle, number)
    for handle, (name, _) in handles.items():
        if not select.select([handle], [], [], max(0, deadline - time.monotonic()))[0]:
            left.append(name)
        os.close(handle)
    return left


def wait_until(ready, folder, process, name, seconds):
    """Wait until `ready()` is true; if the process ends or time runs out, say what its log says."""
    deadline = time.monotonic() + seconds
    while not ready():
        if process.poll() is not None:
            raise Failed(f"{name} ended with {process.returncode}; {tail(folder, name)}")
        if time.monotonic() > deadline:
            raise Failed(f"{name} was not ready after {seconds} s; {tail(folder, name)}")
        time.sleep(0.05)


def tail(folder, name, lines=15):
    log = folder / "log" / f"{name}.log"
    text = log.read_text(errors="replace").splitlines()[-lines:] if log.exists() else []
    return f"the end of {log}:\n" + "\n".join(f"  {line}" for line in text)

"""The operator in the light shape: its configuration, its two processes, people's sessions."""

import json
import os
import subprocess
import time
import urllib.error
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from cluster import OPERATOR_NAMESPACE, PROJECTS
from processes import plain_environment, start, stop, wait_until
from storage import REGION, write_secret
from tools import Failed

CHECKOUT = Path(__file__).resolve().parents[2]
PROCESSES = ("controller", "gateway")
SIGNING_KEY, PUBLIC_KEY = "audit-signing-key.pem", "audit-public-key.pem"
PEOPLE = ("alice", "dave", "bob", "carol", "olga")  # holders of a role in project-a


def binary():
    """TREVOR_BIN, else the newest build of this checkout."""
    if chosen := os.environ.get("TREVOR_BIN"):
        return Path(chosen).absolute()
    target = Path(os.environ.get("CARGO_TARGET_DIR") or CHECKOUT / "target")
    built = [path for path in (target / "release/trevor", target / "debug/trevor") if path.exists()]
    return max(built, key=lambda path: path.stat().st_mtime, default=None)


def needed_binary():
    found = binary()
    if not found or not os.access(found, os.X_OK):
        raise Failed("trevor is not built: `make build`, or name it in TREVOR_BIN")
    return found


def storage_settings(quarantine, release, staging=None):
    def place(bucket, **more):
        return dict({"bucket": bucket.name, "endpoint": bucket.endpoint, "region": REGION, "path_style": True,
                     "encryption": "AES256"}, **more)

    return {
        "quarantine": place(quarantine),
        # What a reader uses has another name than what the operator uses, as in life.
        "release": place(release, public_endpoint=release.endpoint.replace("127.0.0.1", "localhost")),
        "records": None,
        # Outsiders upload by that other name, too.
        "staging": place(staging, public_endpoint=staging.endpoint.replace("127.0.0.1", "localhost")) if staging else None,
        "allow_http": True,
    }


def crate_settings():
    return {"license": "https://creativecommons.org/licenses/by/4.0/",
            "publisher": {"name": "Example Research Environment", "ror": "https://ror.org/03f0f6041",
                          "url": "https://tre.example.org", "email": "airlock@tre.example.org"}}


def jobs_settings():
    """Jobs are made, and their pods; nothing runs them but a test that stands in for a kubelet."""
    return {"images": ["trevor:light"], "backoff_limit": 0}


# Secrets in the operator's namespace, with which packaging Jobs would run.
PACKAGING = {"quarantine": "trevor-packaging-quarantine", "release": "trevor-packaging-release"}


def make_packaging_identity(folder, cluster, buckets):
    """The Secrets of packaging Jobs, and the same in a file as for a process."""
    path, variables = f"/api/v1/namespaces/{OPERATOR_NAMESPACE}/secrets", {}
    for zone, name in PACKAGING.items():
        keys = buckets[zone].keys["packaging"]
        cluster.admin.create(path, {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name}, "stringData": keys})
        variables |= {f"TREVOR_S3_{zone.upper()}_{part.upper()}": value for part, value in keys.items()}
    return variables


def chart_values(storage, gateway_url):
    """What the chart must know to render policies, roles and accounts. By these the operator may make the gateway's
    certificate by itself; here it does so in tests of it alone. Packaging Jobs are let through; whether a controller
    makes some is in its own configuration."""
    return json.dumps({"controller": {"packaging": {"mode": "Job"}}, "workloads": {"packaging": {"credentials": PACKAGING}},
                       "storage": storage, "crate": crate_settings(), "identity": {"mutating_policies": "always"},
                       "gateway": {"url": gateway_url}, "jobs": jobs_settings()}, indent=2)


def configuration(folder, storage, addresses):
    return json.dumps({
        "storage": storage,
        "gateway": {"listen": addresses["gateway"], "metrics_listen": addresses["gateway_metrics"],
                    "url": f"http://{addresses['gateway']}", "tls": {"secret": None, "allow_plaintext": True}},
        "controller": {"listen": addresses["controller"], "url": f"http://{addresses['controller']}",
                       "packaging": {"spool_dir": str(folder / "spool")}},
        "crate": crate_settings(),
        "jobs": jobs_settings(),
        "identity": {"rules": str(folder / "admission-rules.yaml")},
        "audit": {"signing_key_secret": "trevor-audit" if (folder / SIGNING_KEY).exists() else None,
                  "checkpoint_seconds": 2},
        "log": {"format": "json", "level": "info"},
    }, indent=2)


def pod_name(process):
    return f"trevor-{process}-light"


def write_identity(folder, cluster, process):
    """A token as the process's pod would have it, and a kubeconfig that names its file."""
    token = folder / f"{process}.token"
    write_secret(token, cluster.pod_bound_token(f"trevor-{process}", pod_name(process)))
    cluster.kubeconfig(f"{process}.kubeconfig", (process,), OPERATOR_NAMESPACE, token)


def environment(folder, process, buckets):
    """The environment of a process: its kubeconfig, its pod, its keys and nobody else's."""
    keys = {"QUARANTINE": buckets["quarantine"].keys[process],
            "STAGING": buckets["staging"].keys[f"{process}-staging"]}
    if process == "controller":
        keys["RELEASE"] = buckets["release"].keys["controller"]
    variables = {"KUBECONFIG": str(folder / f"{process}.kubeconfig"),
                 "POD_NAME": pod_name(process), "POD_NAMESPACE": OPERATOR_NAMESPACE}
    for bucket, pair in keys.items():
        for part, value in pair.items():
            variables[f"TREVOR_S3_{bucket}_{part.upper()}"] = value
    if process == "controller" and (folder / SIGNING_KEY).exists():
        # A line of an environment file: spaces stand for the line ends.
        variables["TREVOR_AUDIT_SIGNING_KEY"] = " ".join((folder / SIGNING_KEY).read_text().split("\n")).strip()
    return variables


def make_signing_key(folder):
    """The key of the ledger's checkpoints, as an administrator would make it."""
    key, public = folder / SIGNING_KEY, folder / PUBLIC_KEY
    if binary() and not key.exists():
        done = subprocess.run([binary(), "audit", "keygen", "--out", key, "--public", public], capture_output=True, text=True)
        if done.returncode != 0:
            raise Failed(f"`trevor audit keygen` fails: {done.stderr.strip()}")


def read_environment(folder, process):
    return dict(line.split("=", 1) for line in (folder / f"{process}.env").read_text().splitlines())


def start_operator(folder, addresses):
    """Start controller and gateway and wait until both are ready; gives their pids."""
    program = needed_binary()
    (folder / "spool").mkdir(exist_ok=True)
    extra = {"RUST_BACKTRACE": "1", **{name: os.environ[name] for name in ("RUST_LOG",) if name in os.environ}}
    running = {process: start(folder, process, [program, process, "--config", folder / f"{process}.yaml"],
                              {**read_environment(folder, process), **extra}) for process in PROCESSES}
    for process, handle in running.items():
        wait_until(lambda: answers(f"http://{addresses[process]}/readyz"), folder, handle, process, 120)
    return {process: handle.pid for process, handle in running.items()}


def stop_operator(folder):
    stop(folder, PROCESSES, patience=10)


def answers(url):
    try:
        return urllib.request.urlopen(url, timeout=2).status == 200
    except OSError:  # HTTPError is one
        return False


def sessions(folder, gateway_url):
    """A session token for each person with a role, made as they would: `trevor login`."""
    def login(person):
        deadline = time.monotonic() + 15
        while True:
            done = subprocess.run(
                [needed_binary(), "login", "--kubeconfig", folder / "kubeconfig", "--context", person,
                 "--namespace", PROJECTS[0], "--print-token"], capture_output=True, text=True,
                env=dict(plain_environment(), TREVOR_GATEWAY_URL=gateway_url))
            if done.returncode == 0:
                return done.stdout.strip()
            if time.monotonic() > deadline:
                raise Failed(f"`trevor login` as {person} fails: {done.stderr.strip()[-1000:]}")
            time.sleep(0.5)

    with ThreadPoolExecutor() as pool:
        return dict(zip(PEOPLE, pool.map(login, PEOPLE)))

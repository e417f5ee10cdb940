#!/usr/bin/env python3
"""The chart on a real node, from `helm install` to `helm uninstall`. Runs on the node: tests/run.sh e2e.

    e2e.py DIR [STEP…]      DIR is the node's; without steps, all in their order

Each step prints what it saw. The first that fails ends the run, after the pods'
states, events and logs.
"""

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from datetime import datetime
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(1, str(HERE.parent / "env"))

import machine  # noqa: E402
import outputs  # noqa: E402
import packaging  # noqa: E402
import trevor  # noqa: E402
import volumes  # noqa: E402
from cluster import OPERATOR_NAMESPACE, ROLES  # noqa: E402
from requests_by_people import PROJECT, People  # noqa: E402
from tools import Failed  # noqa: E402

CHECKOUT = HERE.parents[1]
CHART = CHECKOUT / "charts/trevor"
RELEASE = "trevor"
TAKE_OVER_SECONDS = 15
SETTLED_SECONDS = 60
HAND_OVER_SECONDS = 2
UPGRADES = 2
UPLOAD_BYTES, UPLOAD_SECONDS = 16 << 20, 8  # less than the 25 s that an upload gets when its pod stops
ENDLESS_SECONDS = 300  # and more than that and an upgrade, on a slow machine too


class Node:
    """kubectl, helm and people's requests against the node that env.json describes."""

    def __init__(self, folder):
        self.folder, self.state = folder, outputs.read(folder)
        os.environ |= self.state["variables"] | {"CURL_CA_BUNDLE": self.state["gateway_ca"]}
        self.people = People(self)

    def run(self, tool, *arguments, check=True):
        done = subprocess.run([self.state["tools"][tool], *map(str, arguments)], capture_output=True, text=True)
        if check and done.returncode != 0:
            raise Failed(f"{tool} {' '.join(map(str, arguments[:3]))}: {done.stderr.strip()[-3000:] or done.stdout[-3000:]}")
        return done.stdout

    def kubectl(self, *arguments, check=True):
        return self.run("kubectl", *arguments, check=check)

    def ours(self, *arguments, check=True):
        return self.kubectl("-n", OPERATOR_NAMESPACE, *arguments, check=check)

    def get(self, *arguments):
        return json.loads(self.kubectl("get", *arguments, "-o", "json"))

    def helm(self, *arguments):
        return self.run("helm", *arguments, "-n", OPERATOR_NAMESPACE, "--kube-context", "admin")

    def upgrade(self, *values):
        """The chart's defaults again, but for storage, the publisher and these values."""
        self.helm("upgrade", RELEASE, CHART, "-f", self.folder / "values.yaml", "--wait", "--timeout", "180s",
                  *(word for value in values for word in ("--set", value)))
        self.in_force()

    def in_force(self):
        """Waits until what is made counts: the leader has proved the admission rules, and they have settled."""
        deadline = time.monotonic() + SETTLED_SECONDS
        while True:
            at = f"/api/v1/namespaces/{OPERATOR_NAMESPACE}/pods/{self.leader()}:8080/proxy"
            numbers, ready = (self.kubectl("get", "--raw", f"{at}/{what}", check=False) for what in ("metrics", "readyz"))
            if "\ntrevor_leader 1\n" in numbers and "\ntrevor_rules_live 1\n" in numbers and ready == "ok":
                return
            if time.monotonic() > deadline:
                raise Failed(f"the admission rules are not in force {SETTLED_SECONDS} s after an upgrade: {ready or numbers[:300]}")
            time.sleep(0.2)

    def image(self):
        """The operator's own image."""
        return self.ours("get", "deployment", "trevor-controller", "-o", "jsonpath={.spec.template.spec.containers[0].image}")

    def leader(self):
        """The pod that holds the Lease."""
        return self.ours("get", "lease", "trevor-controller", "-o", "jsonpath={.spec.holderIdentity}", check=False)

    def pods(self):
        """Our pods that run and are to stay: name to uid."""
        return {pod["metadata"]["name"]: pod["metadata"]["uid"]
                for pod in self.get("-n", OPERATOR_NAMESPACE, "pods", "-l", "app.kubernetes.io/name=trevor")["items"]
                if "deletionTimestamp" not in pod["metadata"] and pod["status"]["phase"] == "Running"}


def saw(text):
    print(f"    {text}", flush=True)


def install(node):
    """The chart's defaults, but for storage and the publisher."""
    began = time.monotonic()
    node.helm("install", RELEASE, CHART, "-f", node.folder / "values.yaml", "--wait", "--timeout", "120s")
    node.in_force()
    saw(f"helm install --wait, and the rules in force: {time.monotonic() - began:.1f} s")
    authority = node.ours("get", "configmap", "trevor-gateway-ca", "-o", r"jsonpath={.data.ca\.crt}")
    Path(node.state["gateway_ca"]).write_text(authority)
    for kind in ("deployments", "poddisruptionbudgets", "networkpolicies"):
        saw(node.ours("get", kind, "-o", "name").replace("\n", "  "))
    for pod in node.get("-n", OPERATOR_NAMESPACE, "pods")["items"]:
        name, image = pod["metadata"]["name"], pod["status"]["containerStatuses"][0]
        saw(f"{name}: ready={image['ready']} restarts={image['restartCount']} {image['image']}")
    for project, role, users in ROLES:
        node.kubectl("create", "rolebinding", role, "-n", project, f"--clusterrole={role}", *(f"--user={user}" for user in users))
    program = trevor.needed_binary()
    tokens = trevor.sessions(node.folder, node.state["variables"]["TREVOR_GATEWAY_URL"])
    node.state |= {"bin": str(program), "tokens": tokens}
    machine.write_wrappers(node.folder, {"trevor": program, "kubectl-airlock": program})
    outputs.write(node.folder, node.state)
    saw(f"sessions at the gateway: {' '.join(tokens)}")


def restricted(node):
    """The pods came up although their namespace is held to Pod Security `restricted` from here on."""
    node.kubectl("label", "namespace", OPERATOR_NAMESPACE, "pod-security.kubernetes.io/enforce=restricted")
    refused = node.ours("run", "refused", "--image=localhost/pause:1", "--dry-run=server", check=False)
    warned = subprocess.run([node.state["tools"]["kubectl"], "label", "--dry-run=server", "--overwrite", "namespace", OPERATOR_NAMESPACE,
                             "pod-security.kubernetes.io/enforce=restricted"], capture_output=True, text=True)
    if refused or "existing pods" in warned.stderr:
        raise Failed(f"Pod Security: {warned.stderr or 'a pod of no restrictions was taken'}")
    saw(f"{len(node.pods())} pods run under Pod Security restricted")


def demo(node):
    """The demo as `make demo` runs it, against the gateway's Service and its TLS."""
    began = time.monotonic()
    log = node.folder / "log/demo.log"
    environment = dict(os.environ, TREVOR_DEMO_ENV=str(node.folder), TREVOR_DEMO_WORK=str(node.folder / "demo"))
    with open(log, "w") as out:
        done = subprocess.run([CHECKOUT / "tests/demo/demo.sh"], stdout=out, stderr=subprocess.STDOUT, env=environment)
    lines = log.read_text().splitlines()
    for line in lines[-8:] if done.returncode == 0 else lines[-40:]:
        saw(line)
    if done.returncode != 0:
        raise Failed(f"the demo failed: {log}")
    saw(f"demo: {time.monotonic() - began:.1f} s")


def upgrade_under_load(node):
    """Requests go from upload to release, one after the other, while every pod is replaced."""
    before, stop, released, errors, uploaded = node.pods(), threading.Event(), [], [], []
    node.people.ask("uploads", direction="Egress")
    node.people.wait("uploads", "jsonpath={.status.phase}=Draft")
    large = node.folder / "large.bin"
    large.write_bytes(os.urandom(UPLOAD_BYTES))
    endless = node.people.slow_upload("uploads", "endless.bin", large, UPLOAD_BYTES // ENDLESS_SECONDS)
    started = time.monotonic()

    def uploads():
        while not stop.is_set():
            path = f"{len(uploaded)}.bin"
            process = node.people.slow_upload("uploads", path, large, UPLOAD_BYTES // UPLOAD_SECONDS)
            said, _ = process.communicate(timeout=120)
            if process.returncode != 0:
                errors.append(f"upload of {path}: {said.strip()[-300:]}")
                return
            uploaded.append(path)

    def load(worker):
        while not stop.is_set():
            name = f"load-{worker}-{len(released)}-{time.monotonic_ns() % 1_000_000}"
            try:
                node.people.release(name)
                released.append(name)
            except Failed as failure:
                errors.append(f"{name}: {failure}")
                return

    workers = [threading.Thread(target=uploads), *(threading.Thread(target=load, args=(number,)) for number in range(2))]
    for worker in workers:
        worker.start()
    began = time.monotonic()
    try:
        for number in range(UPGRADES):
            node.upgrade(*(f"workloads.{part}.podAnnotations.turn=t{number}" for part in ("controller", "gateway")))
    finally:
        seconds, during = time.monotonic() - began, len(released)
        stop.set()
        for worker in workers:
            worker.join()
    stayed = set(before.values()) & set(node.pods().values())
    try:
        said, _ = endless.communicate(timeout=ENDLESS_SECONDS)
    except subprocess.TimeoutExpired as error:
        endless.kill()
        raise Failed("the upload without end was neither taken nor cut off") from error
    cut_off = time.monotonic() - started
    files = {file["path"]: file["size"] for file in json.loads(node.people.gateway("alice", "uploads", "files"))["files"]}
    saw(f"{UPGRADES} rolling upgrades in {seconds:.1f} s, {during} requests released and {len(uploaded)} uploads of {UPLOAD_SECONDS} s "
        f"ended meanwhile, {len(errors)} failed; an upload without end was cut off after {cut_off:.0f} s: {said.strip()[-100:]}")
    for error in errors:
        saw(error)
    if errors or not during or not uploaded or stayed:
        raise Failed(f"upgrade under load: {len(errors)} errors, {during} released, {len(uploaded)} uploaded, {len(stayed)} pods not replaced")
    if files != dict.fromkeys(uploaded, UPLOAD_BYTES) or endless.returncode == 0 or cut_off >= ENDLESS_SECONDS - 10:
        raise Failed(f"upgrade under load: files {files}, uploaded {uploaded}; the endless one: {endless.returncode} after {cut_off:.0f} s")


def leader_stop(node):
    """The pod that leads is told to stop: it gives its Lease up, and another one leads."""
    leader = node.leader()
    began = time.time()
    node.ours("delete", "pod", leader, "--wait=false")
    while (lease := json.loads(node.ours("get", "lease", "trevor-controller", "-o", "json"))["spec"]).get("holderIdentity") in (leader, "", None):
        if time.time() - began > TAKE_OVER_SECONDS:
            raise Failed(f"{lease.get('holderIdentity') or 'nobody'} holds the Lease {TAKE_OVER_SECONDS} s after {leader} was told to stop")
        time.sleep(0.05)
    seconds = datetime.fromisoformat(lease["acquireTime"]).timestamp() - began
    saw(f"{leader} told to stop; {lease['holderIdentity']} leads {seconds:.1f} s after that")
    if seconds > HAND_OVER_SECONDS:
        raise Failed(f"that took {seconds:.1f} s, and at most {HAND_OVER_SECONDS} are allowed")
    node.people.release("after-the-stop")
    node.ours("rollout", "status", "deployment/trevor-controller", "--timeout=60s")


def process_of(pod):
    """The controller of a pod, as the node's own processes see it."""
    for environment in Path("/proc").glob("[0-9]*/environ"):
        with contextlib.suppress(OSError):
            variables = environment.read_bytes().split(b"\0")
            if b"POD_NAME=" + pod.encode() in variables and b"controller" in environment.with_name("cmdline").read_bytes().split(b"\0"):
                return int(environment.parent.name)
    raise Failed(f"no process of {pod} is found")


def leader_kill(node):
    """The process that leads stands still, then is killed, and says nothing of it; another one takes over, and work goes on."""
    leader = node.leader()
    if leader not in node.pods():
        raise Failed(f"the Lease is held by {leader!r}, which is none of our pods")
    # Killed at once, its container would begin anew in the same pod, and lead again.
    process = process_of(leader)
    began = time.monotonic()
    os.kill(process, signal.SIGSTOP)
    while (successor := node.leader()) in (leader, ""):
        if time.monotonic() - began > 2 * TAKE_OVER_SECONDS:
            raise Failed(f"{leader} still holds the Lease after {2 * TAKE_OVER_SECONDS} s")
        time.sleep(0.1)
    seconds = time.monotonic() - began
    os.kill(process, signal.SIGKILL)
    saw(f"{leader} stands still; {successor} leads after {seconds:.1f} s")
    if seconds > TAKE_OVER_SECONDS:
        raise Failed(f"take-over took {seconds:.1f} s, and at most {TAKE_OVER_SECONDS} are allowed")
    node.people.release("after-the-kill")
    saw(f"a request went from draft to release; {time.monotonic() - began:.1f} s after the kill")
    node.ours("rollout", "status", "deployment/trevor-controller", "--timeout=60s")


def rollback(node):
    """An upgrade that lowers the quorum is taken back by `helm rollback`, in status, too."""
    def shown(name, approvals):
        node.people.ask(name, direction="Egress")
        node.people.wait(name, f"jsonpath={{.status.approvals.required}}={approvals}")
        policy = node.kubectl("--context", "alice", "-n", PROJECT, "get", "alr", name, "-o", "jsonpath={.status.policy.name}")
        if policy != "default (configuration)":
            raise Failed(f"{name} is under the policy {policy}")
        node.people.change(name, withdrawn=True)
        saw(f"{name}: {approvals} approvals, by {policy}")

    node.upgrade("default_policy.egress.requiredApprovals=1")
    shown("after-the-upgrade", 1)
    node.helm("rollback", RELEASE, "--wait", "--timeout", "180s")
    node.in_force()
    shown("after-the-rollback", 2)


def helm_test(node):
    """`trevor check`, as the chart's test runs it."""
    out = node.helm("test", RELEASE, "--logs", "--timeout", "120s")
    for line in out.strip().splitlines()[-30:]:
        saw(line)


def uninstall(node):
    """The release goes; requests, records and files stay."""
    def counted():
        kinds = {kind: len(node.get("-A", kind)["items"]) for kind in ("airlockrequests", "releaserecords", "airlockreviews")}
        return kinds | {f"objects in {name}": node.people.objects(name) for name in ("quarantine", "release")}

    before = counted()
    node.helm("uninstall", RELEASE, "--wait", "--timeout", "120s")
    node.ours("wait", "pods", "-l", "app.kubernetes.io/component in (controller, gateway)", "--for=delete", "--timeout=60s")
    left = node.ours("get", "deployments,services,serviceaccounts,configmaps", "-l", "app.kubernetes.io/instance=trevor", "-o", "name")
    definitions = node.kubectl("get", "crds", "-l", "app.kubernetes.io/instance=trevor", "-o", "name").split()
    saw(f"kept: {len(definitions)} definitions")
    after = counted()
    saw(f"kept: {', '.join(f'{count} {kind}' for kind, count in after.items())}")
    lost = [kind for kind in before if after[kind] < before[kind] or not after[kind]]
    if left.strip() or lost or not definitions:
        raise Failed(f"after uninstall: still there: {left.split()}; {len(definitions)} definitions; lost: {lost}, {before} before, {after} after")


STEPS = [install, restricted, demo, *volumes.STEPS, *packaging.STEPS, upgrade_under_load, leader_stop, leader_kill, rollback, helm_test, uninstall]


def explain(node):
    """What the pods say, for whoever looks for the cause."""
    for title, text in (("pods", node.kubectl("get", "pods", "-A", "-o", "wide", check=False)),
                        ("events", node.ours("get", "events", "--sort-by=.lastTimestamp", check=False)[-4000:])):
        print(f"\n--- {title}\n{text}")
    for pod in node.ours("get", "pods", "-o", "name", check=False).split():
        for more in ([], ["--previous"]):
            if log := node.ours("logs", pod, "--tail=25", *more, check=False):
                print(f"\n--- {pod} {' '.join(more)}\n{log}")


def main():
    node, wanted = Node(Path(sys.argv[1]).absolute()), sys.argv[2:]
    if unknown := set(wanted) - {step.__name__ for step in STEPS}:
        sys.exit(f"no such step: {', '.join(unknown)}; there are {', '.join(step.__name__ for step in STEPS)}")
    steps = [step for step in STEPS if not wanted or step.__name__ in wanted]
    began = time.monotonic()
    for step in steps:
        print(f"\n==> {time.monotonic() - began:5.1f} s  {step.__name__.replace('_', ' ')}: {step.__doc__.splitlines()[0]}", flush=True)
        try:
            step(node)
        except Failed as failure:
            print(f"\nFAILED in {step.__name__}: {failure}", flush=True)
            explain(node)
            return 1
    print(f"\n==> {time.monotonic() - began:5.1f} s  all {len(steps)} steps passed")
    return 0


if __name__ == "__main__":
    sys.exit(main())

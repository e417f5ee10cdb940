#!/usr/bin/env python3
"""`make bench-scale`: a cluster with 10,000 idle requests and 1,000 ReleaseRecords.

    tests/run.sh bench-scale                                          all of it; about half an hour
    tests/run.sh bench-scale --released 20 --idle 200 --watch-seconds 20    small, to see that it works

In their order: small requests from Draft to Released, several at once (they leave the
ReleaseRecords); requests that stay drafts; releases one after the other beside them; the operator
started anew beside them; and then nothing at all, while its memory, its time on the processor,
the API server's writes and the buckets' objects are watched.
"""

import argparse
import collections
import http.client
import json
import os
import queue
import ssl
import statistics
import subprocess
import sys
import threading
import time
from pathlib import Path
from urllib.parse import urlsplit

import counting
import people
import s3

CHECKOUT = Path(__file__).resolve().parents[1]
DRIVER = CHECKOUT / "tests/env/env.py"
ENVIRONMENT = CHECKOUT / "target/scale-env"
OUT = CHECKOUT / "target/bench"
PROJECT, KINDS = people.PROJECT, people.KINDS
WRITES = ("POST", "PUT", "PATCH", "APPLY", "DELETE")
MERGE = "application/merge-patch+json"
BEGAN = time.monotonic()


def say(text):
    print(f"{time.monotonic() - BEGAN:7.1f} s  {text}", flush=True)


def driver(command):
    subprocess.run([sys.executable, DRIVER, command, "--dir", ENVIRONMENT], check=True)


class Caller:
    """One connection that stays open, as one user: TLS handshakes would cost more than the calls."""

    def __init__(self, address, token, tls=None):
        place = urlsplit(address)
        self.token = token
        if place.scheme == "https":
            self.connection = http.client.HTTPSConnection(place.netloc, context=tls, timeout=120)
        else:
            self.connection = http.client.HTTPConnection(place.netloc, timeout=120)

    def call(self, method, path, body, kind="application/json"):
        self.connection.request(method, path, body, {"Authorization": f"Bearer {self.token}", "Content-Type": kind})
        answer = self.connection.getresponse()
        text = answer.read()
        if answer.status >= 400:
            raise RuntimeError(f"{method} {path}: {answer.status} {text[:300]!r}")
        return json.loads(text) if text else {}


class Phases(threading.Thread):
    """One watch of all requests: when each was seen in which phase, and its digest."""

    def __init__(self, kube):
        super().__init__(daemon=True)
        self.kube, self.seen, self.news = kube, collections.defaultdict(dict), threading.Condition()
        self.start()

    def run(self):
        try:
            self.look_on()
        except OSError:
            pass  # the environment ended

    def look_on(self):
        version = self.kube.call("GET", f"{KINDS}/airlockrequests?limit=1")["metadata"]["resourceVersion"]
        while True:
            path = f"{KINDS}/airlockrequests?watch=1&resourceVersion={version}&timeoutSeconds=3600"
            for line in self.kube.open("GET", path):
                found = json.loads(line)["object"]
                now, status = time.monotonic(), found.get("status") or {}
                version = found["metadata"]["resourceVersion"]
                with self.news:
                    mine = self.seen[found["metadata"]["name"]]
                    mine.setdefault(status.get("phase"), now)
                    mine["digest"] = (status.get("manifest") or {}).get("digest")
                    mine["approved"] = (status.get("approvals") or {}).get("summary")
                    self.news.notify_all()

    def wait(self, name, reached, what):
        deadline = time.monotonic() + 300
        with self.news:
            while not reached(self.seen[name]):
                if not self.news.wait(deadline - time.monotonic()):
                    raise RuntimeError(f"{name} is not {what}: {dict(self.seen[name])}")
            return self.seen[name]

    def phase(self, name, phase):
        return self.wait(name, lambda seen: phase in seen, phase)[phase]


class People:
    """alice, bob and carol of one worker."""

    def __init__(self, state, phases):
        self.phases = phases
        def kube(user):
            found = people.Kube(ENVIRONMENT, user)
            return Caller(f"https://{found.host}", found.token, found.tls)
        self.alice, self.bob, self.carol = kube("alice"), kube("bob"), kube("carol")
        self.gateway = Caller(state["variables"]["TREVOR_GATEWAY_URL"], state["tokens"]["alice"])

    def draft(self, name):
        self.alice.call("POST", f"{KINDS}/airlockrequests", json.dumps({
            "apiVersion": people.GROUP, "kind": "AirlockRequest", "metadata": {"name": name},
            "spec": {"direction": "Egress", "title": f"Scale {name}", "submission": 0}}))
        self.phases.phase(name, "Draft")

    def approve(self, by, name):
        by.call("POST", f"{KINDS}/airlockreviews", json.dumps({
            "apiVersion": people.GROUP, "kind": "AirlockReview", "metadata": {"generateName": f"{name}-"},
            "spec": {"requestName": name, "manifestDigest": self.phases.seen[name]["digest"], "decision": "Approve"}}))

    def release(self, name):
        """From nothing to Released; gives the seconds since the last approval."""
        self.draft(name)
        self.gateway.call("PUT", f"/v1alpha1/namespaces/{PROJECT}/airlockrequests/{name}/files/table.csv",
                          f"request,n\n{name},1\n".encode() * 64, "text/csv")
        self.alice.call("PATCH", f"{KINDS}/airlockrequests/{name}", json.dumps({"spec": {"submission": 1}}), MERGE)
        self.phases.phase(name, "InReview")
        self.approve(self.bob, name)
        self.phases.wait(name, lambda seen: seen.get("approved") == "1/2", "approved by one")
        began = time.monotonic()
        self.approve(self.carol, name)
        return self.phases.phase(name, "Released") - began


def at_once(workers, names, make, act):
    """Acts on every name, several at once; gives what came of each, and the seconds of all."""
    todo, done, failed = queue.SimpleQueue(), [], []
    for name in names:
        todo.put(name)

    def work():
        mine = make()
        try:
            while not failed:
                done.append(act(mine, todo.get_nowait()))
        except queue.Empty:
            pass
        except Exception as error:  # noqa: BLE001: told by the main thread
            failed.append(error)

    threads = [threading.Thread(target=work) for _ in range(workers)]
    began = time.monotonic()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failed:
        raise failed[0]
    return done, time.monotonic() - began


def processor_seconds(pid):
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def resident_mib(pid):
    line = next(line for line in Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith("VmRSS"))
    return int(line.split()[1]) / 1024


def children_seconds(folder):
    """Seconds on the processor so far, by process of the environment."""
    found = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                mark = next((v for v in (entry / "environ").read_bytes().split(b"\0") if v.startswith(b"TREVOR_ENV_PROCESS=")), b"")
                place, _, name = mark.decode().partition("=")[2].partition("#")
                if place == str(folder):
                    found[name] = found.get(name, 0) + processor_seconds(entry.name)
            except OSError:
                continue
    return found


def quiet(state, seconds):
    """What happens while nobody does anything."""
    admin, buckets = people.Kube(ENVIRONMENT, "admin"), {n: s3.S3(state["buckets"][n]) for n in ("quarantine", "release")}
    objects = lambda: {name: {found["key"] for found in bucket.list("")} for name, bucket in buckets.items()}  # noqa: E731
    pids, before = state["pids"], objects()
    api, began = counting.api_requests(admin.text("/metrics")), time.monotonic()
    spent = {name: processor_seconds(pids[name]) for name in ("controller", "gateway")}
    time.sleep(seconds)
    spent = {name: processor_seconds(pids[name]) - spent[name] for name in spent}
    took = time.monotonic() - began
    calls = counting.api_requests(admin.text("/metrics")) - api
    after = objects()
    return {
        "seconds": took,
        "rss_mib": {name: resident_mib(pids[name]) for name in spent},
        "percent_of_a_core": {name: 100 * used / took for name, used in spent.items()},
        "api_writes": {f"{verb} {resource}": int(count) for (verb, resource), count in sorted(calls.items())
                       if verb in WRITES and count > 0},
        "new_objects": {name: sorted(after[name] - before[name]) for name in buckets},
    }


def main():
    options = arguments()
    OUT.mkdir(parents=True, exist_ok=True)
    try:
        driver("down")
        driver("up")
        result = measure(options)
    finally:
        driver("down")
    (OUT / "scale.json").write_text(json.dumps(result, indent=2))
    print(json.dumps(result, indent=2))


def measure(options):
    state = json.loads((ENVIRONMENT / "env.json").read_text())
    admin = people.Kube(ENVIRONMENT, "admin")
    admin.call("POST", f"/apis/{people.GROUP}/airlockpolicies", {
        "apiVersion": people.GROUP, "kind": "AirlockPolicy", "metadata": {"name": "scale"},
        "spec": {"namespaces": [PROJECT], "egress": {"maxOpenRequests": 100_000}}})
    phases = Phases(people.Kube(ENVIRONMENT, "alice"))
    result = {"processors": os.cpu_count()}

    say(f"{options.released} small requests from Draft to Released, {options.workers} at once")
    before = children_seconds(ENVIRONMENT)
    ours = time.process_time()
    _, seconds = at_once(options.workers, [f"done-{n}" for n in range(options.released)],
                         lambda: People(state, phases), People.release)
    spent = children_seconds(ENVIRONMENT)
    result["released_per_minute"] = 60 * options.released / seconds
    result["processor_milliseconds_a_release"] = {
        **{name: 1000 * (spent[name] - before.get(name, 0)) / options.released for name in sorted(spent)},
        "this bench": 1000 * (time.process_time() - ours) / options.released}
    say(f"  {result['released_per_minute']:.0f} a minute")

    say(f"{options.idle} requests that stay drafts")
    _, seconds = at_once(options.workers, [f"idle-{n}" for n in range(options.idle)], lambda: People(state, phases), People.draft)
    say(f"  {options.idle / seconds:.0f} a second")

    say(f"{options.measured} releases beside them, one after the other")
    took, _ = at_once(1, [f"beside-{n}" for n in range(options.measured)], lambda: People(state, phases), People.release)
    result["approved_to_released_seconds"] = {
        "p50": statistics.median(took), "p99": sorted(took)[min(len(took) - 1, len(took) * 99 // 100)], "most": max(took)}
    say(f"  {result['approved_to_released_seconds']}")

    say("the operator is started anew")
    began = time.monotonic()
    driver("restart")
    result["restart_seconds"] = time.monotonic() - began
    state = json.loads((ENVIRONMENT / "env.json").read_text())
    say(f"  both processes are ready again {result['restart_seconds']:.1f} s after they were told to stop")
    # Everything is looked at once, and what is closed is compared with the bucket.
    time.sleep(options.settle_seconds)
    result["processor_seconds_after_the_start"] = {
        name: processor_seconds(state["pids"][name]) for name in ("controller", "gateway")}

    say(f"nothing, for {options.watch_seconds} s")
    result["idle"] = quiet(state, options.watch_seconds)
    return result


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--released", type=int, default=1000, help="requests that are released first (default 1,000)")
    parser.add_argument("--idle", type=int, default=10_000, help="requests that stay drafts (default 10,000)")
    parser.add_argument("--measured", type=int, default=100, help="releases beside them (default 100)")
    parser.add_argument("--workers", type=int, default=8, help="people at once (default 8)")
    parser.add_argument("--settle-seconds", type=int, default=300, help="before nothing is watched (default 300)")
    parser.add_argument("--watch-seconds", type=int, default=600, help="how long nothing is watched (default 600)")
    return parser.parse_args()


if __name__ == "__main__":
    main()

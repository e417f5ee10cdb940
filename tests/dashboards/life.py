"""Ten minutes in a research environment: what its people do while the dashboards look on.

Requests come in waves. Most are released; some are returned and submitted again, rejected, withdrawn,
revoked, held, left in review for too long, or stay drafts. Every draw is from a seed.
"""

import http.client
import json
import random
import sys
import threading
import time
from pathlib import Path
from urllib.parse import urlsplit

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "benches"))
from people import GROUP, KINDS, PROJECT, Kube  # noqa: E402

# How many of each there are in ten minutes.
PLAN = {"release": 26, "changes": 7, "reject": 7, "revoke": 4, "withdraw": 3, "linger": 5, "hold": 2, "draft": 4}
KIB = 1024


class Requests(threading.Thread):
    """One watch of all requests: the last status of each."""

    def __init__(self, kube):
        super().__init__(daemon=True)
        self.kube, self.found, self.news = kube, {}, threading.Condition()
        self.start()

    def run(self):
        try:
            for line in self.kube.open("GET", f"{KINDS}/airlockrequests?watch=1&timeoutSeconds=3600"):
                found = json.loads(line)["object"]
                with self.news:
                    self.found[found["metadata"]["name"]] = found
                    self.news.notify_all()
        except (OSError, http.client.HTTPException):
            pass  # the environment ended

    def wait(self, name, reached, seconds=300):
        deadline = time.monotonic() + seconds
        with self.news:
            while not reached((self.found.get(name) or {}).get("status") or {}):
                if not self.news.wait(max(0, deadline - time.monotonic())) and time.monotonic() > deadline:
                    raise TimeoutError(f"{name}: {(self.found.get(name) or {}).get('status')}")
            return self.found[name]

    def phase(self, name, phase):
        return self.wait(name, lambda status: status.get("phase") == phase)


class Life(threading.Thread):
    """One request, from its draft to its end."""

    def __init__(self, state, people, requests, kind, number, seed):
        super().__init__(daemon=True)
        self.kind, self.dice = kind, random.Random(seed)
        self.state, self.people, self.requests = state, people, requests
        self.submitter = self.dice.choice(["alice", "dave"])
        self.name = f"{kind}-{number}"
        self.path = f"{KINDS}/airlockrequests/{self.name}"
        self.failure = None

    def run(self):
        try:
            getattr(self, self.kind)()
        except Exception as failure:  # noqa: BLE001: told at the end
            self.failure = failure

    # --- what people do

    def pause(self, least, most):
        time.sleep(self.dice.uniform(least, most))

    def make(self):
        made = self.people[self.submitter].call("POST", f"{KINDS}/airlockrequests", {
            "apiVersion": GROUP, "kind": "AirlockRequest", "metadata": {"name": self.name},
            "spec": {"direction": "Egress", "title": f"Results of {self.name}", "description": "made up", "submission": 0,
                     "files": [{"path": "data/", "description": "made up", "justification": "a picture",
                                "suppressionNotes": "nothing is true", "outputType": "Data"}]}})
        self.uid = made["metadata"]["uid"]
        self.requests.phase(self.name, "Draft")

    def gateway(self, person, method, what, body=None, seconds=0.0):
        """One call, its body sent in the given time; gives the status."""
        place = urlsplit(self.state["variables"]["TREVOR_GATEWAY_URL"])
        connection = http.client.HTTPConnection(place.netloc, timeout=120)
        connection.putrequest(method, f"/v1alpha1/namespaces/{PROJECT}/airlockrequests/{self.name}/{what}")
        connection.putheader("Authorization", f"Bearer {self.state['tokens'][person]}")
        connection.putheader("Content-Length", str(len(body or b"")))
        connection.endheaders()
        piece = 64 * KIB
        for start in range(0, len(body or b""), piece):
            connection.send(body[start:start + piece])
            time.sleep(seconds * piece / len(body))
        answer = connection.getresponse()
        answer.read()
        connection.close()
        return answer.status

    def until_taken(self, *call, **options):
        """As people do when a server is away: once more, a little later."""
        for _ in range(40):
            try:
                if self.gateway(*call, **options) < 300:
                    return
            except OSError:
                pass
            self.pause(2, 4)
        raise TimeoutError(f"{self.name}: {call[:3]} is not taken")

    def upload(self):
        for file in range(self.dice.randint(1, 3)):
            size = int(self.dice.uniform(200, 3000)) * KIB
            seconds = self.dice.choice([0.2, 1, 5, 15, 25])
            self.until_taken(self.submitter, "PUT", f"files/data/table-{file}.csv", bytes(size), seconds=seconds)
            self.pause(0, 3)

    def submit(self, submission=1):
        before = (self.requests.found[self.name].get("status") or {}).get("manifest")
        self.people[self.submitter].call("PATCH", self.path, {"spec": {"submission": submission}}, "application/merge-patch+json")
        found = self.requests.wait(self.name, lambda status: status.get("phase") == "InReview" and status.get("manifest") != before)
        self.digest = found["status"]["manifest"]["digest"]
        if self.dice.random() < 0.3:  # too late, and not theirs to read: both are refused
            self.gateway(self.submitter, "PUT", "files/data/late.csv", b"late")
            self.gateway(self.submitter, "GET", "content/data/table-0.csv")

    def review(self, reviewer, decision):
        self.until_taken(reviewer, "GET", "content/data/table-0.csv")
        self.pause(1, 8)
        self.people[reviewer].call("POST", f"{KINDS}/airlockreviews", {
            "apiVersion": GROUP, "kind": "AirlockReview", "metadata": {"generateName": f"{self.name}-"},
            "spec": {"requestName": self.name, "manifestDigest": self.digest, "decision": decision, "comment": "seen"}})

    def approve(self):
        self.review("bob", "Approve")
        self.pause(2, 15)
        self.review("carol", "Approve")
        self.requests.phase(self.name, "Released")

    def act(self, person, role, action):
        self.people[person].call("POST", f"{KINDS}/airlockactions", {
            "apiVersion": GROUP, "kind": "AirlockAction", "metadata": {"generateName": f"{self.name}-"},
            "spec": {"target": {"kind": "AirlockRequest", "name": self.name, "uid": self.uid}, "as": role, "action": action,
                     "reason": "a picture"}})

    # --- what becomes of a request

    def draft(self):
        self.make()
        self.upload()

    def in_review(self):
        self.draft()
        self.pause(1, 8)
        self.submit()
        self.pause(2, 20)

    def release(self):
        self.in_review()
        self.approve()

    def changes(self):
        self.in_review()
        self.review("bob", "RequestChanges")
        self.requests.phase(self.name, "ChangesRequested")
        self.pause(10, 30)
        self.until_taken(self.submitter, "PUT", "files/data/table-0.csv", bytes(300 * KIB), seconds=2)
        self.submit(2)
        self.approve()

    def reject(self):
        self.in_review()
        self.review("carol", "Reject")
        self.requests.phase(self.name, "Rejected")

    def withdraw(self):
        self.draft()
        self.pause(10, 30)
        self.people[self.submitter].call("DELETE", self.path)

    def linger(self):
        """Nobody has time for it, for longer than the policy allows."""
        self.in_review()
        self.pause(110, 180)
        self.approve()

    def revoke(self):
        self.release()
        self.pause(5, 15)
        self.act("bob", "Checker", "Revoke")
        self.requests.phase(self.name, "Revoked")

    def hold(self):
        """Kept beyond its time, as a complaint is looked into."""
        self.release()
        self.act("olga", "HoldOfficer", "Hold")
        self.pause(150, 200)
        self.act("olga", "HoldOfficer", "LiftHold")


def schedule(seconds, seed):
    """When each begins: (second, kind, number), more of them in two waves."""
    dice, lives = random.Random(seed), []
    for kind, count in PLAN.items():
        for number in range(max(1, round(count * seconds / 600))):
            middle, width = dice.choice([(0.25, 0.12), (0.6, 0.15), (0.45, 0.3)])
            share = min(max(dice.gauss(middle, width), 0.01), 0.85)
            if kind in ("linger", "hold"):
                share *= 0.45  # what takes long begins early
            lives.append((share * seconds, kind, number))
    return sorted(lives)


def live(folder, state, seconds, say, seed=7):
    """All of it; gives the failures, in words."""
    people = {person: Kube(folder, person) for person in ("alice", "dave", "bob", "carol", "olga")}
    requests, lives, began = Requests(people["bob"]), [], time.monotonic()
    for second, kind, number in schedule(seconds, seed):
        time.sleep(max(0, began + second - time.monotonic()))
        lives.append(Life(state, people, requests, kind, number, seed * 1000 + len(lives)))
        lives[-1].start()
    say(f"{len(lives)} requests were begun")
    while time.monotonic() < began + seconds:
        time.sleep(0.5)
    counts = {}
    for found in requests.found.values():
        phase = (found.get("status") or {}).get("phase")
        counts[phase] = counts.get(phase, 0) + 1
    say(f"they stand in {counts}")
    return [f"{life.name}: {life.failure!r}" for life in lives if life.failure]

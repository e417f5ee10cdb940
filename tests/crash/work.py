"""What people do with one request, by their own tools: kubectl and curl, who try again when a server is away."""

import asyncio
import hashlib
import json
import random
import secrets
import time
import urllib.parse

import wire
from cluster_api import GROUP, Refusal

PATIENCE = 100  # seconds for anything; a plan that takes longer has failed


EARLY = ("Draft", "Submitted")


class Late(Exception):
    """Something did not come about in time."""


class Work:
    """One request of one plan, in a lane."""

    def __init__(self, lane, workload, name=None):
        self.lane, self.workload, self.namespace = lane, workload, lane.namespace
        self.name = name or f"{workload[:12]}-{secrets.token_hex(3)}"
        self.uid, self.uids, self.sent, self.count = None, [], {}, 0
        self.may_fail = False  # where what is read may be wrong, so that a person must act
        self.words = [self.name]  # by which a call is known to be about it
        self.requests = f"{GROUP}/namespaces/{self.namespace}/airlockrequests"

    # --- requests ---

    async def creates(self, who="alice", **spec):
        body = {"apiVersion": "airlock.karectl.io/v1alpha1", "kind": "AirlockRequest", "metadata": {"name": self.name},
                "spec": {"direction": "Egress", "title": "Crash", **spec}}
        made = await self.lane.api[who].ask("POST", self.requests, body)
        self.uid = made["metadata"]["uid"]
        self.uids.append(self.uid)
        self.words.append(self.uid)
        return self

    def current(self):
        found = self.lane.requests.objects.get(self.name)
        return found if found and found["metadata"]["uid"] == self.uid else None

    async def until(self, what, wanted, seconds=PATIENCE):
        def there(item):
            ours = item if item and item["metadata"]["uid"] == self.uid else None
            return wanted(ours)
        try:
            return await self.lane.requests.until(self.name, there, seconds)
        except asyncio.TimeoutError:
            status = (self.current() or {}).get("status", "gone")
            raise Late(f"{self.name} is not {what} after {seconds} s: {short(status)}") from None

    async def shows(self, phase):
        """The phase alone: what follows from it may still be under way."""
        return await self.until(phase, lambda item: (item or {}).get("status", {}).get("phase") == phase)

    async def reaches(self, phase, round_=None):
        def there(item):
            status = (item or {}).get("status", {})
            if self.may_fail and status.get("phase") in ("Failed", "ChangesRequested"):
                return True
            ready = any(c["type"] == "Ready" and c["status"] == "True" for c in status.get("conditions", []))
            # Not only shown: what is to follow has been done, too, so that people always act at the same point.
            return status.get("phase") == phase and round_ in (None, status.get("round")) and (ready or phase in EARLY)
        return await self.until(phase, there)

    async def is_gone(self):
        await self.until("gone", lambda item: item is None)

    async def edits(self, who="alice", **spec):
        await self.lane.api[who].merge(f"{self.requests}/{self.name}", {"spec": spec})

    async def submits(self, number=1):
        await self.edits(submission=number)

    async def deletes(self, who="alice"):
        await self.lane.api[who].ask("DELETE", f"{self.requests}/{self.name}")

    def digest(self):
        return self.current()["status"]["manifest"]["digest"]

    async def reviews(self, who, decision="Approve", digest=None):
        """A review with a name that follows from the story, so that runs can be compared."""
        self.count += 1
        body = {"apiVersion": "airlock.karectl.io/v1alpha1", "kind": "AirlockReview",
                "metadata": {"name": f"{self.name}-{who}-{self.count}"},
                "spec": {"requestName": self.name, "manifestDigest": digest or self.digest(), "decision": decision}}
        await self.lane.api[who].ask("POST", f"{GROUP}/namespaces/{self.namespace}/airlockreviews", body)
        return body["metadata"]["name"]

    async def acts(self, who, as_, action, target="AirlockRequest", reason="as the story goes", **more):
        self.count += 1
        if target == "AirlockRequest":
            aim = {"kind": target, "name": self.name, "uid": self.uid}
        else:
            record = self.record()
            aim = {"kind": target, "name": record["metadata"]["name"], "uid": record["metadata"]["uid"]}
        body = {"apiVersion": "airlock.karectl.io/v1alpha1", "kind": "AirlockAction",
                "metadata": {"name": f"{self.name}-{action.lower()}-{self.count}"},
                "spec": {"target": aim, "as": as_, "action": action, "reason": reason, **more}}
        await self.lane.api[who].ask("POST", f"{GROUP}/namespaces/{self.namespace}/airlockactions", body)
        return body["metadata"]["name"]

    async def action_is(self, name, *states):
        def there(item):
            return (item or {}).get("status", {}).get("state") in states
        try:
            return await self.lane.actions.until(name, there, PATIENCE)
        except asyncio.TimeoutError:
            raise Late(f"{name} is not {states}: {short(self.lane.actions.objects.get(name, {}).get('status'))}") from None

    def record(self):
        return next(r for r in self.lane.records.objects.values() if r["spec"]["requestRef"]["uid"] == self.uid)

    async def review_is(self, name, state):
        def there(item):
            return (item or {}).get("status", {}).get("state") == state
        try:
            return await self.lane.reviews.until(name, there, PATIENCE)
        except asyncio.TimeoutError:
            raise Late(f"{name} is not {state}: {short(self.lane.reviews.objects.get(name, {}).get('status'))}") from None

    async def desk_is_told(self):
        """The release's message has been delivered, and that is recorded: what revokes it now supersedes no message."""
        def there(record):
            deliveries = (record or {}).get("status", {}).get("deliveries", [])
            return any(d["id"].endswith("-released") and d["channel"] == "desk" and d["state"] == "Delivered" for d in deliveries)
        name = self.record()["metadata"]["name"]
        try:
            return await self.lane.records.until(name, there, PATIENCE)
        except asyncio.TimeoutError:
            raise Late(f"the desk is not told of {name}: {short(self.record().get('status'))}") from None

    # --- the gateway ---

    async def gateway(self, who, method, rest, body=b"", wanted=(200, 201, 204), conflict=False):
        """A call, again and again while the gateway is away or asks for patience, as `curl --retry-all-errors`."""
        host, _, port = self.lane.listens["gateway"].partition(":")
        target = f"/v1alpha1/namespaces/{self.namespace}/airlockrequests/{self.name}/{rest}"
        deadline, last = time.monotonic() + PATIENCE, None
        while time.monotonic() < deadline:
            client = wire.Client(host, int(port))
            headers = [("Authorization", f"Bearer {self.lane.tokens[who]}")]
            if len(body) > 1 << 20:
                headers.append(("Expect", "100-continue"))
            try:
                answer = await client.call(method, target, headers, body)
                if answer.status in wanted:
                    return answer
                last = f"{answer.status} {answer.body[:200]!r}"
                if answer.status == 401:  # made before the operator's first epoch: a person logs in again
                    await asyncio.sleep(1)
                    self.lane.tokens[who] = await self.lane.new_session(who)
                if answer.status in (400, 403, 404, 409, 411, 413, 415, 422) and "NotYet" not in last:
                    # 404 and 403 pass while a new object or role is not yet seen.
                    if answer.status not in (403, 404, 409) or time.monotonic() > deadline - PATIENCE + 10:
                        raise Late(f"{method} {rest}: {last}")
            except wire.Broken as error:
                last = str(error)
            await asyncio.sleep(0.1)
        raise Late(f"{method} {rest}: {last}")

    async def uploads(self, path, content, who="alice"):
        self.sent[path] = hashlib.sha256(content).hexdigest()
        await self.gateway(who, "PUT", f"files/{urllib.parse.quote(path)}", content)

    async def reads(self, who, path):
        return (await self.gateway(who, "GET", f"content/{urllib.parse.quote(path)}")).body

    # --- from outside, and volumes ---

    async def sends(self, files):
        """What somebody outside does with a plan: one PUT for each part."""
        plan = json.loads((await self.gateway("alice", "GET", "plan")).body)
        for file in plan["files"]:
            content = files[file["path"]]
            self.sent[file["path"]] = hashlib.sha256(content).hexdigest()
            for part in file["parts"]:
                where = urllib.parse.urlsplit(part["url"])
                client = wire.Client(where.hostname, where.port)
                body = content[part["offset"]:part["offset"] + part["size"]]
                headers = [(name, value) for name, value in part["headers"].items() if name.lower() not in ("host", "content-length")]
                answer = await client.call(part["method"], f"{where.path}?{where.query}", headers, body)
                if answer.status != 200:
                    raise Late(f"a signed PUT of {file['path']}: {answer.status} {answer.body[:200]!r}")

    async def claim(self, verb):
        """A claim that alice may read from or write into, and a folder that stands for it."""
        name, admin = f"claim-{self.name}", self.lane.api["admin"]
        below = f"/apis/rbac.authorization.k8s.io/v1/namespaces/{self.namespace}"
        await admin.ask("POST", f"{below}/roles", {"metadata": {"name": name}, "rules": [
            {"apiGroups": [""], "resources": ["persistentvolumeclaims"], "resourceNames": [name], "verbs": [verb]}]})
        await admin.ask("POST", f"{below}/rolebindings", {
            "metadata": {"name": name}, "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": name},
            "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": "alice"}]})
        folder = self.lane.folder / name
        folder.mkdir()
        self.lane.kubelets[0].claims[name] = folder
        for _ in range(100):
            answer = await admin.ask("POST", "/apis/authorization.k8s.io/v1/subjectaccessreviews", {"spec": {
                "user": "alice", "resourceAttributes": {"namespace": self.namespace, "resource": "persistentvolumeclaims",
                                                        "name": name, "verb": verb}}})
            if answer["status"]["allowed"]:
                break
            await asyncio.sleep(0.05)
        return name, folder

    # --- what lies in the buckets ---

    async def look(self, what, see, seconds=PATIENCE):
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            if found := await see():
                return found
            await asyncio.sleep(0.2)
        raise Late(f"{what} is not there after {seconds} s")

    async def objects_are(self, zone, key):
        return await self.look(key, lambda: self.lane.buckets[zone].get(key))

    async def files_left(self):
        return await self.lane.buckets["quarantine"].keys_below(f"requests/{self.namespace}/{self.uid}/files/")

    async def still_there_after(self, seconds):
        began = len(await self.files_left())
        await asyncio.sleep(seconds)
        if not began or len(await self.files_left()) != began:
            raise AssertionError("files went in spite of a hold")

    async def checkpoint_has_it(self):
        """A checkpoint names the head of this request's chain as it is, and its signed note lies beside it."""
        bucket = self.lane.buckets["quarantine"]

        async def see():
            chain = sorted(await bucket.keys_below(f"audit/requests/{self.namespace}/{self.uid}/"))
            head = hashlib.sha256(await bucket.get(chain[-1])).hexdigest()
            for key in sorted(await bucket.keys_below("audit/checkpoints/"), reverse=True):
                if key.endswith(".json") and head.encode() in await bucket.get(key):
                    return await bucket.get(key.replace(".json", ".note"))
        await self.look("a checkpoint", see)

    async def namespace_is_gone(self):
        async def see():
            return await self.lane.api["admin"].find(f"/api/v1/namespaces/{self.namespace}") is None
        await self.look("the end of the namespace", see)

    # --- common beginnings ---

    async def in_review(self, files=None, **spec):
        await self.creates(**spec)
        await self.reaches("Draft")
        for path, content in (files or {"tables/t1.csv": b"a,b\n1,2\n" * 40, "notes.txt": b"as text\n"}).items():
            await self.uploads(path, content)
        await self.submits(1)
        await self.reaches("InReview")
        return self

    async def approved_once(self, **more):
        await self.in_review(**more)
        name = await self.reviews("bob")
        await self.until("1/2", lambda item: (item or {}).get("status", {}).get("approvals", {}).get("summary") == "1/2")
        return name

    async def released(self, **more):
        await self.approved_once(**more)
        await self.reviews("carol")
        await self.reaches("Released")
        return self

    async def released_again(self):
        """The second round, from its submission."""
        await self.submits(2)
        await self.reaches("InReview", 2)
        await self.reviews("bob")
        await self.reviews("carol")
        await self.reaches("Released", 2)


def noise(size, seed):
    """Bytes that no compressor makes smaller, the same for the same seed."""
    return random.Random(seed).randbytes(size)


def short(value, length=600):
    text = str(value)
    return text if len(text) <= length else text[:length] + "…"

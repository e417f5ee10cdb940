"""Watches that lag. What forbids is accepted by the API server before what decides is even asked for, and the
controller's watch of it is held, or dropped and answered 410 later. What forbids must win.

A schedule is a line of text: watch/<hold|drop>/<decides>/<forbids>/<pause>/<one|all>
where the pause is between the two, in milliseconds, and `all` holds every kind of ours and not only the one that forbids.
"""

import asyncio
import hashlib
import json
import random
import time
from dataclasses import dataclass

import faults
from cluster_api import GROUP
from execute import begin, end
from work import Late

KINDS = {"reviews": "airlockreviews", "requests": "airlockrequests", "actions": "airlockactions", "policies": "airlockpolicies"}
GONE = json.dumps({"type": "ERROR", "object": {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
                                               "message": "too old resource version", "reason": "Expired", "code": 410}}).encode()


class Lagging:
    """Between the API server and a watcher: kinds that are held pass nothing on."""

    def __init__(self):
        self.mode, self.kinds, self.open = None, set(), asyncio.Event()
        self.open.set()
        self.held = 0

    def hold(self, mode, kinds):
        self.mode, self.kinds, self.held = mode, set(kinds), 0
        self.open.clear()

    def let_go(self):
        self.open.set()

    async def begins(self, call):
        return None

    async def passes(self, call, line):
        kind = call.path.rpartition("/")[2]
        if self.open.is_set() or kind not in self.kinds:
            return line
        self.held += 1
        mode = self.mode
        await self.open.wait()
        return GONE if mode == "drop" else line


# --- what decides ---

async def last_approval(w):
    await w.reviews("carol", digest=w.was)


async def at_the_outcome(w):
    """The decision has been made: the package is held back on its way until what forbids was said."""
    await w.lane.package_let_go()


async def renewal(w):
    await w.acts("alice", "Submitter", "Renew", revokeOld=True)


async def submission(w):
    """The last file has come; what asks for the freeze is an upload, of which the gateway gives a hint."""
    answer = await w.gateway("alice", "PUT", "files/tables/t2.csv", b"late\n", wanted=(201, 404, 409))  # it may know better
    if answer.status == 201:
        w.sent["tables/t2.csv"] = hashlib.sha256(b"late\n").hexdigest()


# --- what forbids ---

async def reject(w):
    await w.reviews("bob", "Reject", digest=w.was)


async def request_changes(w):
    await w.reviews("bob", "RequestChanges", digest=w.was)


async def withdraw(w):
    await w.edits(withdrawn=True)


async def delete(w):
    await w.deletes()


async def recall(w):
    await w.acts("alice", "Submitter", "Recall")


async def three_approvals(w):
    await set_policy(w, {"requiredApprovals": 3})


async def listed_reviewers(w):
    await set_policy(w, {"reviewers": {"type": "Listed", "users": ["bob", "olga"]}})


async def revoke(w):
    await w.acts("bob", "Checker", "Revoke")


async def late_reject(w):
    await w.reviews("carol", "Reject", digest=w.was)


async def delete_and_remake(w):
    """Deleted, and another request of the same name is there at once, in the state in which the first one was not."""
    await w.deletes()


async def set_policy(w, egress):
    await w.lane.api["admin"].merge(f"{GROUP}/airlockpolicies/{w.namespace}", {"spec": {"egress": egress}})


@dataclass
class Forbids:
    act: object
    kind: str
    ends: str  # the phase that must stand at the end


BEFORE = {
    "reject": Forbids(reject, "reviews", "Rejected"),
    "request-changes": Forbids(request_changes, "reviews", "ChangesRequested"),
    "withdraw": Forbids(withdraw, "requests", "Withdrawn"),
    "delete": Forbids(delete, "requests", "gone"),
    "recall": Forbids(recall, "actions", "ChangesRequested"),
    "three-approvals": Forbids(three_approvals, "policies", "InReview"),
    "listed-reviewers": Forbids(listed_reviewers, "policies", "InReview"),
}
AFTER = {
    "revoke": Forbids(revoke, "actions", "Revoked"),
    "late-reject": Forbids(late_reject, "reviews", "Revoked"),
    "withdraw": Forbids(withdraw, "requests", "Revoked"),
}
PAIRS = {
    "last-approval": (last_approval, BEFORE),
    "at-the-outcome": (at_the_outcome, {name: BEFORE[name] for name in ("reject", "request-changes", "withdraw", "delete")}),
    "renewal": (renewal, AFTER),
    "submission": (submission, {name: BEFORE[name] for name in ("withdraw", "delete", "recall")}),
}
ALL = ["airlockreviews", "airlockrequests", "airlockactions", "airlockpolicies"]


def every():
    """Each pair, each way of lagging, with and without a pause, one kind and all of them."""
    return [f"watch/{mode}/{decides}/{forbids}/{pause}/{which}"
            for decides, (_, pairs) in PAIRS.items() for forbids in pairs
            for mode in ("hold", "drop") for pause in (0, 1200) for which in ("one", "all")]


def made_from(seed, at_most=None):
    schedules = every()
    random.Random(seed).shuffle(schedules)
    return schedules[:at_most]


async def run(lane, text):
    _, mode, decides, forbids, pause, which = text.split("/")
    decide, pairs = PAIRS[decides]
    forbid = pairs[forbids]
    began, problems, lagging = time.monotonic(), [], Lagging()
    w = await begin(lane, "small")
    proxy = lane.proxies["controller", "kube"]
    proxy.watches = lagging
    try:
        if forbid.kind == "policies":
            await own_policy(lane)
        # Watches that began before are not under control: the process is started anew.
        await lane.kill("controller")
        await lane.ready()
        await prepared(w, decides)
        lagging.hold(mode, [KINDS[forbid.kind]] if which == "one" else ALL)
        await forbid.act(w)
        await asyncio.sleep(int(pause) / 1000)
        await decide(w)
        await decided(w, forbid.ends)
        lagging.let_go()
        problems = await stands(w, forbid.ends, decides)
    except (Late, asyncio.TimeoutError) as error:
        problems = [f"{error or 'too long'}"]
    except Exception as error:
        problems = [f"{type(error).__name__}: {error}"]
    finally:
        lagging.let_go()
        proxy.watches = None
        lane.package_held = None
        if forbid.kind == "policies":
            await lane.api["admin"].call("DELETE", f"{GROUP}/airlockpolicies/{lane.namespace}")
        await end(w, lane)
    return {"plan": text, "hits": 1, "kills": 1, "problems": problems, "seconds": round(time.monotonic() - began, 2)}


async def own_policy(lane):
    """A policy of the lane's namespace, in force."""
    await lane.api["admin"].ask("POST", f"{GROUP}/airlockpolicies", {
        "apiVersion": "airlock.karectl.io/v1alpha1", "kind": "AirlockPolicy", "metadata": {"name": lane.namespace},
        "spec": {"namespaces": [lane.namespace], "egress": {"requiredApprovals": 2}, "ingress": {"requiredApprovals": 1}}})
    for _ in range(200):
        policy = await lane.api["admin"].ask("GET", f"{GROUP}/airlockpolicies/{lane.namespace}")
        if any(c["type"] == "Ready" and c["status"] == "True" for c in policy.get("status", {}).get("conditions", [])):
            return
        await asyncio.sleep(0.1)


async def prepared(w, decides):
    """As far as the story goes before anything lags."""
    if decides == "renewal":
        await w.released()
        w.was = w.digest()
    elif decides == "submission":
        await w.creates(files=[{"path": "tables/t1.csv"}, {"path": "tables/t2.csv"}])
        await w.reaches("Draft")
        await w.uploads("tables/t1.csv", b"early\n")
        await w.submits(1)
        await w.reaches("Submitted")
    else:
        await w.approved_once()
        w.was = w.digest()
        if decides == "at-the-outcome":
            hold_package(w)
            await w.reviews("carol")
            await asyncio.wait_for(w.lane.package_comes.wait(), 30)


def hold_package(w):
    """The upload of the package waits in the proxy until it is let go."""
    lane = w.lane
    lane.package_comes, lane.package_goes = asyncio.Event(), asyncio.Event()

    class Waits(faults.Fault):
        name = "waits"

        async def act(self, proxy, call, request, writer):
            lane.package_comes.set()
            await lane.package_goes.wait()
            return await proxy.answer(call, await proxy.forward(call, request), writer)

    async def let_go():
        lane.journal.picker = None
        lane.package_goes.set()
    lane.package_let_go = let_go
    lane.journal.picker = lambda call: Waits(lane) if call.plane == "release" and call.changes else None


async def decided(w, ends):
    """Time in which a decision would be made, were it made on what the watches know."""
    def over(item):
        phase = (item or {}).get("status", {}).get("phase")
        return item is None or phase in ("Released", "Rejected", "Withdrawn", "Revoked", "ChangesRequested")
    try:
        await w.until("decided", lambda item: over(item) and (ends != "Revoked" or (item or {}).get("status", {}).get("phase") == "Revoked"), 3)
    except Late:
        pass


async def stands(w, ends, decides):
    """At the end, with nothing held any more."""
    problems = []
    if ends == "gone":
        await w.is_gone()
    else:
        await w.reaches(ends)
    if ends == "InReview":
        await asyncio.sleep(1.5)
        await w.reaches(ends)
    inside, outside = w.lane.buckets["quarantine"], w.lane.buckets["release"]
    for _ in range(60):
        packages = await outside.keys_below(f"releases/{w.namespace}/{w.uid}/")
        secrets = await w.lane.api["admin"].items(f"/api/v1/namespaces/{w.namespace}/secrets")
        links = [s["metadata"]["name"] for s in secrets if s["metadata"]["name"].startswith(w.name)]
        if not packages and not links:
            break
        await asyncio.sleep(0.5)
    else:
        problems.append(f"still there: {list(packages)} {links}")
    outcomes = [key for key in await inside.keys_below(f"requests/{w.namespace}/{w.uid}/rounds/") if key.endswith("outcome.json")]
    for key in outcomes:
        outcome = json.loads(await inside.get(key))
        if decides != "renewal" and "Released" in json.dumps(outcome):
            problems.append(f"{key} says Released")
    if decides != "renewal" and any("released" in (one["type"] or "").lower() and w.uid in (one["id"] or "") for one in w.lane.webhooks.got):
        problems.append("a release was told")
    return problems

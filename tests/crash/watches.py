"""Watches that lag. What forbids is accepted by the API server before what decides is even asked for, and the
controller's watch of it is held, or dropped and answered 410 later, or delivered after what came later. What forbids must win.

A schedule is a line of text: watch/<hold|drop|reorder>/<decides>/<forbids>/<pause>/<one|all>
where the pause is between the two, in milliseconds, and `all` holds every kind of ours and not only the one that forbids.
"""

import asyncio
import hashlib
import json
import time
from dataclasses import dataclass

import faults
import oracles
from cluster_api import GROUP, Refusal
from execute import begin, end
from lagging import ALL, KINDS, Lagging
from work import PATIENCE, Late, Work
from workloads import PROFILES, RETENTION_LOOK

SOON = 3  # seconds in which a decision would be made, were it made on what the watches know
CHANGED = b"a,b\n3,4\n"

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


async def old_approvals(w):
    """A quorum on the round that was returned."""
    await w.reviews("bob", digest=w.was)
    await w.reviews("carol", digest=w.was)


async def comes_due(w):
    """Time passes: the files are due, and the sweeper has looked twice since."""
    await asyncio.sleep(max(0, w.due - time.monotonic()) + 2 * RETENTION_LOOK + 1)


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


async def remake(w):
    """Deleted; another request takes the name as soon as the API server gives it."""
    await w.deletes()
    w.remade = asyncio.create_task(made_again(w))


async def made_again(w):
    other = Work(w.lane, w.workload, w.name)
    other.count = 20  # its reviews have other names
    for _ in range(PATIENCE * 5):
        try:
            await other.creates()
            w.words, other.words = [w.uid], [other.uid]  # the name is of both
            return other
        except Refusal as refusal:
            if refusal.status != 409:
                raise
        await asyncio.sleep(0.2)
    raise Late(f"{w.name} is still there after {PATIENCE} s")


async def resubmit(w):
    await w.submits(2)


async def hold(w):
    w.held = await w.acts("olga", "HoldOfficer", "Hold")
    if time.monotonic() > w.due:
        raise Late("the laboratory was too slow: the hold came after the files were due")


async def set_policy(w, egress):
    await w.lane.api["admin"].merge(f"{GROUP}/airlockpolicies/{w.namespace}", {"spec": {"egress": egress}})


# --- as far as the story goes before anything lags ---

async def one_approval(w):
    await w.approved_once()
    w.was = w.digest()


async def package_on_its_way(w):
    await one_approval(w)
    hold_package(w)
    await w.reviews("carol")
    await asyncio.wait_for(w.lane.package_comes.wait(), 30)


async def released(w):
    await w.released()
    w.was = w.digest()


async def one_file_missing(w):
    await w.creates(files=[{"path": "tables/t1.csv"}, {"path": "tables/t2.csv"}])
    await w.reaches("Draft")
    await w.uploads("tables/t1.csv", b"early\n")
    await w.submits(1)
    await w.reaches("Submitted")


async def changed_after_a_return(w):
    await w.in_review()
    w.was = w.digest()
    await w.reviews("bob", "RequestChanges")
    await w.reaches("ChangesRequested")
    await w.uploads("tables/t1.csv", CHANGED)


async def withdrawn(w):
    await w.in_review()
    await w.edits(withdrawn=True)
    w.due = time.monotonic() + retained("quarantine")
    await w.reaches("Withdrawn")


async def window_open(w):
    await w.approved_once()
    w.due = time.monotonic() + retained("release")  # at the earliest: the window begins with the decision
    await w.reviews("carol")
    await w.reaches("Released")


def retained(zone):
    return PROFILES["due"]["settings"][f"storage/{zone}_retention_seconds"]


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


# --- what must stand at the end, with nothing held any more ---

def ends_as(phase, round_=None):
    async def stands(w):
        await w.reaches(phase, round_)
        if phase == "InReview":
            await asyncio.sleep(1.5)
            await w.reaches(phase, round_)
        return await nothing_outside(w)
    return stands


async def is_revoked(w):
    await w.reaches("Revoked")
    return await nothing_outside(w, was_released=True)


async def is_gone(w):
    await w.is_gone()
    return await nothing_outside(w)


async def another_begins_anew(w):
    """The old one is gone and let nothing out; the new one starts as a draft, and old reviews say nothing of it."""
    other = await w.remade
    problems = [*await nothing_outside(w), *await judged(w)]
    await other.reaches("Draft")
    await other.uploads("tables/t1.csv", CHANGED)
    await other.submits(1)
    await other.reaches("InReview", 1)
    await asyncio.sleep(1.5)
    await other.reaches("InReview", 1)
    problems += await nothing_outside(other)
    await other.reviews("bob")
    await other.reviews("carol")
    await other.reaches("Released", 1)
    return [*problems, *await judged(other)]


async def second_round_waits(w):
    problems = await ends_as("InReview", 2)(w)
    counted = w.current()["status"]["approvals"]["counted"]
    if counted:
        problems.append(f"{counted} approvals of the first round count in the second")
    return problems


def is_kept(zone):
    """The hold counts, nothing is deleted until it is lifted, and then it is."""
    async def stands(w):
        receipt = f"requests/{w.namespace}/{w.uid}/deleted/{zone}.json"
        below = f"requests/{w.namespace}/{w.uid}/files/" if zone == "quarantine" else f"releases/{w.namespace}/{w.uid}/"
        kept = await w.lane.buckets[zone].keys_below(below)
        problems = [] if kept else [f"nothing is left in {zone}, in spite of a hold"]
        await w.action_is(w.held, "Counted")
        await asyncio.sleep(2 * RETENTION_LOOK + 1)
        if await w.lane.buckets["quarantine"].get(receipt):
            problems.append(f"{zone} was emptied under a hold that counts")
        lifted = await w.acts("olga", "HoldOfficer", "LiftHold")
        await w.action_is(lifted, "Counted")
        await w.objects_are("quarantine", receipt)
        return problems
    return stands


async def nothing_outside(w, was_released=False):
    """No package and no link; unless it had been released, no outcome says so and nobody was told."""
    problems = []
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
    if was_released:
        return problems
    for key in await inside.keys_below(f"requests/{w.namespace}/{w.uid}/rounds/"):
        if key.endswith("outcome.json") and "Released" in json.dumps(json.loads(await inside.get(key))):
            problems.append(f"{key} says Released")
    if any("released" in (one["type"] or "").lower() and w.uid in (one["id"] or "") for one in w.lane.webhooks.got):
        problems.append("a release was told")
    return problems


async def judged(w):
    """What the oracles find wrong in any state: chain, digests, files, messages, order."""
    for _ in range(20):
        try:
            _, problems = await oracles.collect(w, w.lane)
        except Exception as error:  # a listing and a deletion that cross
            problems = [f"the end state cannot be read: {type(error).__name__}: {error}"]
        if not problems:
            break
        await asyncio.sleep(0.5)
    return problems


# --- schedules ---

@dataclass
class Forbids:
    act: object
    kind: str
    stands: object  # what must stand at the end
    phase: str = ""  # at which there is nothing more to wait for; else any that a decision leads to


@dataclass
class Decides:
    act: object
    prepare: object
    forbids: dict
    kind: str = ""  # of its own event, if it has one
    profile: str = "plain"


BEFORE = {
    "reject": Forbids(reject, "reviews", ends_as("Rejected")),
    "request-changes": Forbids(request_changes, "reviews", ends_as("ChangesRequested")),
    "withdraw": Forbids(withdraw, "requests", ends_as("Withdrawn")),
    "delete": Forbids(delete, "requests", is_gone),
    "remake": Forbids(remake, "requests", another_begins_anew),
    "recall": Forbids(recall, "actions", ends_as("ChangesRequested")),
    "three-approvals": Forbids(three_approvals, "policies", ends_as("InReview")),
    "listed-reviewers": Forbids(listed_reviewers, "policies", ends_as("InReview")),
}
AFTER = {
    "revoke": Forbids(revoke, "actions", is_revoked, "Revoked"),
    "late-reject": Forbids(late_reject, "reviews", is_revoked, "Revoked"),
    "withdraw": Forbids(withdraw, "requests", is_revoked, "Revoked"),
}


def of_before(*names):
    return {name: BEFORE[name] for name in names}


PAIRS = {
    "last-approval": Decides(last_approval, one_approval, BEFORE, "reviews"),
    "at-the-outcome": Decides(at_the_outcome, package_on_its_way,
                              of_before("reject", "request-changes", "withdraw", "delete", "remake")),
    "renewal": Decides(renewal, released, AFTER, "actions"),
    "submission": Decides(submission, one_file_missing, of_before("withdraw", "delete", "recall")),
    "old-approvals": Decides(old_approvals, changed_after_a_return,
                             {"resubmit": Forbids(resubmit, "requests", second_round_waits, "Released")}, "reviews"),
    "due": Decides(comes_due, withdrawn, {"hold": Forbids(hold, "actions", is_kept("quarantine"))}, profile="due"),
    "window-ends": Decides(comes_due, window_open, {"hold": Forbids(hold, "actions", is_kept("release"))}, profile="due"),
}


def every():
    """Each pair, each way of lagging, with and without a pause, one kind and all of them. Only events of two kinds
    can be delivered in another order than they happened in."""
    schedules = []
    for name, decides in PAIRS.items():
        for forbids, forbid in decides.forbids.items():
            ways = [(mode, which) for mode in ("hold", "drop") for which in ("one", "all")]
            if decides.kind not in ("", forbid.kind):
                ways.append(("reorder", "one"))
            schedules += [f"watch/{mode}/{name}/{forbids}/{pause}/{which}" for mode, which in ways for pause in (0, 1200)]
    return schedules


def profile_of(text):
    return PAIRS[text.split("/")[2]].profile


def story_of(text):
    return None  # what must stand at the end is the schedule's own


async def run(lane, text, _):
    _, mode, name, forbids, pause, which = text.split("/")
    decides, forbid = PAIRS[name], PAIRS[name].forbids[forbids]
    began, problems, lagging = time.monotonic(), [], Lagging()
    w = await begin(lane, "small", decides.profile)
    proxy = lane.proxies["controller", "kube"]
    proxy.watches = lagging
    try:
        if forbid.kind == "policies":
            await own_policy(lane)
        # Watches that began before are not under control: the process is started anew.
        await lane.kill("controller")
        await lane.ready()
        await decides.prepare(w)
        lagging.hold(mode, [KINDS[forbid.kind]] if which == "one" else ALL)
        await forbid.act(w)
        if mode == "reorder":
            lagging.reorders_before(KINDS[decides.kind])
        await asyncio.sleep(int(pause) / 1000)
        await decides.act(w)
        await decided(w, forbid.phase)
        lagging.let_go()
        problems = [*await forbid.stands(w), *await judged(w)]
    except (Late, asyncio.TimeoutError) as error:
        problems = [f"{error or 'too long'}"]
    except Exception as error:
        problems = [f"{type(error).__name__}: {error}"]
    finally:
        lagging.let_go()
        proxy.watches = None
        if forbid.kind == "policies":
            await lane.api["admin"].call("DELETE", f"{GROUP}/airlockpolicies/{lane.namespace}")
        if remade := getattr(w, "remade", None):
            remade.cancel()
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


async def decided(w, phase):
    """Time in which a decision would be made, were it made on what the watches know."""
    closed = (phase,) if phase else ("Released", "Rejected", "Withdrawn", "Revoked", "ChangesRequested")
    try:
        await w.until("decided", lambda item: (item or {}).get("status", {}).get("phase") in (None, *closed), SOON)
    except Late:
        pass

"""Runs one story in a lane, with or without a fault, until its end state is the reference's or time is up."""

import asyncio
import json
import time
from collections import Counter

import faults
import oracles
from plans import signature
from work import PATIENCE, Late, Work
from workloads import STORIES

SETTLES = 40  # seconds that the end state may take to become the reference's, beside the story


# What the end state may differ in, by mode.
MAY_DIFFER = {"mail-refused": oracles.with_refusals, "paused": oracles.with_marks_of_jobs}


class Picker:
    """Asked for every call: spoils the one that the plan names, as often as its mode says."""

    def __init__(self, lane, work, plan):
        self.lane, self.work, self.plan = lane, work, plan
        self.fault = faults.MODES[plan.mode](lane)
        self.seen, self.hits, self.later, self.second_done = Counter(), 0, None, False
        lane.second = self.kill_again
        self.reads_too = plan.mode in faults.STORAGE

    def kill_again(self):
        self.later = 0

    def __call__(self, call):
        if not (call.changes or self.reads_too and call.plane != "kube") or not call.mentions(self.work.words):
            return None
        if self.later is not None and not self.second_done and call.who in ("controller", "gateway"):
            self.later += 1
            if self.later >= self.plan.second:
                self.second_done = True
                self.hits += 1
                return faults.KillBefore(self.lane)
        text = signature(call, self.work, self.lane)
        self.seen[text] += 1
        first = self.plan.nth
        if text == self.plan.call and first <= self.seen[text] < first + self.fault.times:
            self.hits += 1
            return self.fault
        return None


async def reference(lane, name, runs=2):
    """Runs a story without a fault; gives its end state and its calls. Two runs must agree."""
    results = []
    for _ in range(runs):
        work = await begin(lane, name)
        await STORIES[name].run(work)
        seen, problems = await settled(work, lane)
        if problems:
            raise Late(f"{name} without a fault: {problems}")
        ours = [call for call in lane.journal.calls if call.mentions(work.words)]
        changing = counted((call for call in ours if call.changes), work, lane)
        storage = counted((call for call in ours if call.plane in ("quarantine", "release", "staging")), work, lane)
        results.append((seen, changing, storage))
        await end(work, lane)
    first = results[0]
    for other in results[1:]:
        if found := oracles.difference(first[0], other[0]):
            raise Late(f"{name}: two runs without a fault differ: {found}")
    def common(which):
        return [call for call in first[which] if all(call in other[which] for other in results[1:])]
    return {"state": first[0], "calls": common(1), "storage": common(2)}


def counted(calls, work, lane):
    """Each call as every run makes it, and which of those that look alike."""
    times, order = Counter(), []
    for call in calls:
        text = signature(call, work, lane)
        times[text] += 1
        order.append((text, times[text]))
    return order


async def settled(work, lane, quiet=1.0, seconds=30):
    """The end state once nothing has been written for a while."""
    deadline = time.monotonic() + seconds
    while True:
        changes = [call for call in lane.journal.calls if call.changes and call.mentions(work.words)]
        if changes and time.monotonic() - max(changes[-1].began, changes[-1].sent) > quiet:
            now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
            due = [key for key in await lane.buckets["quarantine"].keys_below("work/outbox/")
                   if work.uid in key and key.split("/")[2] <= now]
            if not due or time.monotonic() > deadline:
                return await oracles.collect(work, lane)
        await asyncio.sleep(0.1)


async def begin(lane, name, profile=None):
    await lane.use(profile or STORIES[name].profile)
    lane.journal.clear()
    lane.journal.picker, lane.killed, lane.second = None, [], None
    return Work(lane, name)


async def end(work, lane):
    lane.journal.picker = None
    await lane.second_ends()
    if STORIES[work.workload].leaves_no_namespace:
        await lane.new_namespace()


async def run(lane, plan, known, settles=SETTLES):
    """One plan; gives a result: what was seen, and what is wrong."""
    began, work = time.monotonic(), await begin(lane, plan.story)
    picker = lane.journal.picker = Picker(lane, work, plan)
    problems, told = [], began
    # Bytes that are not those that were approved stop a release, and a person is told.
    may_fail = plan.mode in ("wrong-bytes", "wrong-length")
    work.may_fail = may_fail
    try:
        await asyncio.wait_for(STORIES[plan.story].run(work), PATIENCE * 2)
        told = time.monotonic()
        problems = await becomes(work, lane, known["state"], settles, may_fail, MAY_DIFFER.get(plan.mode))
    except (Late, asyncio.TimeoutError) as error:
        problems = [f"the story did not end: {error or 'too long'}"]
        if may_fail:
            problems = await becomes(work, lane, known["state"], settles, may_fail)
    except Exception as error:  # the people's calls do not go through the proxy: a refusal is a finding
        problems = [f"the story broke off: {type(error).__name__}: {error}"]
        if may_fail:
            problems = await becomes(work, lane, known["state"], settles, may_fail)
    await end(work, lane)
    return {"plan": str(plan), "hits": picker.hits, "kills": len(lane.killed), "problems": problems, "story": round(told - began, 2),
            "seconds": round(time.monotonic() - began, 2)}


def safe(seen):
    """A person must act, and nothing has left."""
    request = seen["request"] or {}
    return request.get("phase") in ("Failed", "ChangesRequested") and not seen["packages"] and not seen["records"] and not seen["secrets"]


async def becomes(work, lane, wanted, settles, may_fail=False, view=None):
    """Waits until the end state is as wanted, both seen through `view` if it is given; tells what is wrong at the end."""
    deadline, pause = time.monotonic() + settles, 0.05
    while True:
        try:
            seen, problems = await oracles.collect(work, lane)
            seen = json.loads(json.dumps(seen))
            wrong = oracles.difference(*(view(wanted, seen) if view else (wanted, seen))) + problems
        except Exception as error:  # a listing and a deletion that cross
            wrong = [f"the end state cannot be read: {type(error).__name__}: {error}"]
        if not wrong or time.monotonic() > deadline:
            return wrong
        if may_fail and not problems and safe(seen):
            return []
        await asyncio.sleep(pause)
        pause = min(pause * 1.5, 1.0)

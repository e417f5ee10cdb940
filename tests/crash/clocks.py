"""Clocks of our processes that are wrong, by libfaketime (Debian's package `faketime`).

A schedule is a line of text: clock/<controller|gateway|both>/<seconds>/<story>

Up to five minutes the end is the reference's. Beyond, nothing closes and nothing is deleted while the clocks disagree;
then the clock is set right in the running process, and the end is the reference's, but for messages: what was written
down to be told at a time that is still to come is told then. A controller that is behind is not ready before its clock
says that the admission rules are in force, so that the first schedule of a lane may take as long as its clock is behind.
"""

import asyncio
import contextlib
import time
from pathlib import Path

import oracles
from execute import SETTLES, becomes, begin, end
from work import PATIENCE, Late
from workloads import STORIES

AGREES = 300  # seconds by which clocks of ours and of a storage server may differ
WRONG = (-240, -60, 60, 240, 600)
WHO = {"controller": ("controller",), "gateway": ("gateway",), "both": ("controller", "gateway")}
TOLD = ("small", "ingress-by-copy", "returned", "renew")
DELETES = ("retention",)
DISAGREES = 8  # seconds in which a story goes as far as it does with such a clock


def every():
    def lines(whose, stories):
        return [f"clock/{who}/{seconds:+}/{story}" for who in whose for seconds in WRONG for story in stories]
    return lines(WHO, TOLD) + lines(("controller",), DELETES)


def profile_of(text):
    return STORIES[story_of(text)].profile


def story_of(text):
    return text.rpartition("/")[2]


def library():
    found = sorted(Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"))
    if not found:
        raise SystemExit("schedules of clocks need libfaketime: install Debian's package faketime")
    return found[0]


def variables(file):
    """The environment of a process whose clock is wrong by what the file says, and its monotonic clock is not."""
    return {"LD_PRELOAD": str(library()), "FAKETIME_TIMESTAMP_FILE": str(file), "FAKETIME_CACHE_DURATION": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1", "DONT_FAKE_MONOTONIC": "1", "NO_FAKE_STAT": "1"}


async def run(lane, text, known):
    _, who, seconds, name = text.split("/")
    began, problems = time.monotonic(), []
    disagrees = abs(int(seconds)) > AGREES and "controller" in WHO[who]
    await lane.use(STORIES[name].profile)
    await set_clocks(lane, WHO[who], int(seconds))
    w = await begin(lane, name)
    story = asyncio.create_task(STORIES[name].run(w))
    try:
        if disagrees:
            problems = await nothing_ends(w, story)
            set_right(lane, WHO[who])
        await asyncio.wait_for(story, PATIENCE * 2)
        problems += await becomes(w, lane, known["state"], SETTLES, view=oracles.without_messages if disagrees else None)
    except (Late, asyncio.TimeoutError) as error:
        problems.append(f"the story did not end: {error or 'too long'}")
    except Exception as error:
        problems.append(f"the story broke off: {type(error).__name__}: {error}")
    finally:
        story.cancel()
        await set_clocks(lane, WHO[who], None)
        await end(w, lane)
    return {"plan": text, "hits": 1, "kills": 0, "problems": problems, "seconds": round(time.monotonic() - began, 2)}


async def set_clocks(lane, processes, seconds):
    """Starts them anew, with a clock that is wrong by so much; None: with the machine's."""
    for process in processes:
        lane.wrong.pop(process, None)
        if seconds is not None:
            file = lane.folder / f"{process}.clock"
            file.write_text(f"{seconds:+}\n")
            lane.wrong[process] = variables(file)
        await lane.kill(process)
    await lane.ready(60 + max(0, -(seconds or 0)))


def set_right(lane, processes):
    for process in processes:
        (lane.folder / f"{process}.clock").write_text("+0\n")


async def nothing_ends(w, story):
    """The story goes as far as it can; what has to do with closing and deleting does not happen."""
    with contextlib.suppress(asyncio.TimeoutError):
        await asyncio.wait_for(asyncio.shield(story), DISAGREES)
    below = f"requests/{w.namespace}/{w.uid}/"
    facts = [key.removeprefix(below) for key in await w.lane.buckets["quarantine"].keys_below(below)]
    return [f"{fact} was stored while the clocks disagreed" for fact in facts
            if fact == "closed.json" or fact.startswith("deleted/quarantine") or fact.startswith("deleted/release")]

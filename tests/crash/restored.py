"""etcd is restored: a copy of its data is taken, the story goes on, and then the API server's objects are those of the copy.
The buckets are not restored. What they say is true, and nothing is done twice.

A schedule is a line of text: restored/<point>

Our two processes are started anew, as the documentation of Kubernetes asks of every component after a restoration: a watch
that goes on from a version that etcd no longer knows waits, without a word, until etcd comes to that version again.
"""

import asyncio
import fcntl
import os
import shutil
import signal
import sys
import time
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "env"))

import oracles
import processes
from execute import SETTLES, becomes, begin, end, settled
from work import Late
from workloads import STORIES

SERVERS = ("etcd", "kube-apiserver", "kube-controller-manager")
LOST = ("reviews", "actions")  # what people said since the copy is in etcd alone


class Etcd:
    """The data of an environment's etcd, and the servers that go by it."""

    def __init__(self, env_folder):
        self.folder = Path(env_folder)
        self.data, self.copy = self.folder / "cluster/etcd", self.folder / "cluster/etcd-copy"

    def take_copy(self):
        """As the disk is at one instant: the process stands still meanwhile."""
        pid = processes.running(self.folder)["etcd"]
        shutil.rmtree(self.copy, ignore_errors=True)
        os.kill(pid, signal.SIGSTOP)
        try:
            shutil.copytree(self.data, self.copy)
        finally:
            os.kill(pid, signal.SIGCONT)

    def restore(self):
        """All three servers end, and two start as they were started before, on the copy."""
        pids = processes.running(self.folder)
        self.commands = {name: Path(f"/proc/{pids[name]}/cmdline").read_text().rstrip("\0").split("\0") for name in SERVERS}
        with open(ports_lock(pids["etcd"]), "w") as lock:
            processes.stop(self.folder, SERVERS)
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)  # etcd held it: the environment keeps its ports
            shutil.rmtree(self.data)
            shutil.copytree(self.copy, self.data)
            self.start("etcd", keep_open=[lock.fileno()])
            self.start("kube-apiserver")

    def start_manager(self):
        """It ends where the API server does not serve yet."""
        self.start("kube-controller-manager")

    def start(self, name, **more):
        processes.start(self.folder, name, self.commands[name], **more)


def ports_lock(pid):
    """The file by whose lock this process holds its environment's ports."""
    links = (os.readlink(link) for link in Path(f"/proc/{pid}/fd").iterdir())
    return next(link for link in links if Path(link).parent.name == "ports")


# --- points: until the copy, and after it ---

async def in_draft(w):
    await w.creates()
    await w.reaches("Draft")
    await w.uploads("tables/t1.csv", b"a,b\n1,2\n" * 40)
    await w.uploads("notes.txt", b"as text\n")


async def draft_to_released(w):
    await w.submits(1)
    await w.reaches("InReview")
    await approvals(w)


async def in_review(w):
    await w.in_review()


async def approvals(w):
    await w.reviews("bob")
    await w.reviews("carol")
    await w.reaches("Released")


async def approved_once(w):
    await w.approved_once()


async def last_approval(w):
    await w.reviews("carol")
    await w.reaches("Released")


async def second_round(w):
    await w.reviews("bob", "RequestChanges")
    await w.reaches("ChangesRequested")
    await w.uploads("tables/t1.csv", b"a,b\n3,4\n")
    await w.released_again()


async def reject(w):
    await w.reviews("bob", "Reject")
    await w.reaches("Rejected")


async def delete(w):
    await w.deletes()
    await w.is_gone()


async def released(w):
    await w.released()


async def revoke(w):
    await w.acts("bob", "Checker", "Revoke")
    await w.reaches("Revoked")


async def late_reject(w):
    await w.reviews("carol", "Reject")
    await w.reaches("Revoked")


async def withdraw_late(w):
    await w.edits(withdrawn=True)
    await w.reaches("Revoked")


async def renew(w):
    name = await w.acts("alice", "Submitter", "Renew", revokeOld=True)
    await w.action_is(name, "Counted", "Done")


@dataclass
class Point:
    before: object
    after: object
    story: str  # whose end state must be reached
    but_for: tuple = ()  # what differs besides reviews and actions
    phase: str = ""  # which the request shows, where the story ends without one


POINTS = {
    "draft": Point(in_draft, draft_to_released, "small"),
    "in-review": Point(in_review, approvals, "small"),
    "approved-once": Point(approved_once, last_approval, "small"),
    "first-round": Point(in_review, second_round, "returned"),
    "before-a-rejection": Point(in_review, reject, "rejected"),
    "before-its-deletion": Point(in_review, delete, "deleted-in-review", ("request",), "Withdrawn"),
    "before-a-revocation": Point(released, revoke, "revoke"),
    "before-a-late-rejection": Point(released, late_reject, "late-reject"),
    "before-a-late-withdrawal": Point(released, withdraw_late, "withdrawn-late"),
    "before-a-renewal": Point(released, renew, "renew"),
}


def every():
    return [f"restored/{point}" for point in POINTS]


def story_of(text):
    return POINTS[text.rpartition("/")[2]].story


def profile_of(text):
    return STORIES[story_of(text)].profile


async def run(lane, text, known):
    point, began, problems = POINTS[text.rpartition("/")[2]], time.monotonic(), []
    etcd = Etcd(lane.env_folder)
    w = await begin(lane, point.story)
    try:
        await point.before(w)
        await asyncio.to_thread(etcd.take_copy)
        await point.after(w)
        await settled(w, lane)
        await asyncio.to_thread(etcd.restore)
        await lane.cluster_is_back()
        etcd.start_manager()
        await lane.kill("gateway")
        await lane.kill("controller")
        await lane.ready(90)
        lost = (*LOST, *point.but_for)

        def but_for_what_is_lost(*states):
            return tuple({key: value for key, value in state.items() if key not in lost} for state in oracles.without_deliveries(*states))
        problems = await becomes(w, lane, known["state"], SETTLES, view=but_for_what_is_lost)
        if point.phase:
            await w.reaches(point.phase)
    except (Late, asyncio.TimeoutError) as error:
        problems = [f"the story did not end: {error or 'too long'}"]
    except Exception as error:
        problems = [f"the story broke off: {type(error).__name__}: {error}"]
    finally:
        await end(w, lane)
    return {"plan": text, "hits": 1, "kills": 2, "problems": problems,
            "seconds": round(time.monotonic() - began, 2)}

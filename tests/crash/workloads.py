"""The stories. Each ends when the last thing that people wait for is there; the oracles wait for the rest."""

from dataclasses import dataclass

from work import noise

STORIES = {}


@dataclass
class Story:
    name: str
    run: object
    profile: str = "plain"
    leaves_no_namespace: bool = False


def story(profile="plain", **more):
    def register(function):
        name = function.__name__.replace("_", "-")
        STORIES[name] = Story(name, function, profile, **more)
        return function
    return register


RETENTION_LOOK = 2  # seconds between two looks of the sweeper


def retention(quarantine, release):
    """Files that go within seconds."""
    return {"storage/allow_short_retention": True,
            "storage/quarantine_retention_days": None, "storage/quarantine_retention_seconds": quarantine,
            "storage/release_retention_days": None, "storage/release_retention_seconds": release,
            "controller/retention/look_seconds": RETENTION_LOOK}


# What the configuration of both processes is changed to, by JSON pointer without the first slash.
PROFILES = {
    "plain": {},
    "mail": {"mail": True},
    "signed": {"signed": True},
    "stream": {"staging_elsewhere": True},
    "retention": {"settings": retention(quarantine=6, release=4)},
    "due": {"settings": retention(quarantine=25, release=25)},
    "jobs": {"settings": {"controller/packaging/mode": "Job", "controller/packaging/job_threshold_bytes": 1 << 20},
             "packaging_jobs": True},
}


@story()
async def small(w):
    """Two files, two approvals."""
    await w.released()


@story()
async def multipart(w):
    """A package of several parts."""
    await w.released(files={"model.bin": noise(24 << 20, 3), "notes.txt": b"weights\n"})


@story()
async def many_files(w):
    await w.released(files={f"tables/t{number:02}.csv": f"row,{number}\n".encode() * 9 for number in range(24)})


@story()
async def returned(w):
    """Returned, changed, submitted again, released."""
    await w.in_review()
    await w.reviews("bob", "RequestChanges")
    await w.reaches("ChangesRequested")
    await w.uploads("tables/t1.csv", b"a,b\n3,4\n")
    await w.released_again()


@story()
async def resubmitted(w):
    """Submitted again as soon as the return shows, whatever the operator still has to do about it."""
    await w.in_review()
    await w.reviews("bob", "RequestChanges")
    await w.shows("ChangesRequested")
    await w.released_again()


@story()
async def remade(w):
    """Deleted after an approval, and made anew under the same name with other content."""
    await w.approved_once()
    await w.deletes()
    await w.is_gone()
    w.sent.clear()
    await w.released(files={"tables/t2.csv": b"a,b\n5,6\n"})


@story()
async def rejected(w):
    await w.in_review()
    await w.reviews("bob", "Reject")
    await w.reaches("Rejected")


@story()
async def recalled(w):
    await w.in_review()
    await w.acts("alice", "Submitter", "Recall")
    await w.reaches("ChangesRequested")
    await w.edits(withdrawn=True)
    await w.reaches("Withdrawn")


@story()
async def revoke(w):
    await w.released()
    await w.desk_is_told()
    await w.acts("bob", "Checker", "Revoke")
    await w.reaches("Revoked")


@story()
async def late_reject(w):
    await w.released()
    await w.desk_is_told()
    await w.reviews("carol", "Reject")
    await w.reaches("Revoked")


@story()
async def withdrawn_late(w):
    await w.released()
    await w.desk_is_told()
    await w.edits(withdrawn=True)
    await w.reaches("Revoked")


@story()
async def renew(w):
    """A new link, and the old one ends."""
    await w.released()
    name = await w.acts("alice", "Submitter", "Renew", revokeOld=True)
    await w.action_is(name, "Counted", "Done")


@story()
async def deleted_in_review(w):
    await w.in_review()
    await w.deletes()
    await w.is_gone()


@story()
async def deleted_after_release(w):
    await w.released()
    await w.desk_is_told()
    await w.deletes()
    await w.is_gone()


@story()
async def hold_and_lift(w):
    await w.released()
    held = await w.acts("olga", "HoldOfficer", "Hold")
    await w.action_is(held, "Counted")
    lifted = await w.acts("olga", "HoldOfficer", "LiftHold")
    await w.action_is(lifted, "Counted")


@story("mail")
async def told(w):
    """A webhook and mail, to the desk."""
    await w.released()


SENT = {"ref/table.csv": b"age,n\n1,20\n", "rates.csv": b"rate\n0.5\n" * 50}


async def comes_in(w, files=SENT, **spec):
    await w.creates(direction="Ingress", submission=1, files=[{"path": path, "size": len(body)} for path, body in files.items()], **spec)
    await w.sends(files)
    await w.reaches("InReview")
    await w.reviews("bob")


@story()
async def ingress_by_copy(w):
    """The storage server copies from staging into quarantine by itself."""
    await comes_in(w)
    await w.reaches("Released")


@story("stream")
async def ingress_by_stream(w):
    """Staging is on what the controller takes for another server."""
    await comes_in(w)
    await w.reaches("Released")


@story()
async def ingress_in_parts(w):
    await comes_in(w, {"ref/large.bin": noise(20 << 20, 5)})
    await w.reaches("Released")


@story()
async def collected(w):
    """A Job collects from a workspace volume."""
    name, folder = await w.claim("airlock-read")
    (folder / "out/tables").mkdir(parents=True)
    (folder / "out/tables/a.csv").write_bytes(b"age,n\n1,20\n")
    (folder / "out/b.csv").write_bytes(b"b\n")
    await w.creates(submission=1, sources=[{"persistentVolumeClaim": {"claimName": name, "path": "out"}, "include": ["**/*.csv"]}])
    await w.reaches("InReview")
    await w.reviews("bob")
    await w.reviews("carol")
    await w.reaches("Released")


@story()
async def delivered(w):
    """A Job writes into a workspace volume."""
    name, folder = await w.claim("airlock-write")
    await comes_in(w, delivery={"type": "PersistentVolumeClaim", "persistentVolumeClaim": {"claimName": name, "path": "in"}})
    await w.reaches("Released")
    for path, content in SENT.items():
        if (folder / "in" / path).read_bytes() != content:
            raise AssertionError(f"{path} in the volume is not what was sent")


@story("jobs")
async def packed_by_job(w):
    await w.released(files={"model.bin": noise(3 << 20, 7), "notes.txt": b"weights\n"})


@story(leaves_no_namespace=True)
async def namespace_deleted(w):
    await w.released()
    await w.lane.api["admin"].ask("DELETE", f"/api/v1/namespaces/{w.namespace}")
    await w.namespace_is_gone()


@story("retention")
async def retention(w):
    """The files of both zones go when they are due."""
    await w.released()
    await w.objects_are("quarantine", f"requests/{w.namespace}/{w.uid}/deleted/quarantine.json")
    await w.objects_are("quarantine", f"requests/{w.namespace}/{w.uid}/deleted/release.json")


@story("retention")
async def held_from_retention(w):
    """A hold keeps what is due, until it is lifted."""
    await w.in_review()
    held = await w.acts("olga", "HoldOfficer", "Hold")
    await w.action_is(held, "Counted")
    await w.edits(withdrawn=True)
    await w.reaches("Withdrawn")
    await w.still_there_after(8)
    lifted = await w.acts("olga", "HoldOfficer", "LiftHold")
    await w.action_is(lifted, "Counted")
    await w.objects_are("quarantine", f"requests/{w.namespace}/{w.uid}/deleted/quarantine.json")


@story("signed")
async def checkpointed(w):
    """A checkpoint covers the entry of the release."""
    await w.released()
    await w.checkpoint_has_it()

"""A lane that has storage servers for itself, with the buckets and policies of the environment, and what people see of
a server: links that work, and links that end."""

import hashlib
import json
import urllib.parse

import wire
from lane import Lane
from s3 import Bucket
from workloads import comes_in, story


class WholeServer(Lane):
    """No buckets and policies of its own: those that are proved are those that people are told to make."""

    async def make_buckets(self):
        self.buckets = {zone: Bucket(known["endpoint"], known["bucket"], known["root"])
                        for zone, known in self.state["buckets"].items()}


async def get(url):
    where = urllib.parse.urlsplit(url)
    return await wire.Client(where.hostname, where.port).call("GET", f"{where.path}?{where.query}")


async def link(w):
    return json.loads((await w.gateway("alice", "GET", "release")).body)


@story()
async def downloaded(w):
    """Main job: the package comes by its link, with the digest of the record."""
    await w.released()
    released = await link(w)
    answer = await get(released["url"])
    digest = hashlib.sha256(answer.body).hexdigest()
    if (answer.status, digest) != (200, w.record()["spec"]["package"]["sha256"]) or digest != released["sha256"]:
        raise AssertionError(f"the link gives {answer.status} with {len(answer.body)} bytes of {digest}, not the package of the record")


@story()
async def link_revoked(w):
    """A link that worked is dead after a revocation."""
    await w.released()
    url = (await link(w))["url"]
    before = (await get(url)).status
    await w.acts("bob", "Checker", "Revoke")
    await w.reaches("Revoked")
    after = (await get(url)).status
    if (before, after) != (200, 404):
        raise AssertionError(f"the link gave {before} before the revocation and {after} after it")


@story()
async def sent_and_read(w):
    """Ingress: each file comes by its link, as it was sent."""
    await comes_in(w)
    await w.reaches("Released")
    files = (await link(w))["files"]
    got = {file["path"]: hashlib.sha256((await get(file["url"])).body).hexdigest() for file in files}
    if got != w.sent:
        raise AssertionError(f"{got} came by the links, {w.sent} was sent")

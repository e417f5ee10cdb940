"""Steps of `make e2e` on workspace volumes: real Jobs, in pods, on claims that are bound to folders of the node."""

import hashlib
import io
import json
import os
import stat
import time
import urllib.request
import zipfile

from claims import USER, Claims, write
from requests_by_people import PROJECT
from tools import Failed

LABEL = "airlock.karectl.io/job"
STALLED = "jsonpath={.status.conditions[?(@.type=='Stalled')].reason}="


def saw(text):
    print(f"    {text}", flush=True)


def must(holds, what):
    if not holds:
        raise Failed(what)


def claims(node):
    """The project's volumes; from here on, its pods are held to Pod Security `restricted`."""
    if not hasattr(node, "claims"):
        node.claims = Claims(node)
        node.kubectl("label", "--overwrite", "namespace", PROJECT, "pod-security.kubernetes.io/enforce=restricted")
    return node.claims


def sources(claim, **more):
    return [{"persistentVolumeClaim": {"claimName": claim, "path": "out"}, "include": ["tables/**"], "exclude": ["**/*.tmp"]} | more]


def request(node, name):
    return node.get("-n", PROJECT, "airlockrequest", name)


def job_name(node, name, errand):
    uid = request(node, name)["metadata"]["uid"]
    return f"{name}-{hashlib.sha256(uid.encode()).hexdigest()[:8]}-{errand}"


def prefix(node, name, *more):
    return "/".join(["requests", PROJECT, request(node, name)["metadata"]["uid"], *more, ""])


def told(node, name):
    """What the request's condition Stalled says."""
    return next((c["message"] for c in request(node, name)["status"]["conditions"] if c["type"] == "Stalled"), "nothing")


def stalls(node, name, reason, *words, seconds=120):
    """Waits until a request is stalled for a reason, and says why with these words; what it says may grow more exact."""
    deadline = time.monotonic() + seconds
    node.people.wait(name, STALLED + reason, seconds)
    while not all(word in (message := told(node, name)) for word in words):
        must(time.monotonic() < deadline, f"{name}: {reason} does not say {' and '.join(words)}: {message}")
        time.sleep(0.2)
    saw(f"{name}: {reason}: {message}")
    return message


def nothing_runs(node, *names, seconds=30):
    """Jobs and pods of requests that are closed, or wait for people, are gone, and what was stored of them too."""
    uids = {request(node, name)["metadata"]["uid"] for name in names}
    deadline = time.monotonic() + seconds
    while True:
        left = [f"{one['kind']} {one['metadata']['name']}" for one in node.get("-n", PROJECT, "jobs,pods", "-l", LABEL)["items"]
                if one["metadata"]["labels"]["airlock.karectl.io/request-uid"] in uids]
        if not left:
            return
        must(time.monotonic() < deadline, f"still there after {seconds} s: {', '.join(left)}")
        time.sleep(0.2)


def fetched(node, name):
    """A released package, as its recipient gets it."""
    # The URL goes to nobody but urllib.
    answer = json.loads(node.people.gateway("alice", name, "release"))
    with urllib.request.urlopen(answer["url"], timeout=30) as response:
        content = response.read()
    must(hashlib.sha256(content).hexdigest() == answer["sha256"], f"{name}: the package is not what the gateway says")
    return content


def tables(content):
    """The tables in a package."""
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        names = [entry for entry in archive.namelist() if entry.endswith(".csv")]
        return {entry[entry.index("tables/"):]: archive.read(entry) for entry in names}


def record_of(node, name):
    return node.get("-n", PROJECT, "releaserecord", request(node, name)["status"]["release"]["recordName"])["spec"]


def collect_from_a_volume(node):
    """A Job collects from a claim through the gateway; the second round sends only what changed; then the package."""
    volumes, name = claims(node), "collected"
    folder = volumes.folder("alice-work")
    volumes.bound("alice-work")
    volumes.may(("airlock-read", "alice-work"))
    large = os.urandom(9 << 20)
    files = {"tables/t1.csv": b"a,b\n1,2\n", "tables/deep/large.csv": large}
    for path, content in {**files, "tables/draft.tmp": b"not this", "notes.txt": b"nor this"}.items():
        write(folder, f"out/{path}", content)
    began = time.monotonic()
    node.people.ask(name, direction="Egress", submission=1, sources=sources("alice-work"))
    node.people.wait(name, "jsonpath={.status.phase}=InReview")
    saw(f"from kubectl create to InReview: {time.monotonic() - began:.1f} s")
    manifest = json.loads(node.people.gateway("bob", name, "manifest"))
    rows = {row["path"]: (row["sha256"], row.get("collectedBy")) for row in manifest["files"]}
    by = f"system:serviceaccount:{PROJECT}:default"
    must(rows == {path: (hashlib.sha256(content).hexdigest(), by) for path, content in files.items()}, f"the manifest: {rows}")
    must(node.people.gateway("bob", name, "content/tables/t1.csv") == files["tables/t1.csv"], "bob reads another t1.csv")
    must(node.people.objects("quarantine", prefix(node, name, "files")) == 2, "round 1 sent something else than two files")
    nothing_runs(node, name)

    node.people.review(name, "bob", "RequestChanges")
    node.people.wait(name, "jsonpath={.status.phase}=ChangesRequested")
    files |= {"tables/t1.csv": b"a,b\n1,3\n", "tables/t2.csv": b"c\n"}
    for path in ("tables/t1.csv", "tables/t2.csv"):
        write(folder, f"out/{path}", files[path])
    node.people.change(name, submission=2)
    node.people.wait(name, "jsonpath={.status.round}=2")
    node.people.wait(name, "jsonpath={.status.phase}=InReview")
    sent = node.people.objects("quarantine", prefix(node, name, "files")) - 2
    must(sent == 2, f"round 2 sent {sent} files, and 2 of 3 had changed")
    node.people.approve(name, ("bob", "carol"))
    node.people.wait(name, "condition=Released")
    must(tables(fetched(node, name)) == files, "the package holds other files than the volume")
    record = record_of(node, name)
    must(record["type"] == "Package" and record["round"] == 2, f"the record: {record}")
    nothing_runs(node, name)
    must(node.people.objects("quarantine", f"work/jobs/{request(node, name)['metadata']['uid']}/") == 0, "work/jobs is not empty")
    saw("3 files of the second round are in the package; 2 of them were sent in it; no Job or pod is left")


def send(node, name, files):
    """What a colleague outside does with the plan."""
    plan = json.loads(node.people.gateway("alice", name, "plan"))
    for file in plan["files"]:
        content = files[file["path"]]
        for part in file["parts"]:
            body = content[part["offset"]:part["offset"] + part["size"]]
            put = urllib.request.Request(part["url"], data=body, method=part["method"], headers=part["headers"])
            with urllib.request.urlopen(put, timeout=30):
                pass


def delivered(node, name, claim, files, path="in"):
    """An ingress request into a claim, as far as its approval."""
    node.people.ask(
        name, direction="Ingress", submission=1,
        files=[{"path": path, "size": len(content), "sha256": hashlib.sha256(content).hexdigest()} for path, content in files.items()],
        delivery={"type": "PersistentVolumeClaim", "persistentVolumeClaim": {"claimName": claim, "path": path}})
    node.people.wait(name, "jsonpath={.status.phase}=Submitted")
    send(node, name, files)
    node.people.wait(name, "jsonpath={.status.phase}=InReview")
    node.people.approve(name, ("bob",))


def deliver_into_a_volume(node):
    """Files from outside are written into a claim by a Job, beside what is there; the record says so."""
    volumes, name = claims(node), "delivered"
    folder = volumes.folder("alice-in")
    volumes.bound("alice-in")
    volumes.may(("airlock-write", "alice-in"))
    write(folder, "in/mine.txt", b"of alice")
    files = {"reference/rates.csv": b"rate\n0.3\n", "reference/large.bin": os.urandom(9 << 20)}
    delivered(node, name, "alice-in", files)
    node.people.wait(name, "condition=Released", 120)
    there = {str(path.relative_to(folder / "in")): path for path in (folder / "in").rglob("*") if path.is_file()}
    must(set(there) == {"mine.txt", *files}, f"in the volume: {sorted(there)}")
    must(there["mine.txt"].read_bytes() == b"of alice", "alice's own file changed")
    for path, content in files.items():
        entry = there[path].lstat()
        must(there[path].read_bytes() == content, f"{path} in the volume is another file")
        mode = stat.filemode(entry.st_mode)
        must((mode, entry.st_uid, entry.st_gid) == ("-rw-r--r--", USER, USER), f"{path}: {mode} {entry.st_uid}:{entry.st_gid}")
    state = request(node, name)["status"]
    record = record_of(node, name)
    wanted = {"type": "PersistentVolumeClaim", "contents": {"files": 2, "size": sum(map(len, files.values()))},
              "persistentVolumeClaim": {"claimName": "alice-in", "path": "in"}, "manifestDigest": state["manifest"]["digest"]}
    must({key: record.get(key) for key in wanted} == wanted and "package" not in record, f"the record: {record}")
    nothing_runs(node, name)
    saw(f"2 files of {wanted['contents']['size']} bytes, {mode} {USER}:{USER}; record: {record['type']} {record['persistentVolumeClaim']}")


def secrets(node):
    """Every secret that this run knows."""
    values = [*node.state["tokens"].values()]
    for of in node.state["buckets"].values():
        values += [of["root"]["access_key_id"], of["root"]["secret_access_key"]]
    return values


def restricted_pod(node, job, pod):
    """A Job and its pod hold no secret, and are bounded; the namespace enforces Pod Security besides."""
    text = json.dumps([job, pod])
    must(not [secret for secret in secrets(node) if secret in text], "a secret stands in a Job or its pod")
    spec, runs = job["spec"], pod["spec"]
    bounds = {key: spec[key] for key in ("activeDeadlineSeconds", "ttlSecondsAfterFinished", "backoffLimit", "parallelism")}
    (container,) = runs["containers"]
    authority = open(node.state["gateway_ca"]).read()
    must(container["env"] == [{"name": "TREVOR_GATEWAY_CA", "value": authority}], f"its environment: {container.get('env')}")
    must(container["resources"]["limits"].keys() == {"cpu", "memory"}, f"its limits: {container['resources']}")
    kinds = [next(kind for kind in volume if kind != "name") for volume in runs["volumes"]]
    must(sorted(kinds) == ["persistentVolumeClaim", "projected"], f"its volumes: {kinds}")
    must(container["image"] == node.image(), f"its image: {container['image']}")
    saw(f"{job['metadata']['name']}: {bounds}, limits {container['resources']['limits']}, {container['image']}")


def jobs_that_wait(node):
    """No such claim, a claim that another pod holds, a quota, a foreign Job: each is named, and goes on once it is mended."""
    volumes = claims(node)
    names = ("no-claim", "held", "no-pods", "no-jobs", "taken")
    volumes.may(*(("airlock-read", claim) for claim in ("w-late", "w-held", "w-more")))
    for folder in ("w-late", "w-held", "w-more"):
        write(volumes.folder(folder), "out/tables/t.csv", folder.encode())
    volumes.bound("w-held", "ReadWriteOncePod")
    volumes.bound("w-more", "ReadOnlyMany")
    holder = volumes.holder("w-held")

    def ask(name, claim, submission=1):
        node.people.ask(name, direction="Egress", submission=submission, sources=sources(claim))

    ask("no-claim", "w-late")
    ask("held", "w-held")
    stalls(node, "no-claim", "JobWaits", "w-late", "not found")
    job = node.get("-n", PROJECT, "job", job_name(node, "no-claim", "collect-1"))
    pods = node.get("-n", PROJECT, "pods", "-l", f"batch.kubernetes.io/job-name={job['metadata']['name']}")["items"]
    restricted_pod(node, job, pods[0])
    stalls(node, "held", "JobWaits", "ReadWriteOncePod")
    volumes.bound("w-late")
    node.kubectl("-n", PROJECT, "delete", "pod", holder, "--grace-period=0", "--force")

    for name, what in (("no-pods", "pods"), ("no-jobs", "count/jobs.batch")):
        volumes.apply({"apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": name}, "spec": {"hard": {what: "0"}}})
        node.kubectl("-n", PROJECT, "wait", f"resourcequota/{name}", "--for=jsonpath={.status.hard}", "--timeout=30s")
        ask(name, "w-more")
        stalls(node, name, "JobRefused", f"exceeded quota: {name}")
        node.kubectl("-n", PROJECT, "delete", "resourcequota", name)

    ask("taken", "w-more", submission=0)
    node.people.wait("taken", "jsonpath={.status.phase}=Draft")
    foreign = job_name(node, "taken", "collect-1")
    volumes.apply({"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": foreign, "labels": {LABEL: "collect"}},
                   "spec": {"suspend": True, "template": {"spec": {"restartPolicy": "Never", "containers": [{"name": "c", "image": "other:1"}]}}}})
    theirs = node.get("-n", PROJECT, "job", foreign)["metadata"]["uid"]
    node.people.change("taken", submission=1)
    stalls(node, "taken", "JobNameTaken", foreign)
    must(node.get("-n", PROJECT, "job", foreign)["metadata"]["uid"] == theirs, "the foreign Job was replaced")
    node.kubectl("-n", PROJECT, "delete", "job", foreign)
    for name in names:
        node.people.wait(name, "jsonpath={.status.phase}=InReview", 120)
    saw(f"mended, they go on by themselves: {', '.join(names)}")
    for name in names:
        node.people.change(name, withdrawn=True)
    nothing_runs(node, *names)


def jobs_that_fail(node):
    """A link to the pod's token, a FIFO, a volume without room: refused by name, and nothing of them is taken."""
    volumes = claims(node)
    volumes.may(("airlock-read", "w-link"), ("airlock-read", "w-fifo"), ("airlock-write", "w-full"))
    link, fifo, full = volumes.folder("w-link"), volumes.folder("w-fifo"), volumes.folder("w-full", size="1m")
    for folder, path in ((link, "out/tables/a.csv"), (fifo, "out/tables/a.csv")):
        write(folder, path, b"good")
    (link / "out/tables/token.csv").symlink_to("/var/run/trevor/token")
    os.mkfifo(fifo / "out/tables/pipe.csv")
    os.chown(fifo / "out/tables/pipe.csv", USER, USER)
    for claim in ("w-link", "w-fifo", "w-full"):
        volumes.bound(claim)
    for name in ("link", "fifo"):
        node.people.ask(name, direction="Egress", submission=1, sources=sources(f"w-{name}"))
    delivered(node, "full", "w-full", {"large.bin": os.urandom(4 << 20)})
    # A failed pod is followed by two others, with pauses of 10 and 20 s.
    for name, words in (("link", ("tables/token.csv", "symbolic link")), ("fifo", ("tables/pipe.csv",))):
        stalls(node, name, "CollectionFailed", *words)
        must(request(node, name)["status"]["phase"] == "ChangesRequested", f"{name}: {request(node, name)['status']['phase']}")
        must(node.people.objects("quarantine", prefix(node, name, "files")) == 0, f"{name}: something was taken")
    stalls(node, "full", "DeliveryFailed", "the volume is full")
    must(request(node, "full")["status"]["phase"] == "Failed", f"full: {request(node, 'full')['status']['phase']}")
    must(not [path for path in full.rglob("*") if path.is_file()], "something was written into the full volume")
    for name in ("link", "fifo", "full"):
        node.people.change(name, withdrawn=True)
        node.people.wait(name, "jsonpath={.status.phase}=Withdrawn")
    nothing_runs(node, "link", "fifo", "full")


STEPS = [collect_from_a_volume, deliver_into_a_volume, jobs_that_wait, jobs_that_fail]

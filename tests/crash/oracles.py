"""What is true of a request at its end, read from bucket and API server by code that is not the product's, and put
into a form in which two runs of one story are equal."""

import asyncio
import copy
import hashlib
import io
import json
import re
import zipfile
from collections import Counter

UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
TIME = re.compile(r"\d{4}-\d\d-\d\dT[0-9:.]+Z")
LONG = re.compile(r"\b[0-9a-f]{24,}\b")
VOLATILE = {"time", "attempts", "leaseTerm", "term", "epoch", "resourceVersion", "instance", "version"}


class Plain:
    """Puts words in the place of what is another in each run: names, uids, times, digests, random keys."""

    def __init__(self, work):
        buckets = [(bucket.name, f"BUCKET-{zone}") for zone, bucket in work.lane.buckets.items()]
        uids = [(uid, "UID") for uid in work.uids]  # more than one where a name was taken again
        self.words = [*buckets, *uids, (work.name, "NAME"), (work.namespace, "NS")]
        self.derived = re.compile(r"NAME-[0-9a-f]{8}(-[0-9a-z]+)?")

    def __call__(self, text):
        for word, stands in self.words:
            text = text.replace(word, stands) if word else text
        text = TIME.sub("TIME", LONG.sub("HEX", UUID.sub("UUID", text)))
        return self.derived.sub("NAME-X", text)

    def json(self, value):
        return json.loads(self(json.dumps(value)))


# Since when a round waits for its files: there is none where they came before anybody looked.
ONLY_WHERE_IT_WAITED = "/submitted.json"


async def collect(work, lane):
    """The end state: `seen` is compared with the reference, `problems` hold for themselves."""
    plain, problems = Plain(work), []
    inside, outside = lane.buckets["quarantine"], lane.buckets["release"]
    base = f"requests/{work.namespace}/{work.uid}/"
    keys, released, open_in, open_out, working, records_kept, ledger = await asyncio.gather(
        inside.keys_below(base), outside.keys_below(f"releases/{work.namespace}/{work.uid}/"),
        inside.open_uploads(base), outside.open_uploads(f"releases/{work.namespace}/{work.uid}/"),
        inside.keys_below("work/"),
        inside.keys_below(f"records/{work.namespace}/{work.uid}"),
        inside.keys_below(f"audit/requests/{work.namespace}/{work.uid}/"))
    facts = {}

    async def fetch(key):
        facts[key] = await inside.get(key)

    wanted = [key for key in (*keys, *records_kept) if not key.startswith(f"{base}files/")]
    await asyncio.gather(*(fetch(key) for key in wanted))
    entries = [await inside.get(key) for key in sorted(ledger)]
    packages = {key: await outside.get(key) for key in released}
    secrets, jobs = await asyncio.gather(
        lane.api["admin"].items(f"/api/v1/namespaces/{work.namespace}/secrets"),
        lane.api["admin"].items(f"/apis/batch/v1/namespaces/{work.namespace}/jobs"))

    seen = {
        "request": request_of(work, plain),
        "reviews": reviews_of(work, lane, plain),
        "actions": actions_of(work, lane),
        "records": [record_of(item, plain) for item in lane.records.objects.values() if item["spec"]["requestRef"]["uid"] == work.uid],
        "secrets": Counter(plain(s["metadata"]["name"]) for s in secrets
                           if s["type"] == "airlock.karectl.io/release" and work.name in s["metadata"]["name"]),
        "jobs": sorted(plain(j["metadata"]["name"]) for j in jobs if work.name in j["metadata"]["name"]),
        "facts": sorted({fact_name(plain(key.removeprefix(base))) for key in keys
                         if not key.startswith(f"{base}files/") and not key.endswith(ONLY_WHERE_IT_WAITED)}),
        "decisions": by_round(facts, base, "decision.json", plain),
        "outcomes": by_round(facts, base, "outcome.json", plain),
        "manifests": by_round(facts, base, "manifest.json", plain),
        "closed": plain.json(trimmed(json.loads(facts[f"{base}closed.json"]))) if f"{base}closed.json" in facts else None,
        "revoked": plain.json(trimmed(json.loads(facts[f"{base}revoked.json"]))) if f"{base}revoked.json" in facts else None,
        "working": sorted({plain(key) for key in working if work.uid in key}),
        "kept records": sorted(plain(key) for key in records_kept),
        "open uploads": len(open_in) + len(open_out) - len(begun_in_vain(lane, open_in, base)),
        "packages": sorted(package_of(body, plain) for body in packages.values()),
        "ledger": sorted({json.dumps(plain.json(ledger_event(event)), sort_keys=True)
                          for entry in entries for event in json.loads(entry)["events"]}),
        "told": sorted(set(plain(f"{kind} {identity}") for kind, identity in deliveries(work, lane))),
        "mails": sorted({f"{mail['to']} {plain(mail['subject'] or '')}" for mail in lane.mailbox.got if work.uid in (mail["id"] or "")}),
    }
    if lane.profile in ("retention", "due"):  # where links and windows end within seconds, so that it varies who is told of it
        for name in ("facts", "ledger", "working", "told"):
            seen[name] = [item for item in seen[name] if not any(word in item for word in ("URLEnding", "url-ending", "window-ending", "warnings/url"))]
        # A message that comes after the window is superseded, and windows of seconds end before a second try.
        seen = without_messages(seen)[0]
    problems += chain_problems(entries)
    problems += digest_problems(facts, base, packages, work, lane)
    problems += file_problems(keys, facts, base, work)
    problems += delivery_problems(work, lane)
    problems += order_problems(work, lane, base)
    return seen, problems


def begun_in_vain(lane, uploads, base):
    """Uploads of a gateway that was killed, or never heard that they were begun: the sweeper ends them after a day."""
    spoilt = any(call.fault and call.who == "gateway" for call in lane.journal.calls)
    return [upload for upload in uploads if spoilt and f"{base}files/" in str(upload)]


def request_of(work, plain):
    item = work.current()
    if item is None:
        return None
    status = item.get("status", {})
    conditions = {c["type"]: (c["status"], c["reason"]) for c in status.get("conditions", [])}
    return plain.json({
        "phase": status.get("phase"), "round": status.get("round"), "conditions": conditions,
        "approvals": status.get("approvals"), "manifest": {k: v for k, v in (status.get("manifest") or {}).items() if k != "time"},
        "release": sorted(status.get("release") or {}), "held": status.get("held"),
        "finalizers": item["metadata"].get("finalizers", [])})


def reviews_of(work, lane, plain):
    found = []
    for item in lane.reviews.objects.values():
        if item["spec"]["requestName"] == work.name:
            status = item.get("status", {})
            found.append([plain(item["metadata"]["name"]), item["spec"]["reviewer"], item["spec"]["decision"],
                          status.get("state"), status.get("reason")])
    return sorted(found, key=str)


def actions_of(work, lane):
    found = []
    for item in lane.actions.objects.values():
        if item["metadata"]["name"].startswith(work.name):
            status = item.get("status", {})
            found.append([item["spec"]["action"], item["spec"]["actor"], status.get("state"), status.get("reason")])
    return sorted(found, key=str)


def record_of(item, plain):
    spec, status = item["spec"], item.get("status", {})
    return plain.json(trimmed({
        **{key: value for key, value in spec.items() if key not in ("releasedTime", "deleteAfterTime")},
        "package": {key: value for key, value in spec.get("package", {}).items() if key in ("bucket", "files")},
        "phase": status.get("phase"), "url": sorted(status.get("url") or {}),
        "deliveries": sorted([d["channel"], d["id"], d["state"]] for d in status.get("deliveries", []))}))


def fact_name(name):
    """Attempts, receipts and views come as often as they were tried."""
    name = re.sub(r"(attempts)/\d{6}(\.failed)?", r"\1/N", name)
    name = re.sub(r"^receipts/[^/]+/.*", "receipts/…", name)
    return re.sub(r"(views)/.*", r"\1/…", name)


def by_round(facts, base, name, plain):
    found = {}
    for key, body in facts.items():
        if key.startswith(f"{base}rounds/") and key.endswith(f"/{name}"):
            found[key.removeprefix(f"{base}rounds/").split("/")[0]] = plain.json(trimmed(json.loads(body)))
    return found


def trimmed(value, key=None):
    """Without what says when, and how often it was tried."""
    if isinstance(value, dict):
        return {name: trimmed(inner, name) for name, inner in value.items()
                if name not in VOLATILE and not name.endswith(("Time", "Due")) and name not in ("attempt", "size", "key")}
    if isinstance(value, list):
        return [trimmed(inner) for inner in value]
    return value


def package_of(body, plain):
    """What is inside: each path with its digest; the crate's own texts by name alone."""
    try:
        with zipfile.ZipFile(io.BytesIO(body)) as package:
            if broken := package.testzip():
                return [f"broken: {broken}"]
            return [f"{name} {hashlib.sha256(package.read(name)).hexdigest() if name.startswith('data/') else ''}"
                    for name in sorted(package.namelist())]
    except zipfile.BadZipFile as error:
        return [f"no zip: {error}"]


def ledger_event(event):
    event = {key: value for key, value in trimmed(event).items() if key != "id"}
    if event["kind"] == "ReleaseAttempted":  # the second attempt begins where the first broke off
        event.pop("before", None)
    if event["kind"] == "Deleted":
        # A zip has more or fewer bytes by what its times compress to, and a gateway that was
        # killed in an upload leaves a file more; that none is left is looked at by itself.
        for count in ("bytes", "objects", "versions", "uploads"):
            event["detail"].pop(count, None)
    return event


def chain_problems(entries):
    """Each entry has the hash of the one before and the next number; no event stands twice."""
    problems, previous, ids = [], "0" * 64, Counter()
    for number, body in enumerate(entries, 1):
        entry = json.loads(body)
        if entry["previous"] != previous:
            problems.append(f"ledger entry {number} does not follow on the one before")
        if entry["sequence"] != number:
            problems.append(f"ledger entry {number} has the number {entry['sequence']}")
        previous = hashlib.sha256(body).hexdigest()
        ids.update(event["id"] for event in entry["events"] if "id" in event)
    problems += [f"ledger event {event} stands {times} times" for event, times in ids.items() if times > 1]
    return problems


def digest_problems(facts, base, packages, work, lane):
    """Manifest, decision, outcome, record and package name one another by their digests."""
    problems = []
    for key, body in facts.items():
        if not (key.startswith(f"{base}rounds/") and key.endswith("/outcome.json")):
            continue
        outcome, round_ = json.loads(body), key.rpartition("/")[0]
        manifest = facts.get(f"{round_}/manifest.json")
        decision = facts.get(f"{round_}/decision.json")
        if manifest is None or decision is None:
            problems.append(f"{key} without manifest or decision")
            continue
        digest = hashlib.sha256(manifest).hexdigest()
        if digest not in decision.decode():
            problems.append(f"the decision of {round_} is not about its manifest")
        named = {entry["path"]: entry["sha256"] for entry in json.loads(manifest).get("files", [])}
        for path, sent in work.sent.items():
            if round_.endswith(f"/{max_round(facts, base)}") and named.get(path) != sent:
                problems.append(f"{path}: {named.get(path)} in the manifest, {sent} was sent")
        text = json.dumps(outcome)
        for package_key, content in packages.items():
            held = hashlib.sha256(content).hexdigest()
            moved = any(package_key in (fact or b"").decode(errors="replace") for fact in facts.values())
            if held not in text or not moved:
                problems.append(f"the package {package_key} is not the one of the outcome")
    if packages and not any(key.endswith("/outcome.json") for key in facts):
        problems.append("a package without an outcome")
    if len(packages) > 1:
        problems.append(f"{len(packages)} packages")
    return problems


def max_round(facts, base):
    rounds = [int(key.removeprefix(f"{base}rounds/").split("/")[0]) for key in facts if key.startswith(f"{base}rounds/")]
    return max(rounds, default=0)


def file_problems(keys, facts, base, work):
    """Each receipt's file is there with its size, unless it was deleted with a receipt."""
    problems = []
    if f"{base}deleted/quarantine.json" in facts:
        left = [key for key in keys if key.startswith(f"{base}files/")]
        return [f"{len(left)} files are left after the receipt of their deletion"] if left else []
    for key, body in facts.items():
        if key.startswith(f"{base}receipts/"):
            receipt = json.loads(body)
            stored = receipt.get("key")
            if stored and keys.get(stored) is None and keys.get(base + stored) is None:
                aside = stored.replace("files/", "files/aside-", 1)
                if keys.get(aside) is None:
                    problems.append(f"the file of receipt {key.removeprefix(base)} is not there")
    return problems


def deliveries(work, lane):
    return [(one["type"], one["id"]) for one in lane.webhooks.got if one["id"] and work.uid in one["id"]]


def refused_mails(state):
    """The ledger's events that say that a mail was given up at once."""
    events = [json.loads(event) for event in state["ledger"]]
    return [event for event in events if event["kind"] == "Notified" and event["detail"]["channel"] == "mail"
            and event["detail"]["state"] == "Failed" and event["detail"]["lastError"]["code"] == 550]


def with_marks_of_jobs(wanted, seen):
    """Where two processes believe that they lead, and neither loses its lease, the later one may note a Job that the
    other has forgotten. It holds nothing of what is released, and a process that loses its lease notes nothing."""
    marks = [key for key in seen["working"] if key.startswith("work/jobs/")]
    return {**wanted, "working": sorted({*wanted["working"], *marks})}, seen


def with_refusals(wanted, seen):
    """Where the mail server refused one for good: the ledger and the record say so, and all else is as it was."""
    wanted = copy.deepcopy(wanted)
    refusals = refused_mails(seen)
    if len(refusals) != 1:
        wanted["ledger"] = [*wanted["ledger"], "one mail that was refused for good"]
    for refused in refusals:
        about = refused["detail"]["notification"]
        taken = {**refused, "detail": {**refused["detail"], "state": "Delivered", "lastError": None}}
        wanted["ledger"] = sorted(json.dumps(refused, sort_keys=True) if json.loads(event) == taken else event for event in wanted["ledger"])
        for record in wanted["records"]:
            for delivery in record["deliveries"]:
                if delivery[0] == "mail" and delivery[1].endswith(about):
                    delivery[2] = "Failed"
        missing = [mail for mail in wanted["mails"] if mail not in seen["mails"]]
        wanted["mails"] = [mail for mail in wanted["mails"] if mail not in missing[:1]]
    return wanted, seen


def without_messages(*states):
    """But for who was told of what: it is told later, or was told before."""
    def without(state):
        state = copy.deepcopy(state)
        state["facts"] = [fact for fact in state["facts"] if not fact.startswith("notified/")]
        state["ledger"] = [event for event in state["ledger"] if json.loads(event)["kind"] != "Notified"]
        state["working"] = [key for key in state["working"] if not key.startswith("work/outbox/")]
        state["told"] = state["mails"] = []
        return without_deliveries(state)[0]
    return tuple(without(state) for state in states)


def without_deliveries(*states):
    """But for what a ReleaseRecord's status says of messages: a restored etcd has lost it, and no process makes it anew."""
    def without(state):
        return {**state, "records": [{key: value for key, value in record.items() if key != "deliveries"} for record in state["records"]]}
    return tuple(without(state) for state in states)


def delivery_problems(work, lane):
    """One id is of one message: the same type and content however often it comes."""
    problems, known = [], {}
    for one in lane.webhooks.got:
        if not one["id"] or work.uid not in one["id"]:
            continue
        data = {key: value for key, value in (one["data"] or {}).items() if key not in ("checkpoint", "url", "expires")} \
            if isinstance(one["data"], dict) else one["data"]
        content = (one["type"], json.dumps(data, sort_keys=True))
        if known.setdefault(one["id"], content) != content:
            problems.append(f"{one['id']} came with two contents")
        if one["webhook_id"] not in (None, one["id"]):
            problems.append(f"{one['id']} has the webhook-id {one['webhook_id']}")
    return problems


def order_problems(work, lane, base):
    """Nothing early, by when the servers had done each write: no byte outside before the decision, nothing that says
    or gives the release before the outcome, no deletion of a file before closing."""
    problems, done = [], {}
    for call in lane.journal.calls:
        if call.plane != "receiver" and call.took_effect:
            for name in ("decision.json", "outcome.json", "closed.json"):
                if f"/{base}rounds/" in call.path and call.path.endswith(f"/{name}") or call.path.endswith(f"/{base}{name}"):
                    done.setdefault(name, call.sent)
    never = float("inf")
    for call in lane.journal.calls:
        if not call.changes or not call.mentions(work.words):
            continue
        if call.plane == "release" and call.method in ("PUT", "POST") and "delete" not in call.query \
                and call.began < done.get("decision.json", never):
            problems.append(f"{call.method} {call.path} in the release bucket before the decision")
        if call.plane == "kube" and call.path.endswith("/secrets") and call.began < done.get("outcome.json", never):
            problems.append("a Secret before the outcome")
        if call.plane == "kube" and call.path.endswith("/releaserecords") and call.began < done.get("outcome.json", never):
            problems.append("a ReleaseRecord before the outcome")
    for one in lane.webhooks.got:
        if one["id"] and work.uid in one["id"] and (one["type"] or "").lower().endswith(".released") \
                and one["time"] < done.get("outcome.json", never):
            problems.append(f"{one['type']} was told before the outcome")
    return problems


def difference(reference, seen):
    """What is not as in the reference, in words."""
    found = []
    for name in reference:
        left, right = reference[name], seen[name]
        if left == right:
            continue
        if isinstance(left, list) and isinstance(right, list):
            missing = [item for item in left if item not in right]
            more = [item for item in right if item not in left]
            found += [f"{name}: missing {short(item)}" for item in missing[:4]] + [f"{name}: too much {short(item)}" for item in more[:4]]
            if not missing and not more:
                found.append(f"{name}: {len(left)} became {len(right)}")
        else:
            found.append(f"{name}: {short(left)} became {short(right)}")
    return found


def short(value):
    text = value if isinstance(value, str) else json.dumps(value, sort_keys=True, default=str)
    return text if len(text) < 500 else text[:500] + "…"

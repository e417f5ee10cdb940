"""The laboratory's own test: what is wrong is seen. On doctored end states, and with planted faults in a lane."""

import copy
import hashlib
import json

import oracles
from plans import Plan

STORY = "small"


class Stands:
    """As much of a request and a lane as the oracles ask for."""

    def __init__(self, **fields):
        self.__dict__.update(fields)


def chain(count):
    entries, previous = [], "0" * 64
    for number in range(1, count + 1):
        body = json.dumps({"sequence": number, "previous": previous, "events": [{"id": f"e{number}", "kind": "Sealed"}]}).encode()
        previous = hashlib.sha256(body).hexdigest()
        entries.append(body)
    return entries


def release(base="requests/ns/uid/"):
    """The facts of one release and its package."""
    package, sent = b"PK the package", hashlib.sha256(b"a,b").hexdigest()
    manifest = json.dumps({"files": [{"path": "t.csv", "sha256": sent}]}).encode()
    facts = {
        f"{base}rounds/1/manifest.json": manifest,
        f"{base}rounds/1/decision.json": json.dumps({"manifestDigest": hashlib.sha256(manifest).hexdigest()}).encode(),
        f"{base}rounds/1/outcome.json": json.dumps({"package": {
            "key": "releases/ns/uid/n/p.zip", "sha256": hashlib.sha256(package).hexdigest()}}).encode()}
    return facts, {"releases/ns/uid/n/p.zip": package}, Stands(sent={"t.csv": sent}, uid="uid", words=["uid"])


def still():
    """Each oracle on a state that is right, and on states that are not."""
    base = "requests/ns/uid/"
    right = chain(4)
    expect("an honest chain", oracles.chain_problems(right), wrong=False)
    changed = right[:1] + [right[1].replace(b"Sealed", b"Sealex")] + right[2:]
    expect("a changed entry", oracles.chain_problems(changed))
    expect("a missing entry", oracles.chain_problems(right[:1] + right[2:]))
    twice = json.loads(right[0])
    twice["events"] *= 2
    expect("an event that stands twice", oracles.chain_problems([json.dumps(twice).encode()]))

    facts, packages, work = release()
    expect("an honest release", oracles.digest_problems(facts, base, packages, work, None), wrong=False)
    for name, doctor in {
        "another package": lambda f, p: p.update({"releases/ns/uid/n/p.zip": b"PK another"}),
        "a second package": lambda f, p: p.update({"releases/ns/uid/m/p.zip": b"PK the package"}),
        "a package without an outcome": lambda f, p: f.pop(f"{base}rounds/1/outcome.json"),
        "a decision on something else": lambda f, p: f.update({f"{base}rounds/1/decision.json": b"{}"}),
        "other bytes than were sent": lambda f, p: f.update({f"{base}rounds/1/manifest.json": b'{"files": []}'}),
    }.items():
        facts, packages, work = release()
        doctor(facts, packages)
        expect(name, oracles.digest_problems(facts, base, packages, work, None))

    receipt = {f"{base}receipts/x/1.json": json.dumps({"key": f"{base}files/u"}).encode()}
    expect("a file with its receipt", oracles.file_problems({f"{base}files/u": 3}, receipt, base, work), wrong=False)
    expect("a file that is gone", oracles.file_problems({}, receipt, base, work))
    expect("a file after its deletion", oracles.file_problems({f"{base}files/u": 3}, {f"{base}deleted/quarantine.json": b"{}"}, base, work))

    def told(**second):
        one = {"id": "uid.1.released", "type": "a.released", "data": {"n": 1}, "webhook_id": "uid.1.released", "time": 5.0}
        return Stands(webhooks=Stands(got=[one, {**one, **second}]), journal=Stands(calls=[]))
    expect("a message that came twice", oracles.delivery_problems(work, told()), wrong=False)
    expect("an id with two contents", oracles.delivery_problems(work, told(data={"n": 2})))
    expect("an id that is not stable", oracles.delivery_problems(work, told(webhook_id="uid.2")))

    early = [write("release", "PUT", "/b/releases/ns/uid/n/p.zip", 1.0), write("quarantine", "PUT", f"/b/{base}rounds/1/decision.json", 2.0)]
    silent = Stands(got=[])
    expect("bytes outside before the decision", oracles.order_problems(work, Stands(journal=Stands(calls=early), webhooks=silent), base))
    late = [write("quarantine", "PUT", f"/b/{base}rounds/1/decision.json", 0.5), early[0]]
    expect("bytes outside after it", oracles.order_problems(work, Stands(journal=Stands(calls=late), webhooks=silent), base), wrong=False)
    secret = [*late, write("kube", "POST", "/api/v1/namespaces/ns/secrets", 3.0)]
    expect("a Secret before the outcome", oracles.order_problems(work, Stands(journal=Stands(calls=secret), webhooks=silent), base))
    told_early = told()
    expect("a release that is told before the outcome", oracles.order_problems(work, told_early, base))
    print("the oracles see what is wrong in doctored states")


def write(plane, method, path, when):
    return Stands(plane=plane, method=method, path=path, query="", began=when, sent=when, changes=True, took_effect=True,
                  mentions=lambda words: True)


def expect(name, problems, wrong=True):
    if bool(problems) != wrong:
        raise SystemExit(f"the laboratory is blind: {name}: {problems}")


def doctored(state):
    """The reference's end state, wrong in one place each."""
    for name, value in state.items():
        changed = copy.deepcopy(state)
        if isinstance(value, list):
            changed[name] = value[1:] if value else ["more"]
        elif isinstance(value, dict):
            changed[name] = {**value, "more": 1}
        elif isinstance(value, int):
            changed[name] = value + 1
        else:
            changed[name] = "more"
        yield name, changed


async def live(lab):
    """Faults that no server has, and that must be found: nothing is done and 200 is said; something is done twice."""
    known = lab.references[STORY]
    for name, changed in doctored(known["state"]):
        expect(f"another {name}", oracles.difference(known["state"], changed))
    def call(ending):
        return next(text for text, _ in known["calls"] if text.endswith(ending))
    planted = (Plan(STORY, "planted-lie", call("UID-quarantine.json"), 1), Plan(STORY, "planted-twin", call("decision.json"), 1),
               Plan(STORY, "planted-twin", call("/00000000000000000002.json"), 1))
    blind = 0
    for plan in planted:
        result = await lab.workers[0].ask({"do": "plan", "plan": str(plan), "known": known, "settles": 3})
        seen = bool(result["problems"]) and result["hits"] > 0
        print(f"{'seen' if seen else 'NOT SEEN'}: {plan}: {result['problems'][:2]}")
        blind += not seen
    return 1 if blind else 0

"""Plans: which story, which of its calls, and what becomes of that call. A plan is one line of text:

    small/kill-after/controller quarantine PUT requests/NS/UID/rounds/1/decision.json#1

the story, the mode, the call as every run of the story makes it (who, where, method, path with words in the place of
names and digests), and which of the calls that look alike. A plan that kills twice, or one made from a seed, ends with
the number of the call after the restart before which the second kill comes: `+3`.
"""

import random
import re
import urllib.parse
from dataclasses import dataclass

from faults import MAIL, MODES, MODES_THAT_COUNT, STORAGE
from oracles import Plain

QUERY = ("uploads", "partNumber", "delete", "uploadId")


@dataclass(frozen=True)
class Plan:
    story: str
    mode: str
    call: str
    nth: int
    second: int = 0

    def __str__(self):
        return f"{self.story}/{self.mode}/{self.call}#{self.nth}{f'+{self.second}' if self.second else ''}"

    @classmethod
    def parse(cls, text):
        found = re.fullmatch(r"([^/]+)/([^/]+)/(.*)#(\d+)(?:\+(\d+))?", text.strip())
        if not found or found[2] not in MODES:
            raise ValueError(f"not a plan: {text}")
        return cls(found[1], found[2], found[3], int(found[4]), int(found[5] or 0))


def signature(call, work, lane):
    """A call as every run of its story makes it."""
    plain = Plain(work)
    path = call.path
    if call.plane in ("quarantine", "release", "staging"):
        path = path.split("/", 2)[2] if path.count("/") > 1 else ""
    query = [part if part.startswith("partNumber") else part.partition("=")[0]
             for part in call.query.split("&") if part.partition("=")[0] in QUERY]
    if not path:  # a listing
        wanted = dict(urllib.parse.parse_qsl(call.query, keep_blank_values=True))
        path = f"list {wanted.get('prefix', '')}"
    text = plain(f"{path}{'?' + '&'.join(sorted(query)) if query else ''}")
    text = re.sub(r"HEX/\d+\.json|HEX/(HEX|UUID|TIME)[^/]*$", "HEX/…", text)
    text = re.sub(r"receipts/.*", "receipts/…", text)
    text = re.sub(r"/events/.*", "/events/…", text)
    if call.plane == "receiver":
        text = call.json().get("type") or "told"
    if call.plane == "kube":
        text += word_of(call)
    return f"{call.who} {call.plane} {call.method} {text.lstrip('/')}"


def word_of(call):
    """Which of the writes of one path: by the phase, state or reason that it writes."""
    body = call.json()
    if call.path.rpartition("/")[2] == "events":
        return f" {body.get('reason', '')}"
    status = body.get("status") if isinstance(body.get("status"), dict) else {}
    word = status.get("phase") or status.get("state")
    return f" {word}" if word else ""


def made_from(references, seed, modes=MODES_THAT_COUNT, at_most=None, stories=None):
    """Every call of every story in every mode that applies, in an order that the seed gives."""
    chance, plans = random.Random(seed), []
    for story in sorted(references):
        if stories and story not in stories:
            continue
        for text, nth in references[story]["calls"]:
            who, plane, method, *_ = text.split(" ")
            for mode in modes:
                if not applies(mode, who, plane, method):
                    continue
                plans.append(Plan(story, mode, text, nth, chance.randint(1, 6) if mode == "kill-twice" else 0))
    chance.shuffle(plans)
    return plans[:at_most] if at_most else plans


def of_storage(references, seed, at_most=None):
    """Every kind in which storage misbehaves, at every call of a story that it can be about, reading calls too."""
    chance, plans = random.Random(seed), []
    for story in sorted(references):
        for text, nth in references[story]["storage"]:
            _, _, method, what, *_ = text.split(" ")
            plans += [Plan(story, mode, text, nth) for mode in STORAGE if misbehaves(mode, method, what)]
    chance.shuffle(plans)
    return plans[:at_most] if at_most else plans


def misbehaves(mode, method, what):
    lists = method == "GET" and what == "list"
    if mode in ("stale-list", "duplicate-page", "short-page"):
        return lists
    if mode in ("wrong-bytes", "wrong-length"):
        return method == "GET" and not lists
    if mode == "no-encryption":
        return not lists
    return True


def applies(mode, who, plane, method):
    if plane == "mail" or mode in MAIL:
        return plane == "mail" and mode in (*MAIL, "kill-before", "kill-after", "answer-lost", "cut")
    if plane == "receiver":
        return mode in ("kill-before", "kill-after", "answer-lost", "500", "503", "429")
    if mode == "paused" and who != "controller":
        return False
    if mode == "409" and plane != "kube" and method == "DELETE":
        return False
    return True

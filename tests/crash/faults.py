"""What becomes of a call that a plan picks."""

import asyncio
import json
import re
import signal
import time
import urllib.parse

import wire

S3_ERRORS = {500: "InternalError", 503: "SlowDown", 429: "TooManyRequests", 409: "OperationAborted"}
KUBE_ERRORS = {500: "InternalError", 503: "ServiceUnavailable", 429: "TooManyRequests", 409: "Conflict"}


def error_answer(plane, status):
    """An answer as the server itself would give it."""
    if plane == "kube":
        body = json.dumps({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "code": status,
                           "reason": KUBE_ERRORS[status], "message": "as the plan wants it"}).encode()
        kind = "application/json"
    else:
        code = S3_ERRORS[status]
        body = f'<?xml version="1.0"?><Error><Code>{code}</Code><Message>as the plan wants it</Message></Error>'.encode()
        kind = "application/xml"
    headers = [("Content-Type", kind)]
    if status in (429, 503):
        headers.append(("Retry-After", "1"))
    return wire.Message(f"HTTP/1.1 {status} Fault", headers, body)


class Fault:
    """One mode. `act` gives whether the connection stays."""

    name = ""
    kills = False
    times = 1  # how many calls in a row of that kind it takes

    def __init__(self, lane):
        self.lane = lane

    async def act(self, proxy, call, request, writer):
        raise NotImplementedError

    async def mail(self, keep):
        """What the mail server says at the end of a message, after `keep` if it takes it; None: it hangs up."""
        raise NotImplementedError


class KillBefore(Fault):
    """The process ends, and the call never left it."""

    name, kills = "kill-before", True

    async def act(self, proxy, call, request, writer):
        await self.lane.kill(call.who)
        return False

    async def mail(self, keep):
        await self.lane.kill("controller")


class KillMiddle(Fault):
    """The process ends with half of the body sent; a call without a body is sent, and not awaited."""

    name, kills = "kill-middle", True

    async def act(self, proxy, call, request, writer):
        await half_of(proxy, request, self.lane.kill(call.who))
        return False


class KillAfter(Fault):
    """The server did it, and the process ends without the answer."""

    name, kills = "kill-after", True

    async def act(self, proxy, call, request, writer):
        await proxy.forward(call, request)
        await self.lane.kill(call.who)
        return False

    async def mail(self, keep):
        keep()
        await self.lane.kill("controller")


class KillAnswered(Fault):
    """The server did it, the process has the answer, and ends a moment later."""

    name, kills = "kill-answered", True

    async def act(self, proxy, call, request, writer):
        kept = await proxy.answer(call, await proxy.forward(call, request), writer)
        await asyncio.sleep(0.002)
        await self.lane.kill(call.who)
        return kept


class KillTwice(KillAfter):
    """Killed after the call, and once more during recovery: before a later call, which the plan's seed picks."""

    name = "kill-twice"

    async def act(self, proxy, call, request, writer):
        kept = await super().act(proxy, call, request, writer)
        self.lane.kill_again()
        return kept


class Lost(Fault):
    """The server did it, and the answer is lost with the connection."""

    name = "answer-lost"

    async def act(self, proxy, call, request, writer):
        await proxy.forward(call, request)
        return False

    async def mail(self, keep):
        keep()


class Cut(Fault):
    """The connection breaks in the body of the request; without a body, in the answer's."""

    name = "cut"

    async def act(self, proxy, call, request, writer):
        if request.body:
            await half_of(proxy, request, asyncio.sleep(0))
            return False
        answer = await proxy.forward(call, request)
        whole = wire.Message(answer.first, [*answer.without("content-length", "transfer-encoding"),
                                            ("Content-Length", str(len(answer.body) + 64))]).head()
        writer.write(whole + answer.body)
        await writer.drain()
        return False

    async def mail(self, keep):
        return None


class CutAnswer(Fault):
    """The connection breaks in the middle of the answer."""

    name = "cut-answer"

    async def act(self, proxy, call, request, writer):
        answer = await proxy.forward(call, request)
        head = wire.Message(answer.first, [*answer.without("content-length", "transfer-encoding"),
                                           ("Content-Length", str(len(answer.body) + 64))]).head()
        writer.write(head + answer.body[:len(answer.body) // 2])
        await writer.drain()
        return False


class Says(Fault):
    """An error in the place of the call, once, or until the client's own retries are used up."""

    def __init__(self, lane, status, effect=False, times=1):
        super().__init__(lane)
        self.status, self.effect, self.times = status, effect, times
        self.name = f"{status}{'-done' if effect else ''}{'-again' if times > 1 else ''}"

    async def act(self, proxy, call, request, writer):
        if self.effect:
            await proxy.forward(call, request)
        return await proxy.answer(call, error_answer(call.plane, self.status), writer)


class Paused(Fault):
    """The process stands still with the call in hand; another one leads and does the work; then it wakes, and what it had
    in hand arrives late."""

    name = "paused"

    async def act(self, proxy, call, request, writer):
        if call.who != "controller":
            return await proxy.answer(call, await proxy.forward(call, request), writer)
        process = self.lane.processes["controller"]
        process.signal(signal.SIGSTOP)
        try:
            await self.lane.second_leads()
            await asyncio.sleep(3)
        finally:
            process.signal(signal.SIGCONT)
        return await proxy.answer(call, await proxy.forward(call, request), writer)


class Lie(Fault):
    """200, and nothing is done. No server does that: the laboratory's own test that it sees what is missing."""

    name = "planted-lie"

    async def act(self, proxy, call, request, writer):
        answer = wire.Message("HTTP/1.1 200 OK", [("ETag", '"0"'), ("x-amz-server-side-encryption", "AES256")])
        return await proxy.answer(call, answer, writer)


class Twice(Fault):
    """The call is sent a second time under another key: the laboratory's own test that it sees what is too much."""

    name = "planted-twin"

    async def act(self, proxy, call, request, writer):
        answer = await proxy.forward(call, request)
        await self.lane.plants_a_twin(call)
        return await proxy.answer(call, answer, writer)


class MailDeferred(Fault):
    """The mail server is to be asked again later (RFC 5321, 4yz)."""

    name = "mail-deferred"

    async def mail(self, keep):
        return "451 4.7.1 as the plan wants it"


class MailRefused(Fault):
    """The mail server refuses for good (5yz)."""

    name = "mail-refused"

    async def mail(self, keep):
        return "550 5.7.1 as the plan wants it"


class MailLate(Fault):
    """The mail server takes the message, and says so when nobody waits any more."""

    name = "mail-late"

    async def mail(self, keep):
        keep()
        await asyncio.sleep(25)
        return "250 OK"


class Slow(Fault):
    """The answer takes two seconds."""

    name = "slow"

    async def act(self, proxy, call, request, writer):
        await asyncio.sleep(2)
        return await proxy.answer(call, await proxy.forward(call, request), writer)


class WrongBytes(Fault):
    """One bit of what is read is another."""

    name = "wrong-bytes"

    async def act(self, proxy, call, request, writer):
        answer = await proxy.forward(call, request)
        if answer.body:
            at = len(answer.body) // 2
            answer.body = answer.body[:at] + bytes([answer.body[at] ^ 1]) + answer.body[at + 1:]
        return await proxy.answer(call, answer, writer)


class WrongLength(Fault):
    """What is read is shorter than what was stored, and its length says so."""

    name = "wrong-length"

    async def act(self, proxy, call, request, writer):
        answer = await proxy.forward(call, request)
        answer.body = answer.body[:max(0, len(answer.body) - 3)]
        return await proxy.answer(call, answer, writer)


class StaleList(Fault):
    """A listing without what was stored last."""

    name = "stale-list"

    async def act(self, proxy, call, request, writer):
        answer = await proxy.forward(call, request)
        entries = list(re.finditer(rb"<Contents>.*?</Contents>", answer.body, re.DOTALL))
        if entries:
            newest = max(entries, key=lambda entry: (re.search(rb"<LastModified>(.*?)<", entry[0])[1], entry[0]))
            answer.body = answer.body[:newest.start()] + answer.body[newest.end():]
            answer.body = re.sub(rb"<KeyCount>\d+<", b"<KeyCount>%d<" % (len(entries) - 1), answer.body)
        return await proxy.answer(call, answer, writer)


class DuplicatePage(Fault):
    """A listing with each of its entries twice."""

    name = "duplicate-page"

    async def act(self, proxy, call, request, writer):
        answer = await proxy.forward(call, request)
        answer.body = re.sub(rb"(<Contents>.*?</Contents>)", rb"\1\1", answer.body, flags=re.DOTALL)
        return await proxy.answer(call, answer, writer)


class ShortPage(Fault):
    """A page of one key; who lists has to ask for the next."""

    name = "short-page"

    async def act(self, proxy, call, request, writer):
        wanted = dict(urllib.parse.parse_qsl(call.query, keep_blank_values=True)) | {"max-keys": "1"}
        wanted.pop("x-id", None)
        found = await self.lane.buckets[call.plane].call("GET", "", list(wanted.items()))
        call.status, call.sent = found.status, time.monotonic()
        return await proxy.answer(call, found, writer)


class NoEncryption(Fault):
    """The answer does not say that the object is encrypted."""

    name = "no-encryption"

    async def act(self, proxy, call, request, writer):
        answer = await proxy.forward(call, request)
        answer.headers = [pair for pair in answer.headers if not pair[0].lower().startswith("x-amz-server-side-encryption")]
        return await proxy.answer(call, answer, writer)


class Answers(Fault):
    """An S3 error in the place of the call, for so many calls in a row."""

    def __init__(self, lane, name, status, code, times, headers=()):
        super().__init__(lane)
        self.name, self.status, self.code, self.times, self.headers = name, status, code, times, headers

    async def act(self, proxy, call, request, writer):
        body = f'<?xml version="1.0"?><Error><Code>{self.code}</Code><Message>as the plan wants it</Message></Error>'.encode()
        return await proxy.answer(call, wire.Message(f"HTTP/1.1 {self.status} Fault", [("Content-Type", "application/xml"), *self.headers], body), writer)


class Skewed(Fault):
    """The server's clock is twenty minutes ahead in this answer."""

    name = "skew"

    async def act(self, proxy, call, request, writer):
        proxy.skew = 1200
        try:
            return await proxy.answer(call, await proxy.forward(call, request), writer)
        finally:
            proxy.skew = 0


async def half_of(proxy, request, meanwhile):
    reader, upstream = await wire.connect(proxy.host, proxy.port, proxy.upstream_tls)
    try:
        upstream.write(request.head() + request.body[:len(request.body) // 2])
        await upstream.drain()
        await meanwhile
    finally:
        await wire.close(upstream)


MAIL = {"mail-deferred": MailDeferred, "mail-refused": MailRefused, "mail-late": MailLate}

MODES = {
    "kill-before": KillBefore, "kill-middle": KillMiddle, "kill-after": KillAfter, "kill-answered": KillAnswered,
    "kill-twice": KillTwice, "answer-lost": Lost, "cut": Cut,
    "500": lambda lane: Says(lane, 500), "500-done": lambda lane: Says(lane, 500, effect=True),
    "500-again": lambda lane: Says(lane, 500, times=4), "503": lambda lane: Says(lane, 503),
    "503-again": lambda lane: Says(lane, 503, times=4), "429": lambda lane: Says(lane, 429),
    "409": lambda lane: Says(lane, 409), "paused": Paused,
    "planted-lie": Lie, "planted-twin": Twice, **MAIL,
}
MODES_THAT_COUNT = [mode for mode in MODES if not mode.startswith("planted")]

# How a storage server misbehaves, at reading calls too.
STORAGE = {
    "slow": Slow, "cut-answer": CutAnswer, "wrong-bytes": WrongBytes, "wrong-length": WrongLength, "stale-list": StaleList,
    "duplicate-page": DuplicatePage, "short-page": ShortPage, "no-encryption": NoEncryption, "skew": Skewed,
    "burst": lambda lane: Answers(lane, "burst", 503, "SlowDown", 5),
    "expired": lambda lane: Answers(lane, "expired", 400, "ExpiredToken", 3),
    "redirect": lambda lane: Answers(lane, "redirect", 307, "TemporaryRedirect", 1, [("Location", "http://127.0.0.1:9/elsewhere")]),
}
MODES |= STORAGE

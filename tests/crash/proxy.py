"""The counting proxy: between one process of ours and one server. TLS of the API server is ended and made again; the
Host of S3 passes as it is, since it is signed. What passes is written down, and what a plan picks is spoilt."""

import asyncio
import json
import re
import time
import urllib.parse
from dataclasses import dataclass, field

import wire

ASKING = re.compile(r"/(selfsubject|subjectaccess|localsubjectaccess|token)reviews$|/serviceaccounts/[^/]+/token$")
OURS = re.compile(r"^(/apis/airlock\.karectl\.io/v1alpha1|/apis/batch/v1)/(airlock\w+|releaserecords|jobs)(?=$|/?$)")
CLUSTER_WIDE = ("airlockpolicies",)
SHOWN = 1 << 16  # of a body: enough to see what a call is about


@dataclass
class Call:
    """One call that passed, or did not."""

    number: int
    who: str  # controller, gateway, job
    plane: str  # kube, quarantine, release, staging, receiver, mail
    method: str
    path: str
    query: str
    about: bytes  # the beginning of its body
    host: str = ""
    began: float = 0.0
    sent: float = 0.0  # when the server had done it
    status: int = 0
    fault: str = ""
    size: int = 0
    answered: bytes = field(default=b"", repr=False)

    @property
    def changes(self):
        """Whether it asks for something to be another than before."""
        if self.method in ("GET", "HEAD", "OPTIONS"):
            return False
        if self.plane == "kube":
            return "dryRun=" not in self.query and not ASKING.search(self.path)
        return True

    @property
    def took_effect(self):
        return self.changes and 200 <= self.status < 300

    def mentions(self, words):
        text = f"{self.path}?{self.query}"
        return any(word in text or word.encode() in self.about for word in words)

    def json(self):
        try:
            return json.loads(self.about)
        except ValueError:
            return {}


class Journal:
    """Every call of a lane, and who is asked what is to become of it."""

    def __init__(self):
        self.calls, self.count, self.picker = [], 0, None

    def clear(self):
        self.calls = []

    def new_call(self, who, plane, method, path, body, **more):
        self.count += 1
        call = Call(self.count, who, plane, method, path, more.pop("query", ""), body[:SHOWN], began=time.monotonic(),
                    size=len(body), **more)
        self.calls.append(call)
        return call


class Proxy:
    """Listens for one process and passes on to one server.

    `narrow` is a namespace: lists and watches of the whole cluster of our kinds become those of this namespace, so
    that several controllers work on one cluster and none sees another's requests."""

    def __init__(self, journal, who, plane, host, port, narrow=None, upstream_tls=None, serving_tls=None):
        self.journal, self.who, self.plane, self.host, self.port = journal, who, plane, host, port
        self.narrow, self.upstream_tls, self.serving_tls = narrow, upstream_tls, serving_tls
        self.idle, self.tasks, self.watches, self.skew, self.server = [], set(), None, 0, None

    async def start(self, port=0):
        self.server = await asyncio.start_server(self.serve, "127.0.0.1", port, ssl=self.serving_tls, limit=wire.LIMIT)
        self.listens = self.server.sockets[0].getsockname()[1]
        return self

    async def stop(self):
        self.server.close()
        for task in list(self.tasks):
            task.cancel()

    @property
    def url(self):
        return f"{'https' if self.serving_tls else 'http'}://127.0.0.1:{self.listens}"

    async def serve(self, reader, writer):
        task = asyncio.current_task()
        self.tasks.add(task)
        try:
            while await self.one(reader, writer):
                pass
        except (wire.Broken, OSError, asyncio.CancelledError):
            pass
        finally:
            self.tasks.discard(task)
            await wire.close(writer)

    async def one(self, reader, writer):
        """One request of a connection; whether it is kept."""
        request = await wire.read_head(reader)
        method, target, _ = request.first.split(" ", 2)
        if request.header("expect", "").lower() == "100-continue":
            writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
            request.headers = request.without("expect")
        request.body = await wire.read_body(reader, request)
        if "chunked" in request.header("transfer-encoding", "").lower():
            # A body of unknown length is passed on as one of known length.
            request.headers = [*request.without("transfer-encoding"), ("Content-Length", str(len(request.body)))]
        path, _, query = target.partition("?")
        if self.narrow and (kind := OURS.match(path)) and kind[2] not in CLUSTER_WIDE and method == "GET":
            path = f"{kind[1]}/namespaces/{self.narrow}/{kind[2]}"
            request.first = f"{method} {path}{'?' + query if query else ''} HTTP/1.1"
        journal = self.journal
        call = journal.new_call(self.who, self.plane, method, urllib.parse.unquote(path), request.body, query=query,
                                host=request.header("host", ""))
        if "watch=true" in query or "watch=1" in query:
            await self.watch(call, request, writer)
            return False
        fault = journal.picker(call) if journal.picker else None
        if fault:
            call.fault = fault.name
            return await fault.act(self, call, request, writer)
        answer = await self.forward(call, request)
        return await self.answer(call, answer, writer)

    async def forward(self, call, request):
        """Sends it to the server and reads the answer to its end."""
        while True:
            fresh = not self.idle
            pair = await wire.connect(self.host, self.port, self.upstream_tls) if fresh else self.idle.pop()
            reader, writer = pair
            try:
                writer.write(request.head() + request.body)
                await writer.drain()
                answer = await wire.read_head(reader)
                while answer.status == 100:
                    answer = await wire.read_head(reader)
                if not wire.has_no_body(call.method, answer.status):
                    answer.body = await wire.read_body(reader, answer, to_the_end=True)
            except (wire.Broken, OSError):
                await wire.close(writer)
                if fresh:
                    raise wire.Broken("the server ended the connection") from None
                continue  # it was idle, and closed meanwhile
            if answer.header("connection", "").lower() == "close" or self.plane == "receiver":
                await wire.close(writer)
            else:
                self.idle.append(pair)
            call.status, call.sent, call.answered = answer.status, time.monotonic(), answer.body[:SHOWN]
            return answer

    async def answer(self, call, answer, writer):
        """Gives the answer, with a length that is known."""
        headers = answer.without("transfer-encoding", "connection", "content-length")
        if self.skew:
            later = time.strftime("%a, %d %b %Y %H:%M:%S GMT", time.gmtime(time.time() + self.skew))
            headers = [(key, later if key.lower() == "date" else value) for key, value in headers]
        length = answer.header("content-length") if call.method == "HEAD" else str(len(answer.body))
        if answer.status != 204 and length is not None:
            headers.append(("Content-Length", length))
        writer.write(wire.Message(answer.first, headers).head() + (b"" if call.method == "HEAD" else answer.body))
        await writer.drain()
        return True

    async def watch(self, call, request, writer):
        """Passes a watch on, event by event; `watches` may hold it, or answer in its place."""
        upstream_reader, upstream = await wire.connect(self.host, self.port, self.upstream_tls)
        try:
            upstream.write(request.head() + request.body)
            answer = await wire.read_head(upstream_reader)
            call.status = answer.status
            if answer.status != 200 or "chunked" not in answer.header("transfer-encoding", "").lower():
                answer.body = await wire.read_body(upstream_reader, answer)
                await self.answer(call, answer, writer)
                return
            writer.write(answer.head())
            rest = b""
            while part := await wire.read_chunk(upstream_reader):
                *lines, rest = (rest + part).split(b"\n")
                for line in filter(None, lines):
                    if self.watches:
                        line = await self.watches.passes(call, line)
                    if line is None:
                        continue
                    writer.write(b"%x\r\n%s\n\r\n" % (len(line) + 1, line))
                await writer.drain()
            writer.write(b"0\r\n\r\n")
            await writer.drain()
        finally:
            await wire.close(upstream)

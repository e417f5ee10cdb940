"""HTTP/1.1 on asyncio streams: what the proxy and the clients here share. Nothing of it interprets content."""

import asyncio
import contextlib
import ssl
from dataclasses import dataclass, field

LIMIT = 1 << 20  # of a head, and of a line of a chunked body
IDLE = 8  # connections that a client keeps


class Broken(Exception):
    """The other side ended, or what it sent is not HTTP."""


@dataclass
class Message:
    """A request or an answer: its first line, its headers as they were sent, and its body."""

    first: str
    headers: list = field(default_factory=list)
    body: bytes = b""

    def header(self, name, default=None):
        return next((value for key, value in self.headers if key.lower() == name), default)

    def without(self, *names):
        return [(key, value) for key, value in self.headers if key.lower() not in names]

    @property
    def status(self):
        return int(self.first.split(" ", 2)[1])

    def head(self):
        lines = [self.first, *(f"{key}: {value}" for key, value in self.headers)]
        return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")


async def read_head(reader):
    try:
        raw = await reader.readuntil(b"\r\n\r\n")
    except (asyncio.IncompleteReadError, asyncio.LimitOverrunError, OSError) as error:
        raise Broken(str(error)) from None
    first, *lines = raw[:-4].decode("latin-1").split("\r\n")
    pairs = (line.partition(":") for line in lines)
    return Message(first, [(key, value.strip()) for key, _, value in pairs])


async def read_chunk(reader):
    """One chunk of a chunked body; empty at its end."""
    try:
        size = int((await reader.readuntil(b"\r\n")).split(b";")[0], 16)
        if size == 0:
            while await reader.readuntil(b"\r\n") != b"\r\n":
                pass
            return b""
        return (await reader.readexactly(size + 2))[:-2]
    except (asyncio.IncompleteReadError, asyncio.LimitOverrunError, ValueError, OSError) as error:
        raise Broken(str(error)) from None


async def read_body(reader, message, to_the_end=False):
    """The whole body, as its headers say how long it is."""
    if "chunked" in message.header("transfer-encoding", "").lower():
        parts = []
        while part := await read_chunk(reader):
            parts.append(part)
        return b"".join(parts)
    length = message.header("content-length")
    try:
        if length is not None:
            return await reader.readexactly(int(length))
        return await reader.read() if to_the_end else b""
    except (asyncio.IncompleteReadError, OSError) as error:
        raise Broken(str(error)) from None


def has_no_body(method, status):
    return method == "HEAD" or status in (204, 304) or 100 <= status < 200


async def connect(host, port, tls=None):
    try:
        return await asyncio.open_connection(host, port, ssl=tls, limit=LIMIT)
    except (OSError, ssl.SSLError) as error:
        raise Broken(str(error)) from None


async def close(writer):
    with contextlib.suppress(Exception):
        writer.close()


class Client:
    """A client of one server, which keeps connections for calls that only read."""

    def __init__(self, host, port, tls=None):
        self.host, self.port, self.tls, self.idle = host, port, tls, []

    async def call(self, method, target, headers=(), body=b"", timeout=60):
        """The answer, read to its end. A connection that was idle and turns out closed is no failure."""
        async def once(pair):
            reader, writer = pair
            request = Message(f"{method} {target} HTTP/1.1", [("Host", f"{self.host}:{self.port}"), *headers])
            if body or method in ("PUT", "POST", "PATCH"):
                request.headers.append(("Content-Length", str(len(body))))
            try:
                if waits := request.header("expect"):  # an answer that comes before the body would be lost in a closed connection
                    writer.write(request.head())
                    await writer.drain()
                    answer = await read_head(reader)
                if not waits or answer.status == 100:
                    writer.write(body if waits else request.head() + body)
                    await writer.drain()
                    answer = await read_head(reader)
                while answer.status == 100:
                    answer = await read_head(reader)
                if not has_no_body(method, answer.status):
                    answer.body = await read_body(reader, answer, to_the_end=True)
            except (OSError, Broken) as error:
                await close(writer)
                raise Broken(str(error)) from None
            except BaseException:
                await close(writer)
                raise
            if answer.header("connection", "").lower() == "close" or len(self.idle) >= IDLE:
                await close(writer)
            else:
                self.idle.append(pair)
            return answer

        async def tried():
            # What changes something goes by a connection of its own: a server that closes an idle one just now
            # does not say whether it took the call.
            while self.idle and method in ("GET", "HEAD"):
                pair = self.idle.pop()
                if pair[0].at_eof():
                    await close(pair[1])
                    continue
                with contextlib.suppress(Broken):
                    return await once(pair)
            return await once(await connect(self.host, self.port, self.tls))

        try:
            return await asyncio.wait_for(tried(), timeout)
        except asyncio.TimeoutError:
            raise Broken(f"{method} {target}: no answer after {timeout} s") from None

"""A proxy in front of an S3 server that notes each call, and counts of the API server's writes."""

import asyncio
import collections
import re
import threading
import time
import urllib.parse

READS = ("GET", "HEAD")
CHUNK = 1 << 16


class Proxy:
    """Passes bytes on as they are (the Host header is signed) and notes (time, operation, key)."""

    def __init__(self, endpoint):
        self.server = urllib.parse.urlsplit(endpoint)
        self.calls = []
        self.loop = asyncio.new_event_loop()
        listening = threading.Event()
        threading.Thread(target=self.run, args=[listening], daemon=True).start()
        if not listening.wait(10):
            raise RuntimeError("the counting proxy did not start")

    def run(self, listening):
        async def serve():
            server = await asyncio.start_server(self.connection, "127.0.0.1", 0)
            self.endpoint = "http://127.0.0.1:%d" % server.sockets[0].getsockname()[1]
            listening.set()
            await server.serve_forever()
        self.loop.run_until_complete(serve())

    async def connection(self, reader, writer):
        from_server, to_server = await asyncio.open_connection(self.server.hostname, self.server.port)
        back = asyncio.ensure_future(pass_on(from_server, writer))
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                self.note(head)
                to_server.write(head)
                await pass_on(reader, to_server, body_length(head))
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            to_server.close()
            await asyncio.gather(back, return_exceptions=True)

    def note(self, head):
        method, target, _ = head.split(b"\r\n", 1)[0].decode().split(" ", 2)
        url = urllib.parse.urlsplit(target)
        key = urllib.parse.unquote(url.path).split("/", 2)[2:]
        query = dict(urllib.parse.parse_qsl(url.query, keep_blank_values=True))
        self.calls.append((time.monotonic(), operation(method, bool(key and key[0]), query), key[0] if key else ""))


async def pass_on(reader, writer, left=None):
    """Copies `left` bytes, or all there are; then closes."""
    try:
        while left != 0:
            data = await reader.read(CHUNK if left is None else min(left, CHUNK))
            if not data:
                break
            writer.write(data)
            await writer.drain()
            left = left if left is None else left - len(data)
    finally:
        if left is None:
            writer.close()


def body_length(head):
    lengths = re.search(rb"\r\ncontent-length: *(\d+)", head, re.IGNORECASE)
    if re.search(rb"\r\ntransfer-encoding:", head, re.IGNORECASE):
        raise RuntimeError("the counting proxy passes on bodies of a stated length only")
    return int(lengths[1]) if lengths else 0


def operation(method, of_object, query):
    if not of_object:
        listings = {"uploads": "ListMultipartUploads", "versions": "ListObjectVersions", "delete": "DeleteObjects",
                    "list-type": "ListObjectsV2"}
        return next((name for word, name in listings.items() if word in query), f"{method} bucket")
    if "uploads" in query:
        return "CreateMultipartUpload"
    if "uploadId" in query:
        return {"PUT": "UploadPart", "POST": "CompleteMultipartUpload", "DELETE": "AbortMultipartUpload"}.get(method, "ListParts")
    return {"GET": "GetObject", "HEAD": "HeadObject", "PUT": "PutObject", "DELETE": "DeleteObject"}.get(method, method)


def is_write(name):
    return not name.startswith(("Get", "Head", "List"))


def subject(key):
    """What a key is about, without the request's own names."""
    for start, name in (("audit/", "ledger"), ("releases/", "package"), ("records/", "record"), ("work/urls/", "url"),
                        ("work/retention/", "retention ticket")):
        if key.startswith(start):
            return name
    found = re.search(r"requests/[^/]+/[^/]+/(files/|receipts/|rounds/\d+/attempts/|rounds/\d+/)?(.*)", key)
    if not found:
        return key
    if found[1] and not found[1].endswith(tuple(f"{n}/" for n in range(10))):
        return found[1].split("/")[-2].removesuffix("s")
    return found[2] or "round"


LINE = re.compile(r'^apiserver_request_total\{(.*)\} (\S+)$', re.MULTILINE)


def api_requests(metrics):
    """Requests so far, by verb and resource."""
    found = collections.Counter()
    for labels, count in LINE.findall(metrics):
        label = dict(re.findall(r'(\w+)="([^"]*)"', labels))
        resource = "/".join(filter(None, (label["resource"], label.get("subresource"))))
        found[label["verb"], resource] += float(count)
    return found

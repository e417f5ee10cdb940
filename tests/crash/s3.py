"""A bucket, read and written with the server's root credentials: AWS Signature 4, XML, and no library."""

import hashlib
import hmac
import time
import urllib.parse
import xml.etree.ElementTree as ElementTree

from wire import Client

REGION = "us-east-1"


class Refused(Exception):
    """The server did not do it."""


class Bucket:
    """One bucket. It speaks to the server itself, never through the proxy."""

    def __init__(self, endpoint, name, keys):
        where = urllib.parse.urlsplit(endpoint)
        self.client, self.name, self.keys = Client(where.hostname, where.port), name, keys

    async def call(self, method, key="", query=(), body=b"", headers=()):
        path = urllib.parse.quote(f"/{self.name}/{key}" if key else f"/{self.name}")
        text = "&".join(f"{quoted(name)}={quoted(value)}" for name, value in sorted(query))
        signed = sign(method, path, text, f"{self.client.host}:{self.client.port}", self.keys, body, dict(headers))
        return await self.client.call(method, f"{path}?{text}" if text else path, signed.items(), body)

    async def checked(self, *arguments, **more):
        answer = await self.call(*arguments, **more)
        if answer.status >= 300:
            raise Refused(f"{arguments}: {answer.status} {answer.body[:300]!r}")
        return answer

    async def create(self):
        answer = await self.call("PUT")
        if answer.status not in (200, 409):
            raise Refused(f"bucket {self.name}: {answer.status} {answer.body[:300]!r}")

    async def policy(self, text):
        await self.checked("PUT", "", [("policy", "")], text.encode())

    async def get(self, key):
        answer = await self.call("GET", key)
        if answer.status == 404:
            return None
        if answer.status != 200:
            raise Refused(f"{key}: {answer.status} {answer.body[:300]!r}")
        return answer.body

    async def put(self, key, body):
        await self.checked("PUT", key, body=body, headers={"x-amz-server-side-encryption": "AES256"})

    async def delete(self, key):
        await self.checked("DELETE", key)

    async def keys_below(self, prefix):
        """Every key and its size, page by page."""
        found, query = {}, [("list-type", "2"), ("prefix", prefix)]
        more = []
        while True:
            tree = parsed((await self.checked("GET", "", query + more)).body)
            for entry in tree.iter("Contents"):
                found[entry.findtext("Key")] = int(entry.findtext("Size"))
            token = tree.findtext("NextContinuationToken")
            if tree.findtext("IsTruncated") != "true" or not token:
                return found
            more = [("continuation-token", token)]

    async def open_uploads(self, prefix):
        tree = parsed((await self.checked("GET", "", [("uploads", ""), ("prefix", prefix)])).body)
        return [key for entry in tree.iter("Upload") if (key := entry.findtext("Key")).startswith(prefix)]


def quoted(text):
    return urllib.parse.quote(text, safe="-_.~")


def parsed(body):
    tree = ElementTree.fromstring(body)
    for element in tree.iter():
        element.tag = element.tag.rpartition("}")[2]
    return tree


def digest(key, text):
    return hmac.new(key, text.encode(), hashlib.sha256).digest()


def sign(method, path, query, host, keys, body, more):
    now = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
    content = hashlib.sha256(body).hexdigest()
    headers = {**more, "x-amz-content-sha256": content, "x-amz-date": now}
    signed = {"host": host, **{name.lower(): value for name, value in headers.items()}}
    names = ";".join(sorted(signed))
    lines = "".join(f"{name}:{signed[name]}\n" for name in sorted(signed))
    scope = f"{now[:8]}/{REGION}/s3/aws4_request"
    canonical = f"{method}\n{path}\n{query}\n{lines}\n{names}\n{content}"
    text = f"AWS4-HMAC-SHA256\n{now}\n{scope}\n{hashlib.sha256(canonical.encode()).hexdigest()}"
    key = ("AWS4" + keys["secret_access_key"]).encode()
    for part in (now[:8], REGION, "s3", "aws4_request"):
        key = digest(key, part)
    signature = hmac.new(key, text.encode(), hashlib.sha256).hexdigest()
    headers["authorization"] = (f"AWS4-HMAC-SHA256 Credential={keys['access_key_id']}/{scope}, "
                                f"SignedHeaders={names}, Signature={signature}")
    return headers

"""S3 with the standard library: pre-signed URLs, and the few calls that the bench makes with them."""

import hashlib
import hmac
import http.client
import time
import urllib.parse
import xml.etree.ElementTree as xml

REGION = "us-east-1"
HOUR = 3600


def presign(place, method, key="", query=None, headers=None):
    """A URL for one call, good for an hour; `headers` must be sent as they are signed."""
    host = urllib.parse.urlsplit(place["endpoint"]).netloc
    now = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
    scope = f"{now[:8]}/{REGION}/s3/aws4_request"
    headers = {"host": host, **(headers or {})}
    signed = ";".join(sorted(headers))
    query = {**(query or {}), "X-Amz-Algorithm": "AWS4-HMAC-SHA256", "X-Amz-Date": now, "X-Amz-Expires": str(HOUR),
             "X-Amz-Credential": f"{place['root']['access_key_id']}/{scope}", "X-Amz-SignedHeaders": signed}
    path = urllib.parse.quote(f"/{place['bucket']}/{key}")
    pairs = "&".join(f"{quoted(name)}={quoted(value)}" for name, value in sorted(query.items()))
    lines = "".join(f"{name}:{value}\n" for name, value in sorted(headers.items()))
    request = "\n".join([method, path, pairs, lines, signed, "UNSIGNED-PAYLOAD"])
    text = "\n".join(["AWS4-HMAC-SHA256", now, scope, hashlib.sha256(request.encode()).hexdigest()])
    secret = ("AWS4" + place["root"]["secret_access_key"]).encode()
    for word in (*scope.split("/"), text):
        secret = hmac.digest(secret, word.encode(), "sha256")
    return f"{place['endpoint']}{path}?{pairs}&X-Amz-Signature={secret.hex()}"


def quoted(text):
    return urllib.parse.quote(text, safe="-_.~")


class S3:
    """One bucket, over one connection."""

    def __init__(self, place):
        self.place = place
        self.connection = http.client.HTTPConnection(urllib.parse.urlsplit(place["endpoint"]).netloc, timeout=60)

    def call(self, method, key="", query=None):
        url = urllib.parse.urlsplit(presign(self.place, method, key, query))
        try:
            answer, body = self.ask(method, url)
        except (http.client.RemoteDisconnected, ConnectionError):  # the server closes what was idle for long
            self.connection.close()
            answer, body = self.ask(method, url)
        if answer.status >= 400 and answer.status != 404:
            raise RuntimeError(f"{method} {self.place['bucket']}/{key}: {answer.status} {body[:300]!r}")
        return answer.status, body

    def ask(self, method, url):
        self.connection.request(method, f"{url.path}?{url.query}")
        answer = self.connection.getresponse()
        return answer, answer.read()

    def there(self, key):
        return self.call("HEAD", key)[0] == 200

    def get(self, key):
        status, body = self.call("GET", key)
        return body if status == 200 else None

    def list(self, prefix):
        """Every object under a prefix: key and size."""
        found, query = [], {"list-type": "2", "prefix": prefix}
        while True:
            page = xml.fromstring(self.call("GET", query=query)[1])
            space = page.tag[:page.tag.find("}") + 1]
            found += [{"key": entry.findtext(f"{space}Key"), "size": int(entry.findtext(f"{space}Size"))}
                      for entry in page.iter(f"{space}Contents")]
            following = page.findtext(f"{space}NextContinuationToken")
            if not following:
                return found
            query["continuation-token"] = following

    def delete(self, key):
        self.call("DELETE", key)

"""A few calls to the API server, without kubectl: JSON over HTTPS with a bearer token."""

import http.client
import json
import ssl
import time

from tools import Failed


class Kube:
    """The API server, as one user."""

    def __init__(self, port, ca, token):
        self.port, self.token = port, token
        self.tls = ssl.create_default_context(cafile=str(ca))

    def call(self, method, path, body=None):
        """(status, answer): JSON where it is JSON."""
        connection = http.client.HTTPSConnection("127.0.0.1", self.port, context=self.tls, timeout=10)
        try:
            connection.request(method, path, json.dumps(body) if body is not None else None, {
                "Authorization": f"Bearer {self.token}", "Content-Type": "application/json", "Accept": "application/json"})
            answer = connection.getresponse()
            text = answer.read()
        finally:
            connection.close()
        try:
            return answer.status, json.loads(text)
        except ValueError:
            return answer.status, text.decode(errors="replace")

    def create(self, path, body, seconds=15):
        """Create an object; one of that name is left as it is. What is not there yet is waited for."""
        deadline = time.monotonic() + seconds
        while True:
            status, answer = self.call("POST", path, body)
            if status in (200, 201, 202) or (status == 409 and answer.get("reason") == "AlreadyExists"):
                return answer
            if status not in (403, 404, 429, 500, 503) or time.monotonic() > deadline:
                name = body.get("metadata", {}).get("name")
                raise Failed(f"the API server refused {body.get('kind')} {name}: {status} {answer}")
            time.sleep(0.1)

    def ready(self):
        try:
            return self.call("GET", "/readyz")[0] == 200
        except (OSError, http.client.HTTPException):
            return False

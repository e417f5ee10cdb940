"""Validates a folder as an RO-Crate 1.2 without a network; runs under the validator's own Python.

    . target/env/env.sh && $TREVOR_CRATE_PYTHON tests/env/validate_crate.py FOLDER [SEVERITY]

The public validator fetches the JSON-LD context from w3id.org: here its HTTP
cache is filled with the pinned copy first, and it is run with --offline. Prints
the findings as JSON; exits 0 if there is none of SEVERITY (default RECOMMENDED) or above.
"""

import io
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import requests
import requests_cache

CONTEXT = "https://w3id.org/ro/crate/1.2/context"


class Pinned(requests.adapters.BaseAdapter):
    """Answers every request with the pinned context."""

    def send(self, request, **_):
        answer = requests.Response()
        answer.status_code, answer.url, answer.request = 200, request.url, request
        answer.headers["Content-Type"] = "application/ld+json"
        # requests-cache stores urllib3's answer.
        answer.raw = requests.packages.urllib3.HTTPResponse(
            body=io.BytesIO(Path(os.environ["TREVOR_CRATE_CONTEXT"]).read_bytes()), headers=answer.headers,
            status=200, request_url=request.url, preload_content=False)
        return answer

    def close(self):
        pass


def main(crate, severity="RECOMMENDED"):
    with tempfile.TemporaryDirectory() as folder:
        cache, report = Path(folder, "cache"), Path(folder, "report.json")
        with requests_cache.CachedSession(cache_name=str(cache), backend="sqlite", expire_after=-1) as session:
            session.mount("https://", Pinned())
            session.get(CONTEXT)
        done = subprocess.run([
            Path(sys.executable).with_name("rocrate-validator"), "-y", "--disable-color", "validate", crate,
            "--profile-identifier", "ro-crate-1.2", "--no-auto-profile", "--requirement-severity", severity,
            "--offline", "--cache-path", cache, "--cache-max-age", "-1",
            "--output-format", "json", "--output-file", report], stdin=subprocess.DEVNULL, capture_output=True, text=True)
        print(report.read_text() if report.exists() else done.stdout + done.stderr)
        return done.returncode


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))

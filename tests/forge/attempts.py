"""Attempts on the API server, with what must come of each."""

import re

from kubernetes import until

RELEASE, HOME = "trevor", "trevor-system"  # the chart's release, and its namespace
DENIED = re.compile(r"ValidatingAdmissionPolicy '" + RELEASE + r"-([a-z-]+)' with binding '" + RELEASE + r"-\1' denied request")


class Attempts:
    """One way of trying each thing; every result is a row of the table."""

    def __init__(self, api, table, fills=True, without=False):
        self.api, self.table, self.fills, self.without = api, table, fills, without
        self.denials = self.through = 0

    def deny(self, name, policy, who, verb, path, body=None, says=None, **query):
        """Refused by this policy (one of `a|b`; the API server names one that refuses): for real, and as a dry run."""
        for dry in (True,) if self.without else (False, True):
            status, answer = self.api.call(who, verb, path, body, **({"dryRun": "All"} if dry else {}), **query)
            message = answer.get("message", "")
            self.denials += 1
            if self.without:
                self.through += status in (200, 201, 202)
                continue
            if status == 422 and "disallowed by cluster policy" in message:
                continue  # the API server runs with --allow-privileged=false
            got, any_of = outcome(status, message), [f"403 {one}" for one in policy.split("|")]
            if says is not None and says not in message:
                got += ", other words"
            self.table.row(name + (" (dry run)" if dry else ""), got if got in any_of else " or ".join(any_of), got, message[:400])

    def refused(self, name, expected, who, verb, path, body=None, **query):
        """Refused with this outcome, such as `403 RBAC`; once."""
        status, answer = self.api.call(who, verb, path, body, **query)
        message = answer.get("message", "")
        self.denials += 1
        self.table.row(name, expected, outcome(status, message), message[:400])

    def code(self, name, want, who, verb, path, body=None, says="", **query):
        """Refused with this status, by the schema and not by a policy."""
        if self.without:
            return
        status, answer = self.api.call(who, verb, path, body, **query)
        message = answer.get("message", "")
        self.table.row(name, str(want), str(status) if says in message else f"{status}, other words", message[:600])

    def passes(self, name, who, verb, path, body=None, **query):
        """Goes through; gives the answer."""
        status, answer = self.api.call(who, verb, path, body, **query)
        if not self.without:
            self.table.row(name, "passes", outcome(status, answer.get("message", "")), answer.get("message", "")[:400])
        return answer

    def check(self, name, good, detail=""):
        """Something that must be so."""
        if not self.without:
            self.table.row(name, "yes", "yes" if good else "no", str(detail)[:400])

    def wait(self, name, test, seconds=30):
        """Something that must come to be so."""
        if not self.without:
            self.table.row(name, "yes", "yes" if until(test, seconds) else "no")

    def get(self, path):
        return self.api.must("GET", path)


def outcome(status, message):
    """An answer in a word or two: who refused."""
    if status in (200, 201, 202):
        return "passes"
    if status == 403 and (denied := DENIED.search(message)):
        return f"403 {denied.group(1)}"
    if status == 403 and ".static.k8s.io' denied request" in message:
        return "403 from a file"
    if status == 403 and " cannot " in message or "attempting to grant RBAC permissions" in message:
        return "403 RBAC"
    return str(status)

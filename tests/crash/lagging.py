"""What stands between the API server and a watcher, and lets kinds lag."""

import asyncio
import json

KINDS = {"reviews": "airlockreviews", "requests": "airlockrequests", "actions": "airlockactions", "policies": "airlockpolicies"}
ALL = list(KINDS.values())
GONE = json.dumps({"type": "ERROR", "object": {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
                                               "message": "too old resource version", "reason": "Expired", "code": 410}}).encode()
DELIVERED = 0.05  # seconds in which an event that was passed on reaches its reader


class Lagging:
    """Kinds that are held pass nothing on.

    hold     their events come when they are let go
    drop     in their place comes 410, so that the watcher lists anew
    reorder  their events come after the next event of another kind, which happened later"""

    def __init__(self):
        self.mode, self.kinds, self.later, self.open = None, set(), None, asyncio.Event()
        self.open.set()

    def hold(self, mode, kinds):
        self.mode, self.kinds = mode, set(kinds)
        self.open.clear()

    def reorders_before(self, kind):
        """From now on an event of this kind lets those go that are held."""
        self.later = kind

    def let_go(self):
        self.open.set()

    async def passes(self, call, line):
        kind = call.path.rpartition("/")[2]
        if self.open.is_set():
            return line
        if kind not in self.kinds:
            if self.mode == "reorder" and kind == self.later:
                asyncio.get_running_loop().call_later(DELIVERED, self.let_go)
            return line
        mode = self.mode
        await self.open.wait()
        return GONE if mode == "drop" else line

"""The API server as one user, asynchronously; and a watch that keeps what it sees."""

import asyncio
import json

import wire

GROUP = "/apis/airlock.karectl.io/v1alpha1"


class Refusal(Exception):
    """The API server said no."""

    def __init__(self, status, answer):
        super().__init__(f"{status} {answer.get('message', answer) if isinstance(answer, dict) else answer}")
        self.status, self.answer = status, answer


class Api:
    def __init__(self, host, port, tls, token):
        self.client, self.token = wire.Client(host, port, tls), token

    def headers(self, kind="application/json"):
        return [("Authorization", f"Bearer {self.token}"), ("Content-Type", kind), ("Accept", "application/json")]

    async def call(self, method, path, body=None, kind="application/json"):
        sent = json.dumps(body).encode() if body is not None else b""
        answer = await self.client.call(method, path, self.headers(kind), sent)
        try:
            return answer.status, json.loads(answer.body or b"{}")
        except ValueError:
            return answer.status, answer.body.decode(errors="replace")

    async def ask(self, method, path, body=None, kind="application/json"):
        status, answer = await self.call(method, path, body, kind)
        if status >= 300:
            raise Refusal(status, answer)
        return answer

    async def find(self, path):
        status, answer = await self.call("GET", path)
        if status == 404:
            return None
        if status >= 300:
            raise Refusal(status, answer)
        return answer

    async def items(self, path):
        return (await self.ask("GET", path))["items"]

    async def merge(self, path, body):
        return await self.ask("PATCH", path, body, "application/merge-patch+json")


class Watched:
    """What there is of a kind in a namespace, now; whoever waits is woken by each change."""

    def __init__(self, api, path):
        self.api, self.path, self.objects, self.changed = api, path, {}, asyncio.Condition()
        self.task = asyncio.create_task(self.follow())

    async def follow(self):
        while True:
            try:
                await self.once()
            except (wire.Broken, Refusal, OSError, ValueError):
                await asyncio.sleep(0.1)

    async def once(self):
        listed = await self.api.ask("GET", self.path)
        self.objects = {item["metadata"]["name"]: item for item in listed["items"]}
        await self.tell()
        version = listed["metadata"]["resourceVersion"]
        client = self.api.client
        reader, writer = await wire.connect(client.host, client.port, client.tls)
        try:
            target = f"{self.path}?watch=true&allowWatchBookmarks=false&resourceVersion={version}"
            head = wire.Message(f"GET {target} HTTP/1.1", [("Host", client.host), *self.api.headers()])
            writer.write(head.head())
            await wire.read_head(reader)
            rest = b""
            while part := await wire.read_chunk(reader):
                *lines, rest = (rest + part).split(b"\n")
                for line in filter(None, lines):
                    await self.take(json.loads(line))
        finally:
            await wire.close(writer)

    async def lists_anew(self):
        """Whatever was watched before is forgotten."""
        self.task.cancel()
        self.objects = {item["metadata"]["name"]: item for item in await self.api.items(self.path)}
        self.task = asyncio.create_task(self.follow())

    async def take(self, event):
        if event["type"] == "ERROR":
            raise wire.Broken(str(event["object"]))
        item = event["object"]
        name = item["metadata"]["name"]
        if event["type"] == "DELETED":
            self.objects.pop(name, None)
        else:
            self.objects[name] = item
        await self.tell()

    async def tell(self):
        async with self.changed:
            self.changed.notify_all()

    async def until(self, name, wanted, seconds):
        """Waits until the object (None while it is not there) is as wanted; gives it, or raises TimeoutError."""
        async def wait():
            async with self.changed:
                await self.changed.wait_for(lambda: wanted(self.objects.get(name)))
                return self.objects.get(name)
        return await asyncio.wait_for(wait(), seconds)

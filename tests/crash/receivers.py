"""Who is told: a webhook's receiver and a mail server, which keep what came and when."""

import asyncio
import email
import json
import time

import wire


class Webhooks:
    """Answers 204 and keeps each CloudEvent."""

    def __init__(self):
        self.got = []

    async def start(self):
        self.server = await asyncio.start_server(self.serve, "127.0.0.1", 0, limit=wire.LIMIT)
        self.port = self.server.sockets[0].getsockname()[1]
        return self

    async def serve(self, reader, writer):
        try:
            while True:
                request = await wire.read_head(reader)
                body = await wire.read_body(reader, request)
                self.got.append({"time": time.monotonic(), "webhook_id": request.header("webhook-id"), **event(request, body)})
                writer.write(b"HTTP/1.1 204 No Content\r\n\r\n")
                await writer.drain()
        except (wire.Broken, OSError):
            await wire.close(writer)


def event(request, body):
    """A CloudEvent of either mode: structured, or with its attributes in headers."""
    content = json.loads(body or b"{}")
    if request.header("ce-id"):
        return {"id": request.header("ce-id"), "type": request.header("ce-type"), "data": content}
    return {"id": content.get("id"), "type": content.get("type"), "data": content.get("data", content)}


class Mailbox:
    """As much of SMTP as a client needs that sends in plain text. A plan may spoil the end of a message."""

    def __init__(self, journal):
        self.journal, self.got = journal, []

    async def start(self):
        self.server = await asyncio.start_server(self.serve, "127.0.0.1", 0)
        self.port = self.server.sockets[0].getsockname()[1]
        return self

    async def serve(self, reader, writer):
        def say(line):
            writer.write(f"{line}\r\n".encode())

        say("220 mail.test ESMTP")
        to = []
        try:
            while line := (await reader.readline()).decode(errors="replace").strip():
                word = line.upper()
                if word.startswith("EHLO"):
                    say("250-mail.test\r\n250-SMTPUTF8\r\n250 8BITMIME")
                elif word.startswith("RCPT TO:"):
                    to.append(line[8:].split(">")[0].strip(" <"))
                    say("250 OK")
                elif word == "DATA":
                    say("354 go on")
                    text = (await reader.readuntil(b"\r\n.\r\n"))[:-5]
                    answer = await self.takes(to, text)
                    if answer is None:
                        break
                    say(answer)
                    to = []
                elif word == "QUIT":
                    say("221 bye")
                    break
                else:
                    say("250 OK")
                await writer.drain()
            await writer.drain()
        except (asyncio.IncompleteReadError, OSError):
            pass
        await wire.close(writer)

    async def takes(self, to, text):
        """What is said of a message; None: the connection ends without a word."""
        call = self.journal.new_call("controller", "mail", "DATA", ",".join(sorted(to)), text)

        def keep():
            message = email.message_from_bytes(text)
            self.got.append({"time": time.monotonic(), "to": sorted(to), "id": message["Message-ID"], "subject": message["Subject"]})
            call.status, call.sent = 250, time.monotonic()

        fault = self.journal.picker(call) if self.journal.picker else None
        if fault:
            call.fault = fault.name
            return await fault.mail(keep)
        keep()
        return "250 OK"

"""A mail server for tests: smtp_server.py FOLDER [REFUSED…] keeps each mail in FOLDER and prints its port.

A mail is <number>.json with sender, recipients and what was sent; addresses in REFUSED are answered 550.
Run by $TREVOR_SMTP_PYTHON, which has aiosmtpd.
"""

import asyncio
import itertools
import json
import pathlib
import sys

from aiosmtpd.smtp import SMTP


class Keeper:
    def __init__(self, folder, refused):
        self.folder, self.refused, self.numbers = folder, refused, itertools.count()

    async def handle_RCPT(self, server, session, envelope, address, options):
        if address in self.refused:
            return "550 5.1.1 no such mailbox"
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server, session, envelope):
        mail = {"from": envelope.mail_from, "to": envelope.rcpt_tos, "data": envelope.content.decode()}
        whole = self.folder / f"{next(self.numbers):06}.json"
        part = whole.with_suffix(".part")
        part.write_text(json.dumps(mail))
        part.rename(whole)
        return "250 OK"


async def main():
    keeper = Keeper(pathlib.Path(sys.argv[1]), set(sys.argv[2:]))
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: SMTP(keeper, enable_SMTPUTF8=True), "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main())

"""A mail server for tests: smtp_server.py FOLDER [REFUSED…] keeps each mail in FOLDER and prints its port.

A mail is <number>.json with sender, recipients and what was sent; addresses in REFUSED are answered 550.
--mode: plain; implicit (TLS from the start); starttls (nothing goes without it); stripped (STARTTLS is not
offered, as if somebody in between took it away); broken (it is offered, and does not come to be). Who logs in, or
tries to, stands in FOLDER/logins.txt. Run by $TREVOR_SMTP_PYTHON, which has aiosmtpd.
"""

import argparse
import asyncio
import itertools
import json
import pathlib
import ssl

from aiosmtpd.smtp import SMTP, AuthResult, syntax


class Broken(SMTP):
    """Says 454 to STARTTLS."""

    @syntax("STARTTLS", when="tls_context")
    async def smtp_STARTTLS(self, arg):
        await self.push("454 4.7.0 TLS not available due to temporary reason")


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


def arguments():
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=pathlib.Path)
    parser.add_argument("refused", nargs="*")
    parser.add_argument("--mode", default="plain", choices=["plain", "implicit", "starttls", "stripped", "broken"])
    for name in ("--certificate", "--key", "--user", "--password"):
        parser.add_argument(name)
    return parser.parse_args()


async def main():
    options = arguments()
    keeper, tls = Keeper(options.folder, set(options.refused)), None
    if options.certificate:
        tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        tls.load_cert_chain(options.certificate, options.key)

    def authenticates(server, session, envelope, mechanism, data):
        with open(options.folder / "logins.txt", "a") as out:
            out.write(f"{data.login.decode()}\n")
        right = (data.login.decode(), data.password.decode()) == (options.user, options.password)
        return AuthResult(success=right)

    def serve():
        offered = options.mode in ("starttls", "broken")
        kind = Broken if options.mode == "broken" else SMTP
        return kind(keeper, enable_SMTPUTF8=True, tls_context=tls if offered else None, require_starttls=options.mode == "starttls",
                    authenticator=authenticates if options.user else None, auth_required=bool(options.user),
                    auth_require_tls=options.mode == "starttls")

    loop = asyncio.get_running_loop()
    server = await loop.create_server(serve, "127.0.0.1", 0, ssl=tls if options.mode == "implicit" else None)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main())

"""Certificates of the node, by openssl: an authority, and what API server, kubelet and gateway serve with."""

import subprocess

from storage import write_secret
from tools import Failed

DAYS = "30"


def openssl(*arguments, text=None):
    done = subprocess.run(["openssl", *map(str, arguments)], input=text, capture_output=True, text=True)
    if done.returncode != 0:
        raise Failed(f"openssl {arguments[0]}: {done.stderr.strip()[-500:]}")
    return done.stdout


class Authority:
    """`<folder>/ca.crt` and what it signs."""

    def __init__(self, folder, name):
        self.folder = folder
        self.folder.mkdir(parents=True, exist_ok=True)
        self.certificate, self.key = folder / "ca.crt", self.new_key("ca")
        openssl("req", "-x509", "-new", "-key", self.key, "-subj", f"/CN={name}", "-days", DAYS, "-out", self.certificate,
                "-addext", "keyUsage=critical,keyCertSign,cRLSign,digitalSignature")

    def new_key(self, name):
        path = self.folder / f"{name}.key"
        write_secret(path, openssl("genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256"))
        return path

    def sign(self, name, subject, usage, names=()):
        """Gives (certificate, key); names as openssl writes them: IP:…, DNS:…"""
        certificate, key = self.folder / f"{name}.crt", self.new_key(name)
        request = openssl("req", "-new", "-key", key, "-subj", subject)
        extensions = self.folder / f"{name}.extensions"
        extensions.write_text(f"keyUsage=critical,digitalSignature\nextendedKeyUsage={usage}\n"
                              + (f"subjectAltName={','.join(names)}\n" if names else ""))
        openssl("x509", "-req", "-CA", self.certificate, "-CAkey", self.key, "-CAcreateserial", "-days", DAYS,
                "-extfile", extensions, "-out", certificate, text=request)
        return certificate, key

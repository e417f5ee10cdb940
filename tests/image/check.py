#!/usr/bin/env python3
"""What trevor's image has to be: check.py IMAGE.tar [OTHER.tar]

One static binary that runs from the layer alone, as a user that is not root; certificate
authorities, licence, SBOM; no word of the machine that built it; no more than so many bytes.
With another archive: that it has the same bytes, or which file of it differs.
"""

import gzip
import hashlib
import io
import json
import os
import ssl
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parents[2]
LIMIT = 25 << 20  # compressed, all layers
BINARY, BUNDLE, LICENSE, SBOM = "trevor", "etc/ssl/certs/ca-certificates.crt", "LICENSE", "trevor.cdx.json"
FILES = {BINARY, BUNDLE, LICENSE, SBOM, "etc/passwd", "etc/group"}


class Wrong(Exception):
    """The image is not what it has to be."""


def must(holds, what):
    if not holds:
        raise Wrong(what)


class Image:
    """An OCI archive, each part of which is what its digest says."""

    def __init__(self, path):
        self.path, self.sha256 = path, hashlib.sha256(Path(path).read_bytes()).hexdigest()
        with tarfile.open(path) as archive:
            self.parts = {entry.name: archive.extractfile(entry).read() for entry in archive if entry.isfile()}
        index = json.loads(self.parts["index.json"])
        must(len(index["manifests"]) == 1, f"{path} holds {len(index['manifests'])} images")
        self.digest = index["manifests"][0]["digest"]
        self.manifest = json.loads(self.blob(index["manifests"][0]))
        self.config = json.loads(self.blob(self.manifest["config"]))
        self.size = sum(layer["size"] for layer in self.manifest["layers"])
        self.files, self.modes = {}, {}
        for layer, said in zip(self.manifest["layers"], self.config["rootfs"]["diff_ids"], strict=True):
            content = gzip.decompress(self.blob(layer))
            must(said == digest(content), f"{path}: a layer is not what the configuration says")
            with tarfile.open(fileobj=io.BytesIO(content)) as entries:
                for entry in entries:
                    must(entry.isfile() or entry.isdir(), f"{entry.name} is neither file nor folder")
                    must((entry.uid, entry.gid, entry.mtime) == (0, 0, 0), f"{entry.name} has an owner or a time")
                    if entry.isfile():
                        self.files[entry.name], self.modes[entry.name] = entries.extractfile(entry).read(), entry.mode

    def blob(self, descriptor):
        content = self.parts["blobs/" + descriptor["digest"].replace(":", "/")]
        must(digest(content) == descriptor["digest"] and len(content) == descriptor["size"], f"{self.path}: {descriptor} is something else")
        return content


def digest(content):
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


def check(image):
    must(set(image.files) == FILES, f"its files: {sorted(image.files)}")
    must(image.size <= LIMIT, f"its layers are {image.size} bytes compressed, and at most {LIMIT} are allowed")
    config = image.config["config"]
    user, _, group = config["User"].partition(":")
    must(user.isdigit() and group.isdigit() and int(user) > 0, f"it runs as {config['User']}, which is no number, or root's")
    must(config["Entrypoint"] == ["/" + BINARY] and f"SSL_CERT_FILE=/{BUNDLE}" in config["Env"], f"its configuration: {config}")
    must(config == (said := dockerfile()), f"its configuration is {config}, and the Dockerfile says {said}")
    loose = [name for name, mode in image.modes.items() if mode != (0o755 if name == BINARY else 0o644)]
    must(not loose, f"with other modes: {loose}")
    trusted = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    trusted.load_verify_locations(cadata=image.files[BUNDLE].decode())
    authorities = trusted.cert_store_stats()["x509_ca"]
    must(authorities > 50, f"{authorities} certificate authorities")
    must(image.files[LICENSE] == (CHECKOUT / "LICENSE").read_bytes(), "another licence")
    made_of = json.loads(image.files[SBOM])
    version = config["Labels"]["org.opencontainers.image.version"]
    about = made_of["metadata"]["component"]
    must((made_of["bomFormat"], about["name"], about["version"]) == ("CycloneDX", "trevor", version), f"an SBOM of {about['name']} {about['version']}")
    no_word_of_here(image)
    said = run(image, "--version")
    must(said == f"trevor {version}", f"trevor --version: {said}")
    print(f"{image.path}: {len(image.files)} files, {authorities} authorities, SBOM of {len(made_of['components'])} components\n"
          f"{said}, static, as {config['User']}; {image.size / (1 << 20):.1f} MiB compressed, {sum(map(len, image.files.values())) / (1 << 20):.1f} MiB unpacked\n"
          f"{image.digest}")


def dockerfile():
    """What the Dockerfile says of the image, as an image's configuration does."""
    text = (CHECKOUT / "Dockerfile").read_text().partition("\nFROM scratch\n")[2].replace("\\\n", "")
    lines = dict(line.split(maxsplit=1) for line in text.splitlines() if line)
    return {"User": lines["USER"], "Entrypoint": json.loads(lines["ENTRYPOINT"]), "WorkingDir": lines["WORKDIR"],
            "Env": lines["ENV"].split(), "Labels": dict(word.split("=") for word in lines["LABEL"].split())}


def no_word_of_here(image):
    """Neither folders of whoever built it, nor when."""
    home = os.environ.get("HOME", "")
    words = {str(CHECKOUT), os.environ.get("CARGO_HOME") or f"{home}/.cargo", os.environ.get("RUSTUP_HOME") or f"{home}/.rustup"}
    for name, content in image.files.items():
        for word in words:
            at = content.find(word.encode())
            must(at < 0, f"{name} says where it was built: {content[at:at + 120].partition(bytes(1))[0].decode(errors='replace')}")


def run(image, *arguments):
    """The program with nothing but its layer; where this may be done, as its user."""
    with tempfile.TemporaryDirectory() as folder:
        for name, content in image.files.items():
            file = Path(folder, name)
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(content)
            file.chmod(image.modes[name])
        Path(folder).chmod(0o755)
        program = Path(folder, BINARY)
        headers = subprocess.run(["readelf", "--program-headers", "--dynamic", program], capture_output=True, text=True, check=True).stdout
        must("INTERP" not in headers and "NEEDED" not in headers, "it asks for a loader or for libraries")
        if os.geteuid() == 0:
            user, _, group = image.config["config"]["User"].partition(":")
            command = ["chroot", f"--userspec={user}:{group}", folder, f"/{BINARY}"]
        else:
            command = [program]
        done = subprocess.run([*command, *arguments], capture_output=True, text=True, env={"PATH": os.environ["PATH"]})
        must(done.returncode == 0, f"it does not run: {done.stderr}")
        return done.stdout.strip()


def compare(one, other):
    for image in (one, other):
        print(f"{image.sha256}  {image.path}\n{hashlib.sha256(image.files[BINARY]).hexdigest()}  its binary\n{image.digest}  its manifest")
    differ = [name for name in sorted(one.files.keys() | other.files.keys()) if one.files.get(name) != other.files.get(name)]
    must(not differ, f"files differ: {', '.join(differ)}")
    must(one.sha256 == other.sha256, "the archives differ, and none of their files")
    print("the same bytes")


def main(paths):
    if not 1 <= len(paths) <= 2:
        sys.exit(__doc__)
    try:
        images = [Image(path) for path in paths]
        check(images[0])
        if len(images) > 1:
            compare(*images)
    except Wrong as wrong:
        sys.exit(f"error: {wrong}")


if __name__ == "__main__":
    main(sys.argv[1:])

#!/usr/bin/env python3
"""An image of one program as an OCI archive: no daemon, no registry, the same bytes every time.

    oci.py OUT.tar NAME:TAG UID:GID PROGRAM
"""

import gzip
import hashlib
import io
import json
import sys
import tarfile
from pathlib import Path

ACCOUNTS = b"root:x:0:0::/:/none\nnonroot:x:65532:65532::/:/none\n"


def write(out, name, user, program):
    """The program lies at /<its name>, and is the entry point."""
    entry = f"/{Path(program).name}"
    layer = io.BytesIO()
    with tarfile.open(fileobj=layer, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        add(tar, "tmp/", b"", 0o1777, tarfile.DIRTYPE)
        add(tar, "etc/", b"", 0o755, tarfile.DIRTYPE)
        add(tar, "etc/passwd", ACCOUNTS, 0o644)
        add(tar, entry.lstrip("/"), Path(program).read_bytes(), 0o755)
    packed = gzip.compress(layer.getvalue(), 1, mtime=0)
    config = encode({"architecture": "amd64", "os": "linux",
                     "config": {"User": user, "Entrypoint": [entry], "WorkingDir": "/", "Env": ["PATH=/"]},
                     "rootfs": {"type": "layers", "diff_ids": [digest(layer.getvalue())]}})
    oci = "application/vnd.oci.image"
    manifest = encode({"schemaVersion": 2, "mediaType": f"{oci}.manifest.v1+json",
                       "config": describe(f"{oci}.config.v1+json", config),
                       "layers": [describe(f"{oci}.layer.v1.tar+gzip", packed)]})
    index = encode({"schemaVersion": 2, "manifests": [{
        **describe(f"{oci}.manifest.v1+json", manifest), "platform": {"architecture": "amd64", "os": "linux"},
        "annotations": {"io.containerd.image.name": name, "org.opencontainers.image.ref.name": name.rsplit(":", 1)[1]}}]})
    with tarfile.open(out, "w") as tar:
        add(tar, "oci-layout", encode({"imageLayoutVersion": "1.0.0"}), 0o644)
        add(tar, "index.json", index, 0o644)
        for blob in (config, packed, manifest):
            add(tar, f"blobs/sha256/{hashlib.sha256(blob).hexdigest()}", blob, 0o644)


def add(tar, name, data, mode, kind=tarfile.REGTYPE):
    entry = tarfile.TarInfo(name)
    entry.type, entry.mode, entry.size = kind, mode, len(data)
    tar.addfile(entry, io.BytesIO(data))


def encode(value):
    return json.dumps(value, sort_keys=True).encode()


def digest(data):
    return "sha256:" + hashlib.sha256(data).hexdigest()


def describe(media_type, data):
    return {"mediaType": media_type, "digest": digest(data), "size": len(data)}


if __name__ == "__main__":
    write(*sys.argv[1:])

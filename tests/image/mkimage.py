#!/usr/bin/env python3
"""A one-layer OCI image archive of a folder's files, without Docker: mkimage.py OUT.tar NAME:TAG FOLDER

Reproducible: the same files give the same bytes. Entries are sorted, times and owners fixed,
and the compressor says nothing of time or machine. Of a file's mode it counts whether it is executable.
"""

import gzip
import hashlib
import io
import json
import os
import sys
import tarfile
from pathlib import Path

USER = 65532
TYPE = "application/vnd.oci.image"


def main(out, name, folder):
    contents = {str(file.relative_to(folder)): (file.read_bytes(), 0o755 if os.access(file, os.X_OK) else 0o644)
                for file in Path(folder).rglob("*") if not file.is_dir()}
    layer = archive(contents)
    packed = gzip.compress(layer, 9, mtime=0)
    config = document({
        "architecture": "amd64", "os": "linux",
        "config": {"User": f"{USER}:{USER}", "Entrypoint": ["/trevor"], "WorkingDir": "/",
                   "Env": ["PATH=/", "SSL_CERT_FILE=/etc/ssl/certs/ca-certificates.crt"],
                   "Labels": {"org.opencontainers.image.title": "trevor", "org.opencontainers.image.licenses": "Apache-2.0",
                              "org.opencontainers.image.version": name.rpartition(":")[2]}},
        "rootfs": {"type": "layers", "diff_ids": [digest(layer)]},
    })
    manifest = document({
        "schemaVersion": 2, "mediaType": f"{TYPE}.manifest.v1+json",
        "config": descriptor(f"{TYPE}.config.v1+json", config),
        "layers": [descriptor(f"{TYPE}.layer.v1.tar+gzip", packed)],
    })
    index = document({"schemaVersion": 2, "mediaType": f"{TYPE}.index.v1+json", "manifests": [
        {**descriptor(f"{TYPE}.manifest.v1+json", manifest), "platform": {"architecture": "amd64", "os": "linux"},
         "annotations": {"io.containerd.image.name": name, "org.opencontainers.image.ref.name": name.rpartition(":")[2]}}]})
    blobs = {f"blobs/sha256/{hashlib.sha256(blob).hexdigest()}": (blob, 0o644) for blob in (config, manifest, packed)}
    Path(out).write_bytes(archive({"oci-layout": (b'{"imageLayoutVersion":"1.0.0"}', 0o644), "index.json": (index, 0o644), **blobs}))
    print(f"{out}: {name}, {digest(manifest)}, layer {len(packed) / (1 << 20):.1f} MiB compressed")


def archive(contents):
    """A tar of files and their folders, the same whoever makes it, wherever and whenever."""
    folders = {str(parent) for path in contents for parent in Path(path).parents if str(parent) != "."}
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        for path in sorted(folders | set(contents)):
            entry = tarfile.TarInfo(path)  # time 0, owner root
            if path in folders:
                entry.type, entry.mode = tarfile.DIRTYPE, 0o755
                tar.addfile(entry)
            else:
                data, entry.mode = contents[path]
                entry.size = len(data)
                tar.addfile(entry, io.BytesIO(data))
    return buffer.getvalue()


def document(value):
    return json.dumps(value, sort_keys=True, separators=(",", ":")).encode()


def digest(blob):
    return f"sha256:{hashlib.sha256(blob).hexdigest()}"


def descriptor(kind, blob):
    return {"mediaType": kind, "digest": digest(blob), "size": len(blob)}


if __name__ == "__main__":
    if len(sys.argv) != 4:
        sys.exit(__doc__)
    main(*sys.argv[1:])

"""The two S3 servers: quarantine (with the staging bucket) and release.

Other ports, other credentials. The operator's identities have no rights of
their own: a bucket policy gives each what
docs/reference/permissions.md#storage-identities says.
What SeaweedFS 4.48 makes of such policies was tried out; see README.md here.
"""

import json
import os
import secrets
import subprocess
import urllib.error
import urllib.request
from dataclasses import dataclass, field
from pathlib import Path

from processes import start, wait_until
from tools import Failed

HERE = Path(__file__).resolve().parent
REGION = "us-east-1"


@dataclass
class Bucket:
    """A bucket, the server it is on, and who may use it: identity name to its keys."""

    name: str
    policy: list
    keys: dict = field(default_factory=dict)
    endpoint: str = ""


def arn(bucket, *paths):
    return [f"arn:aws:s3:::{bucket}/{path}" for path in paths] or [f"arn:aws:s3:::{bucket}"]


def statement(identity, actions, resources, effect="Allow", condition=None):
    rule = {"Effect": effect, "Principal": {"AWS": [f"arn:aws:iam::000000000000:user/{identity}"]},
            "Action": [f"s3:{action}" for action in actions], "Resource": resources}
    return dict(rule, Condition=condition) if condition else rule


WRITE = ["PutObject", "AbortMultipartUpload", "ListMultipartUploadParts"]  # PutObject: also create, upload parts, complete
LOOK = ["ListBucket", "ListBucketVersions", "ListBucketMultipartUploads", "GetBucketVersioning", "GetBucketLocation",
        "GetLifecycleConfiguration", "GetBucketObjectLockConfiguration"]
DELETE = ["DeleteObject", "DeleteObjectVersion"]
READ = ["GetObject", "GetObjectVersion"]


def quarantine():
    """Quarantine, which is the records bucket too: records are never deleted, by nobody."""
    name = "trevor-quarantine"
    rounds = "requests/*/*/rounds/*"
    return Bucket(name, [
        statement("gateway", ["GetObject", *WRITE], arn(name, "requests/*/*/files/*")),
        statement("gateway", ["GetObject", "PutObject"],
                  arn(name, "requests/*/*/receipts/*", f"{rounds}/views/*", "work/plans/*", "work/jobs/*", "audit/gateway/*")),
        statement("gateway", ["GetObject"],
                  arn(name, "work/urls/*", f"{rounds}/seal.json", f"{rounds}/manifest.json", f"{rounds}/outcome.json")),
        statement("gateway", ["ListBucket"], arn(name), condition={"StringLike": {"s3:prefix": ["requests/*"]}}),
        statement("controller", [*READ, *WRITE], arn(name, "*")),
        statement("controller", LOOK, arn(name)),
        statement("controller", DELETE, arn(name, "requests/*/*/files/*", "work/*")),
        statement("packaging", ["GetObject"],
                  arn(name, "requests/*/*/files/*", rounds, "requests/*/*/closed.json", "requests/*/*/revoked.json")),
    ])


def staging():
    """Staging has identities of its own, also where it shares the server."""
    name = "trevor-staging"
    return Bucket(name, [
        statement("gateway-staging", ["PutObject", "ListMultipartUploadParts"], arn(name, "*")),
        statement("gateway-staging", ["AbortMultipartUpload"], arn(name, "*"), effect="Deny"),  # else it comes with PutObject
        statement("controller-staging", [*READ, *WRITE, *DELETE], arn(name, "*")),
        statement("controller-staging", LOOK, arn(name)),
        statement("controller", ["GetObject"], arn(name, "*")),  # so that the server copies into quarantine by itself
        statement("controller", LOOK, arn(name)),
    ])


def release():
    name = "trevor-release"
    return Bucket(name, [
        statement("controller", [*READ, *WRITE, *DELETE], arn(name, "*")),
        statement("controller", LOOK, arn(name)),
        statement("packaging", ["PutObject", "AbortMultipartUpload"], arn(name, "releases/*")),
    ])


class Server:
    """One SeaweedFS with its buckets; dialects.py has other servers."""

    PORTS = ("master.port", "master.port.grpc", "volume.port", "volume.port.grpc",
             "filer.port", "filer.port.grpc", "s3.port", "s3.port.grpc")
    HEALTH = "/healthz"

    def __init__(self, folder, name, tools, ports, buckets, host="127.0.0.1"):
        self.folder, self.name, self.tools, self.buckets, self.host = folder, name, tools, buckets, host
        self.root = new_keys()
        self.ports = {flag: ports.new() for flag in self.PORTS}
        self.endpoint = f"http://{host}:{self.ports['s3.port']}"
        self.keys = {}  # by identity; root apart
        for bucket in buckets:
            bucket.endpoint = self.endpoint
            users = {rule["Principal"]["AWS"][0].rpartition("/")[2] for rule in bucket.policy}
            bucket.keys = {user: self.keys.setdefault(user, new_keys()) for user in sorted(users)} | {"root": self.root}

    def start(self):
        home = self.folder / self.name
        for part in ("data", "tmp"):
            (home / part).mkdir(parents=True)
        write_secret(home / "identities.json", json.dumps({"identities": self.identities()}))
        remove_sockets(self.ports.values())
        self.process = start(self.folder, self.name, [
            self.tools["weed"], "server", "-dir=data", f"-ip={self.host}", f"-ip.bind={self.host}", "-filer", "-s3",
            *(f"-{flag}={port}" for flag, port in self.ports.items()),
            "-s3.port.iceberg=0", "-s3.port.lance=0", "-s3.iam=false", "-s3.config=identities.json",
            "-master.volumeSizeLimitMB=256", "-volume.max=300", "-volume.preStopSeconds=0",
        ], {"WEED_S3_SSE_KEY": secrets.token_hex(32), "GOMEMLIMIT": "512MiB", "TMPDIR": "tmp"}, cwd=home)

    def identities(self):
        return [
            identity("root", self.root, ["Admin", "Read", "Write", "List", "Tagging"]),
            *(identity(name, keys, []) for name, keys in self.keys.items()),
        ]

    def prepare(self):
        """Wait for the server, make the buckets, set the policies and see that they hold."""
        wait_until(self.answers, self.folder, self.process, self.name, 120)
        order = {"endpoint": self.endpoint, "region": REGION, "root": self.root, "buckets": [
            {"name": bucket.name, "keys": bucket.keys,
             "policy": {"Version": "2012-10-17", "Statement": self.policy(bucket)}} for bucket in self.buckets]}
        done = subprocess.run([self.tools["boto3_python"], HERE / "s3_setup.py"], input=json.dumps(order),
                              capture_output=True, text=True, env={"PATH": os.environ["PATH"]})
        if done.returncode != 0:
            raise Failed(f"the buckets of {self.name} could not be made:\n{done.stderr[-2000:]}")

    def policy(self, bucket):
        return bucket.policy

    def answers(self):
        try:
            urllib.request.urlopen(f"{self.endpoint}{self.HEALTH}", timeout=1)
        except urllib.error.HTTPError:
            return True
        except OSError:
            return False
        return True


def remove_sockets(ports):
    """SeaweedFS leaves sockets in /tmp, whatever TMPDIR says, when it is killed (nothing else ends it)."""
    for port in ports:
        for socket in Path("/tmp").glob(f"seaweedfs-*-{port}.sock"):
            socket.unlink(missing_ok=True)


def new_keys():
    return {"access_key_id": secrets.token_hex(10).upper(), "secret_access_key": secrets.token_hex(20)}


def identity(name, keys, actions):
    return {"name": name, "actions": actions,
            "credentials": [{"accessKey": keys["access_key_id"], "secretKey": keys["secret_access_key"]}]}


def write_secret(path, text):
    """A file that only its owner can read, never visible half written."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.part")
    with open(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as out:
        out.write(text)
    part.replace(path)

"""Other S3 servers in place of SeaweedFS: `env.py up --storage minio`. Each has its own way of saying who may do what."""

import base64
import json
import os
import secrets
import subprocess
import urllib.error
import urllib.request
from pathlib import Path

import storage
from processes import start, wait_until
from tools import Failed

POLICIES = Path(__file__).resolve().parents[2] / "examples/bucket-policies/minio"


class MinIO(storage.Server):
    """MinIO, with the users and policies that examples/bucket-policies/README.md tells people to make."""

    PORTS = ("s3.port", "console.port")
    HEALTH = "/minio/health/ready"
    key_management = True

    def __init__(self, *arguments, **more):
        super().__init__(*arguments, **more)
        for user, keys in self.keys.items():  # in MinIO the name of a user is its access key
            keys["access_key_id"] = user

    def start(self):
        home = self.folder / self.name
        (home / "data").mkdir(parents=True)
        environment = {"MINIO_ROOT_USER": self.root["access_key_id"], "MINIO_ROOT_PASSWORD": self.root["secret_access_key"],
                       "HOME": str(home), "MINIO_BROWSER": "off"}
        if self.key_management:
            environment["MINIO_KMS_SECRET_KEY"] = f"trevor:{base64.b64encode(secrets.token_bytes(32)).decode()}"
        self.process = start(self.folder, self.name, [
            self.tools["minio"], "server", "data", "--address", f"{self.host}:{self.ports['s3.port']}",
            "--console-address", f"{self.host}:{self.ports['console.port']}"], environment, cwd=home)

    def answers(self):
        try:
            return urllib.request.urlopen(f"{self.endpoint}{self.HEALTH}", timeout=1).status == 200
        except OSError:
            return False

    def prepare(self):
        wait_until(self.answers, self.folder, self.process, self.name, 30)
        for bucket in self.buckets:
            self.mc("mb", f"here/{bucket.name}")
        for user, keys in self.keys.items():
            self.mc("admin", "user", "add", "here", text=f"{user}\n{keys['secret_access_key']}\n")
            self.mc("admin", "policy", "create", "here", f"trevor-{user}", POLICIES / f"{user}.json")
            self.mc("admin", "policy", "attach", "here", f"trevor-{user}", "--user", user)

    def mc(self, *arguments, text=""):
        mc(self.tools, self.folder / self.name / "mc", self.endpoint, self.root, *arguments, text=text)


def mc(tools, settings, endpoint, root, *arguments, text=""):
    """MinIO's client, which calls the server `here`."""
    address = f"http://{root['access_key_id']}:{root['secret_access_key']}@{endpoint.removeprefix('http://')}"
    done = subprocess.run([tools["mc"], "--config-dir", settings, *arguments], input=text, capture_output=True, text=True,
                          env={"PATH": os.environ["PATH"], "MC_HOST_here": address})
    if done.returncode != 0:
        raise Failed(f"`mc {' '.join(map(str, arguments))}` at {endpoint}: {done.stdout[-500:]}{done.stderr[-1000:]}")


class MinIOWithoutKeys(MinIO):
    """As it is where nobody set up its key management."""

    key_management = False


class VersityGW(storage.Server):
    """versitygw over a folder: bucket policies as on AWS, with access keys for principals."""

    PORTS = ("s3.port",)
    HEALTH = "/healthz"

    def start(self):
        home = self.folder / self.name
        for part in ("data", "iam"):
            (home / part).mkdir(parents=True)
        self.process = start(self.folder, self.name, [
            self.tools["versitygw"], "--port", f"{self.host}:{self.ports['s3.port']}", "--region", storage.REGION,
            "--iam-dir", home / "iam", "--iam-cache-disable", "--health", self.HEALTH, "--quiet", "posix", home / "data",
        ], {"ROOT_ACCESS_KEY": self.root["access_key_id"], "ROOT_SECRET_KEY": self.root["secret_access_key"]}, cwd=home)

    def prepare(self):
        wait_until(self.answers, self.folder, self.process, self.name, 20)
        for keys in self.keys.values():
            self.admin("create-user", "--access", keys["access_key_id"], "--secret", keys["secret_access_key"], "--role", "user")
        super().prepare()

    def admin(self, *arguments):
        done = subprocess.run([self.tools["versitygw"], "admin", "--endpoint-url", self.endpoint, *arguments],
                              capture_output=True, text=True, env={
                                  "PATH": os.environ["PATH"], "ADMIN_ACCESS_KEY_ID": self.root["access_key_id"],
                                  "ADMIN_SECRET_ACCESS_KEY": self.root["secret_access_key"], "ADMIN_REGION": storage.REGION})
        if done.returncode != 0:
            raise Failed(f"`versitygw admin {arguments[0]}` at {self.name}: {done.stdout[-500:]}{done.stderr[-1000:]}")

    def policy(self, bucket):
        text = json.dumps(bucket.policy)
        for user, keys in self.keys.items():
            text = text.replace(f'"arn:aws:iam::000000000000:user/{user}"', f'"{keys["access_key_id"]}"')
        return json.loads(text)


SERVERS = {"seaweedfs": storage.Server, "minio": MinIO, "minio-without-keys": MinIOWithoutKeys, "versitygw": VersityGW}

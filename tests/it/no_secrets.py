"""Fails if a signature, token or key is where it must not be, after a test run: no_secrets.py <environment's folder>.

Run by $TREVOR_BOTO3_PYTHON. Places that are allowed to hold URLs: work/urls/ in the bucket, and Secrets of our type.
"""

import json
import os
import pathlib
import subprocess
import sys

import boto3

PREFIXES = ("audit/", "requests/", "records/")
KINDS = "events,alr,alrr,alrev,alact,alpol"


def wanted(env):
    """What must not be found, by a name that is safe to print."""
    found = {"a signature": b"X-Amz-Signature", "a session's token": b"trv1."}
    for name, value in env["variables"].items():
        if name.startswith("TREVOR_TOKEN_") or name.endswith("SECRET_ACCESS_KEY"):
            found[name] = value.encode()
    for name, bucket in env["buckets"].items():
        found[f"root key of {name}"] = bucket["root"]["secret_access_key"].encode()
    signing = pathlib.Path(env["folder"]) / "audit-signing-key.pem"
    if signing.exists():
        found["the key that signs checkpoints"] = signing.read_text().split("\n")[1].encode()
    return found


def places(folder, env):
    """(where, bytes) of all that is looked at."""
    for log in sorted((folder / "log").glob("*.log")):
        yield f"log/{log.name}", log.read_bytes()
    kubectl = [folder / "bin/kubectl", "--kubeconfig", folder / "kubeconfig", "--context", "admin"]
    shown = subprocess.run([*kubectl, "get", KINDS, "-A", "-o", "yaml"], check=True, stdout=subprocess.PIPE)
    yield f"kubectl get {KINDS}", shown.stdout
    bucket = env["buckets"]["quarantine"]
    s3 = boto3.client("s3", endpoint_url=bucket["endpoint"], region_name="us-east-1",
                      aws_access_key_id=bucket["root"]["access_key_id"],
                      aws_secret_access_key=bucket["root"]["secret_access_key"])
    for prefix in PREFIXES:
        for page in s3.get_paginator("list_objects_v2").paginate(Bucket=bucket["bucket"], Prefix=prefix):
            for item in page.get("Contents", []):
                yield item["Key"], s3.get_object(Bucket=bucket["bucket"], Key=item["Key"])["Body"].read()


def main():
    folder = pathlib.Path(sys.argv[1]).resolve()
    os.environ["KUBECACHEDIR"] = str(folder / "home/kube")
    env = json.loads((folder / "env.json").read_text())
    words, looked, found = wanted(env), 0, []
    for where, content in places(folder, env):
        looked += 1
        found += [f"{where} holds {name}" for name, word in words.items() if word in content]
    print("\n".join([*found, f"{looked} places looked at, {len(found)} findings"]))
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())

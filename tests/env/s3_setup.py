"""Runs under the boto3 venv: makes buckets and policies from an order on standard input."""

import json
import sys
import time

import boto3
from botocore.config import Config
from botocore.exceptions import ClientError


def client(order, keys):
    return boto3.client("s3", endpoint_url=order["endpoint"], region_name=order["region"],
                        aws_access_key_id=keys["access_key_id"], aws_secret_access_key=keys["secret_access_key"],
                        config=Config(s3={"addressing_style": "path"}, retries={"max_attempts": 1}))


def retry(action, seconds=10):
    """A fresh server refuses for a moment: no volume yet, policy not yet seen."""
    deadline = time.monotonic() + seconds
    while True:
        try:
            return action()
        except ClientError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.1)


def make_bucket(order, bucket):
    root = client(order, order["root"])
    try:
        retry(lambda: root.create_bucket(Bucket=bucket["name"]))
    except root.exceptions.BucketAlreadyOwnedByYou:
        pass
    retry(lambda: root.put_object(Bucket=bucket["name"], Key="first", Body=b""))  # the first write makes the volumes
    root.delete_object(Bucket=bucket["name"], Key="first")
    retry(lambda: root.put_bucket_policy(Bucket=bucket["name"], Policy=json.dumps(bucket["policy"])))
    for name, keys in bucket["keys"].items():  # the policy is live when each identity may do a first thing
        if name.startswith("controller"):
            retry(lambda: client(order, keys).list_objects_v2(Bucket=bucket["name"], Prefix="requests/", MaxKeys=1))


order = json.load(sys.stdin)
for bucket in order["buckets"]:
    make_bucket(order, bucket)

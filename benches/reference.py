"""The release's work as a plain Python program does it: boto3 and zipfile, all in memory.

Runs under the boto3 venv. The order comes as JSON on standard input; the figures go
to standard output.
"""

import hashlib
import io
import json
import resource
import sys
import time
import zipfile

import boto3
from botocore.config import Config

METHODS = {"stored": zipfile.ZIP_STORED, "deflated": zipfile.ZIP_DEFLATED}


def client(place):
    return boto3.client("s3", endpoint_url=place["endpoint"], region_name="us-east-1",
                        aws_access_key_id=place["root"]["access_key_id"],
                        aws_secret_access_key=place["root"]["secret_access_key"],
                        config=Config(s3={"addressing_style": "path"}))


def package(source, bucket, objects, method):
    """A zip of all objects and a list of what is in it; gives its bytes."""
    entries, out = [], io.BytesIO()
    with zipfile.ZipFile(out, "w", METHODS[method]) as package:
        for number, wanted in enumerate(objects):
            data = source.get_object(Bucket=bucket, Key=wanted["key"])["Body"].read()
            name = f"data/{number}"
            package.writestr(name, data)
            entries.append({"@id": name, "contentSize": str(len(data)), "sha256": hashlib.sha256(data).hexdigest()})
        package.writestr("ro-crate-metadata.json", json.dumps({"@graph": entries}))
    return out


def read_back(target, bucket, key):
    found = hashlib.sha256()
    for chunk in target.get_object(Bucket=bucket, Key=key)["Body"].iter_chunks(1 << 20):
        found.update(chunk)
    return found.digest()


def main(order):
    source, target = client(order["source"]), client(order["target"])
    bucket, key = order["target"]["bucket"], order["target_key"]
    began = time.monotonic()
    made = package(source, order["source"]["bucket"], order["objects"], order["method"])
    size, digest = made.tell(), hashlib.sha256(made.getbuffer()).digest()
    made.seek(0)
    target.upload_fileobj(made, bucket, key, ExtraArgs={"ServerSideEncryption": "AES256"})
    if read_back(target, bucket, key) != digest:
        sys.exit("the stored package is not what was sent")
    seconds = time.monotonic() - began
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(json.dumps({"seconds": seconds, "bytes": size, "peak_rss_mib": peak}))


main(json.load(sys.stdin))

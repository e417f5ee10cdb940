"""Proves that the operator's S3 identities may do what CONTRACT's "Storage identities" says, and no more.

    . target/env/env.sh && $TREVOR_BOTO3_PYTHON tests/env/check_identities.py

Run it after a change of the policies in storage.py, or of SeaweedFS. Leaves a few objects under `requests/check/`.
"""

import json
import os
import sys
import uuid
from pathlib import Path

import boto3
from botocore.config import Config
from botocore.exceptions import ClientError

FOLDER = Path(os.environ["TREVOR_ENV_DIR"])
BUCKETS = json.loads((FOLDER / "env.json").read_text())["buckets"]
NAMES = {name: bucket["bucket"] for name, bucket in BUCKETS.items()}
run, failures = uuid.uuid4().hex, []


def client(place, keys):
    return boto3.client("s3", endpoint_url=BUCKETS[place]["endpoint"], region_name="us-east-1",
                        aws_access_key_id=keys["access_key_id"], aws_secret_access_key=keys["secret_access_key"],
                        config=Config(s3={"addressing_style": "path"}, retries={"max_attempts": 1}))


def process(name, place):
    """A client with the credentials that a process has for a place."""
    lines = dict(line.split("=", 1) for line in (FOLDER / f"{name}.env").read_text().splitlines())
    return client(place, {part: lines[f"TREVOR_S3_{place.upper()}_{part.upper()}"]
                          for part in ("access_key_id", "secret_access_key")})


def expect(wanted, what, action):
    """The call is allowed (an answer, or 404) or forbidden (403), as wanted; gives its answer."""
    try:
        answer = action()
        errors = answer.get("Errors", [])
        got = "refused" if errors and errors[0]["Code"] == "AccessDenied" else "allowed"
    except ClientError as error:
        answer, status = None, error.response["ResponseMetadata"]["HTTPStatusCode"]
        got = "refused" if status == 403 else "allowed" if status == 404 else str(status)
    print(f"{'ok  ' if got == wanted else 'FAIL'} {what}: {got}")
    if got != wanted:
        failures.append(what)
    return answer


def may(what, action):
    return expect("allowed", what, action)


def may_not(what, action):
    return expect("refused", what, action)


def check_upload(who, s3, bucket, key, abort, complete):
    made = may(f"{who} create upload", lambda: s3.create_multipart_upload(Bucket=bucket, Key=key))
    upload = {"Bucket": bucket, "Key": key, "UploadId": made["UploadId"]}
    part = may(f"{who} upload part", lambda: s3.upload_part(**upload, PartNumber=1, Body=b"part"))
    may(f"{who} list parts", lambda: s3.list_parts(**upload))
    if abort is not None:
        (may if abort else may_not)(f"{who} abort upload", lambda: s3.abort_multipart_upload(**upload))
    if complete:
        upload["UploadId"] = s3.create_multipart_upload(Bucket=bucket, Key=key)["UploadId"]
        part = s3.upload_part(**upload, PartNumber=1, Body=b"part")
        may(f"{who} complete upload", lambda: s3.complete_multipart_upload(
            **upload, MultipartUpload={"Parts": [{"PartNumber": 1, "ETag": part["ETag"]}]}))
    return upload, part


def check_gateway():
    s3, bucket, who = process("gateway", "quarantine"), NAMES["quarantine"], "gateway"
    root = client("quarantine", BUCKETS["quarantine"]["root"])
    base, rounds = f"requests/check/{run}", f"requests/check/{run}/rounds/1"
    reads_and_writes = [f"{base}/files/a", f"{base}/receipts/h/1.json", f"{rounds}/views/v.json",
                        f"work/plans/{run}.json", f"work/jobs/{run}.json", f"audit/gateway/{run}/1.json"]
    reads = [f"{rounds}/seal.json", f"{rounds}/manifest.json", f"{rounds}/outcome.json", f"work/urls/{run}/1.json"]
    nothing = [f"{rounds}/decision.json", f"{rounds}/attempts/1.json", f"{base}/owner.json", f"{base}/closed.json",
               f"{base}/revoked.json", f"records/check/{run}.json", f"index/sha256/{run}", f"audit/requests/{run}/1.json",
               f"work/holds/{run}/1.json", f"work/retention/{run}.json"]
    for key in reads_and_writes + reads + nothing:
        writes, looks = key in reads_and_writes, key not in nothing
        (may if writes else may_not)(f"{who} put {key}", lambda: s3.put_object(Bucket=bucket, Key=key, Body=b"x", IfNoneMatch="*"))
        if not writes:
            root.put_object(Bucket=bucket, Key=key, Body=b"x")
        (may if looks else may_not)(f"{who} get {key}", lambda: s3.get_object(Bucket=bucket, Key=key))
        may_not(f"{who} delete {key}", lambda: s3.delete_object(Bucket=bucket, Key=key))
        may_not(f"{who} delete many {key}", lambda: s3.delete_objects(Bucket=bucket, Delete={"Objects": [{"Key": key}]}))
    check_upload(who, s3, bucket, f"{base}/files/m", abort=True, complete=True)
    may_not(f"{who} create upload elsewhere", lambda: s3.create_multipart_upload(Bucket=bucket, Key=f"records/check/{run}"))
    may_not(f"{who} copy a decision into files", lambda: s3.copy_object(
        Bucket=bucket, Key=f"{base}/files/c", CopySource={"Bucket": bucket, "Key": f"{rounds}/decision.json"}))
    may(f"{who} list requests/", lambda: s3.list_objects_v2(Bucket=bucket, Prefix=f"{base}/receipts/"))
    for prefix in ("", "work/", "records/", "audit/"):
        may_not(f"{who} list '{prefix}'", lambda: s3.list_objects_v2(Bucket=bucket, Prefix=prefix))
    may_not(f"{who} set the policy", lambda: s3.put_bucket_policy(Bucket=bucket, Policy="{}"))
    may_not(f"{who} make a bucket", lambda: s3.create_bucket(Bucket="another-bucket"))
    may_not(f"{who} in staging with this key", lambda: s3.put_object(Bucket=NAMES["staging"], Key="x", Body=b""))
    keys = s3._request_signer._credentials
    abroad = client("release", {"access_key_id": keys.access_key, "secret_access_key": keys.secret_key})
    may_not(f"{who} in release", lambda: abroad.list_objects_v2(Bucket=NAMES["release"]))


def check_controller():
    s3, bucket, who = process("controller", "quarantine"), NAMES["quarantine"], "controller"
    for key, deletes in ((f"requests/check/{run}/files/z", True), (f"work/outbox/{run}", True),
                         (f"requests/check/{run}/rounds/2/decision.json", False), (f"records/check/{run}-2.json", False),
                         (f"audit/requests/{run}/2.json", False), (f"index/path/{run}", False)):
        may(f"{who} put {key}", lambda: s3.put_object(Bucket=bucket, Key=key, Body=b"x", IfNoneMatch="*"))
        may(f"{who} get {key}", lambda: s3.get_object(Bucket=bucket, Key=key))
        (may if deletes else may_not)(f"{who} delete {key}", lambda: s3.delete_object(Bucket=bucket, Key=key))
        (may if deletes else may_not)(f"{who} delete many {key}", lambda: s3.delete_objects(Bucket=bucket, Delete={"Objects": [{"Key": key}]}))
    for call in ("list_objects_v2", "list_object_versions", "list_multipart_uploads", "get_bucket_versioning", "head_bucket"):
        may(f"{who} {call}", lambda: getattr(s3, call)(Bucket=bucket))
    check_upload(who, s3, bucket, f"requests/check/{run}/files/y", abort=True, complete=True)
    may_not(f"{who} set the policy", lambda: s3.put_bucket_policy(Bucket=bucket, Policy="{}"))
    release, bucket = process("controller", "release"), NAMES["release"]
    check_upload("controller release", release, bucket, f"releases/check/{run}/p.zip", abort=True, complete=True)
    may("controller release get", lambda: release.get_object(Bucket=bucket, Key=f"releases/check/{run}/p.zip"))
    may("controller release list", lambda: release.list_objects_v2(Bucket=bucket))
    may("controller release delete", lambda: release.delete_object(Bucket=bucket, Key=f"releases/check/{run}/p.zip"))


def check_staging():
    bucket, key = NAMES["staging"], f"{run}/1/a"
    gateway, controller = process("gateway", "staging"), process("controller", "staging")
    may("gateway staging put", lambda: gateway.put_object(Bucket=bucket, Key=key, Body=b"x"))
    upload, part = check_upload("gateway staging", gateway, bucket, f"{key}-m", abort=False, complete=False)
    may_not("gateway staging get", lambda: gateway.get_object(Bucket=bucket, Key=key))
    may_not("gateway staging delete", lambda: gateway.delete_object(Bucket=bucket, Key=key))
    may_not("gateway staging list", lambda: gateway.list_objects_v2(Bucket=bucket))
    may("controller staging complete", lambda: controller.complete_multipart_upload(
        **upload, MultipartUpload={"Parts": [{"PartNumber": 1, "ETag": part["ETag"]}]}))
    may("controller staging get", lambda: controller.get_object(Bucket=bucket, Key=f"{key}-m"))
    may("controller staging list uploads", lambda: controller.list_multipart_uploads(Bucket=bucket))
    for each in (key, f"{key}-m"):
        may("controller staging delete", lambda: controller.delete_object(Bucket=bucket, Key=each))


check_gateway()
check_controller()
check_staging()
print(f"{len(failures)} failures")
sys.exit(bool(failures))

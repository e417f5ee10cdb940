"""Proves that the operator's S3 identities may do what docs/reference/permissions.md#storage-identities says, and no more.

    . target/env/env.sh && $TREVOR_BOTO3_PYTHON tests/env/check_identities.py

Run it after a change of the policies in storage.py, or of SeaweedFS; the forging suite
runs it too. Leaves a few objects under `requests/check/`.
"""

import json
import os
import sys
import uuid
from pathlib import Path

import boto3
from botocore.config import Config
from botocore.exceptions import ClientError

LOCKED = {"ObjectLockEnabled": "Enabled", "Rule": {"DefaultRetention": {"Mode": "GOVERNANCE", "Days": 1}}}


class Identities:
    """The identities of one environment. report(what, wanted, got) hears of every call: allowed or refused."""

    def __init__(self, folder, report):
        self.folder, self.report, self.run = folder, report, uuid.uuid4().hex
        self.buckets = json.loads((folder / "env.json").read_text())["buckets"]
        self.names = {name: bucket["bucket"] for name, bucket in self.buckets.items()}

    def check(self):
        self.check_gateway()
        self.check_controller()
        self.check_staging()
        self.check_packaging()

    def client(self, place, keys):
        return boto3.client("s3", endpoint_url=self.buckets[place]["endpoint"], region_name="us-east-1",
                            aws_access_key_id=keys["access_key_id"], aws_secret_access_key=keys["secret_access_key"],
                            config=Config(s3={"addressing_style": "path"}, retries={"max_attempts": 1}))

    def keys(self, process, place):
        """What a process has for a place."""
        lines = dict(line.split("=", 1) for line in (self.folder / f"{process}.env").read_text().splitlines())
        return {part: lines[f"TREVOR_S3_{place.upper()}_{part.upper()}"] for part in ("access_key_id", "secret_access_key")}

    def process(self, name, place):
        """A client with the credentials that a process has for a place."""
        return self.client(place, self.keys(name, place))

    def expect(self, wanted, what, action):
        """The call is allowed (an answer, or 404) or refused (403), as wanted; gives its answer."""
        try:
            answer = action()
            errors = answer.get("Errors", [])
            got = "refused" if errors and errors[0]["Code"] == "AccessDenied" else "allowed"
        except ClientError as error:
            answer, status = None, error.response["ResponseMetadata"]["HTTPStatusCode"]
            got = "refused" if status == 403 else "allowed" if status == 404 else str(status)
        self.report(what, wanted, got)
        return answer

    def may(self, what, action):
        return self.expect("allowed", what, action)

    def may_not(self, what, action):
        return self.expect("refused", what, action)

    def check_upload(self, who, s3, bucket, key, abort, complete):
        made = self.may(f"{who} create upload", lambda: s3.create_multipart_upload(Bucket=bucket, Key=key))
        upload = {"Bucket": bucket, "Key": key, "UploadId": made["UploadId"]}
        part = self.may(f"{who} upload part", lambda: s3.upload_part(**upload, PartNumber=1, Body=b"part"))
        self.may(f"{who} list parts", lambda: s3.list_parts(**upload))
        if abort is not None:
            (self.may if abort else self.may_not)(f"{who} abort upload", lambda: s3.abort_multipart_upload(**upload))
        if complete:
            upload["UploadId"] = s3.create_multipart_upload(Bucket=bucket, Key=key)["UploadId"]
            part = s3.upload_part(**upload, PartNumber=1, Body=b"part")
            self.may(f"{who} complete upload", lambda: s3.complete_multipart_upload(
                **upload, MultipartUpload={"Parts": [{"PartNumber": 1, "ETag": part["ETag"]}]}))
        return upload, part

    def check_gateway(self):
        may, may_not, run = self.may, self.may_not, self.run
        s3, bucket, who = self.process("gateway", "quarantine"), self.names["quarantine"], "gateway"
        root = self.client("quarantine", self.buckets["quarantine"]["root"])
        base, rounds = f"requests/check/{run}", f"requests/check/{run}/rounds/1"
        reads_and_writes = [f"{base}/files/a", f"{base}/receipts/h/1.json", f"{rounds}/views/v.json",
                            f"work/plans/{run}.json", f"work/jobs/{run}.json", f"audit/gateway/{run}/1.json"]
        reads = [f"{rounds}/seal.json", f"{rounds}/manifest.json", f"{rounds}/outcome.json", f"work/urls/{run}/1.json"]
        nothing = [f"{rounds}/decision.json", f"{rounds}/attempts/1.json", f"{base}/owner.json", f"{base}/closed.json",
                   f"{base}/revoked.json", f"{base}/deleted/files.json", f"records/check/{run}.json", f"index/sha256/{run}",
                   f"index/path/{run}-g", f"audit/requests/{run}/1.json", f"audit/epochs/{run}.json", f"audit/checkpoints/{run}.json",
                   f"work/holds/{run}/1.json", f"work/outbox/{run}.json", f"work/probe/{run}", f"work/retention/{run}.json"]
        for key in reads_and_writes + reads + nothing:
            writes, looks = key in reads_and_writes, key not in nothing
            (may if writes else may_not)(f"{who} put {key}", lambda: s3.put_object(Bucket=bucket, Key=key, Body=b"x", IfNoneMatch="*"))
            if not writes:
                root.put_object(Bucket=bucket, Key=key, Body=b"x")
                may_not(f"{who} overwrite {key}", lambda: s3.put_object(Bucket=bucket, Key=key, Body=b"forged"))
            (may if looks else may_not)(f"{who} get {key}", lambda: s3.get_object(Bucket=bucket, Key=key))
            may_not(f"{who} delete {key}", lambda: s3.delete_object(Bucket=bucket, Key=key))
            may_not(f"{who} delete many {key}", lambda: s3.delete_objects(Bucket=bucket, Delete={"Objects": [{"Key": key}]}))
        for key in nothing:
            if not key.startswith(base):
                root.delete_object(Bucket=bucket, Key=key)  # an operator that runs would read it, and stop
        self.check_upload(who, s3, bucket, f"{base}/files/m", abort=True, complete=True)
        may_not(f"{who} create upload elsewhere", lambda: s3.create_multipart_upload(Bucket=bucket, Key=f"records/check/{run}"))
        for secret in (f"{rounds}/decision.json", f"{base}/owner.json"):
            source = {"Bucket": bucket, "Key": secret}
            may_not(f"{who} copy {secret} into files", lambda: s3.copy_object(Bucket=bucket, Key=f"{base}/files/c", CopySource=source))
            upload = s3.create_multipart_upload(Bucket=bucket, Key=f"{base}/files/c")["UploadId"]
            may_not(f"{who} copy {secret} into a part", lambda: s3.upload_part_copy(
                Bucket=bucket, Key=f"{base}/files/c", UploadId=upload, PartNumber=1, CopySource=source))
            s3.abort_multipart_upload(Bucket=bucket, Key=f"{base}/files/c", UploadId=upload)
        may_not(f"{who} copy a file over the manifest", lambda: s3.copy_object(
            Bucket=bucket, Key=f"{rounds}/manifest.json", CopySource={"Bucket": bucket, "Key": f"{base}/files/a"}))
        may(f"{who} list requests/", lambda: s3.list_objects_v2(Bucket=bucket, Prefix=f"{base}/receipts/"))
        for prefix in ("", "work/", "records/", "audit/", "index/"):
            may_not(f"{who} list '{prefix}'", lambda: s3.list_objects_v2(Bucket=bucket, Prefix=prefix))
        self.check_settings(who, s3, bucket, f"{base}/files/a")
        may_not(f"{who} make a bucket", lambda: s3.create_bucket(Bucket="another-bucket"))
        may_not(f"{who} in staging with this key", lambda: s3.put_object(Bucket=self.names["staging"], Key="x", Body=b""))
        abroad = self.client("release", self.keys("gateway", "quarantine"))
        may_not(f"{who} list the release bucket", lambda: abroad.list_objects_v2(Bucket=self.names["release"]))
        may_not(f"{who} put into the release bucket", lambda: abroad.put_object(Bucket=self.names["release"], Key="releases/x", Body=b""))
        may_not(f"{who} get from the release bucket", lambda: abroad.get_object(Bucket=self.names["release"], Key="releases/x"))

    def check_settings(self, who, s3, bucket, key):
        """What a bucket is set to is not the operator's to change."""
        for call, more in (
            ("put_bucket_policy", {"Policy": "{}"}), ("delete_bucket_policy", {}), ("put_bucket_acl", {"ACL": "public-read"}),
            ("put_bucket_versioning", {"VersioningConfiguration": {"Status": "Suspended"}}),
            ("put_object_lock_configuration", {"ObjectLockConfiguration": LOCKED}),
            ("put_bucket_lifecycle_configuration", {"LifecycleConfiguration": {"Rules": [
                {"ID": "x", "Status": "Enabled", "Filter": {"Prefix": ""}, "Expiration": {"Days": 1}}]}}),
            ("put_bucket_cors", {"CORSConfiguration": {"CORSRules": [{"AllowedMethods": ["GET"], "AllowedOrigins": ["*"]}]}}),
            ("delete_bucket", {}), ("put_object_acl", {"Key": key, "ACL": "public-read"}),
            ("put_object_tagging", {"Key": key, "Tagging": {"TagSet": [{"Key": "a", "Value": "b"}]}}),
        ):
            self.may_not(f"{who} {call}", lambda: getattr(s3, call)(Bucket=bucket, **more))

    def check_controller(self):
        may, may_not, run = self.may, self.may_not, self.run
        s3, bucket, who = self.process("controller", "quarantine"), self.names["quarantine"], "controller"
        for key, deletes in ((f"requests/check/{run}/files/z", True), (f"work/outbox/{run}", True),
                             (f"requests/check/{run}/rounds/2/decision.json", False), (f"records/check/{run}-2.json", False),
                             (f"audit/requests/{run}/2.json", False), (f"index/path/{run}", False)):
            may(f"{who} put {key}", lambda: s3.put_object(Bucket=bucket, Key=key, Body=b"x", IfNoneMatch="*"))
            may(f"{who} get {key}", lambda: s3.get_object(Bucket=bucket, Key=key))
            (may if deletes else may_not)(f"{who} delete {key}", lambda: s3.delete_object(Bucket=bucket, Key=key))
            (may if deletes else may_not)(f"{who} delete many {key}", lambda: s3.delete_objects(Bucket=bucket, Delete={"Objects": [{"Key": key}]}))
        for call in ("list_objects_v2", "list_object_versions", "list_multipart_uploads", "get_bucket_versioning", "head_bucket"):
            may(f"{who} {call}", lambda: getattr(s3, call)(Bucket=bucket))
        self.check_upload(who, s3, bucket, f"requests/check/{run}/files/y", abort=True, complete=True)
        self.check_settings(who, s3, bucket, f"requests/check/{run}/files/y")
        release, bucket = self.process("controller", "release"), self.names["release"]
        self.check_upload("controller release", release, bucket, f"releases/check/{run}/p.zip", abort=True, complete=True)
        may("controller release get", lambda: release.get_object(Bucket=bucket, Key=f"releases/check/{run}/p.zip"))
        may("controller release list", lambda: release.list_objects_v2(Bucket=bucket))
        self.check_settings("controller release", release, bucket, f"releases/check/{run}/p.zip")
        may("controller release delete", lambda: release.delete_object(Bucket=bucket, Key=f"releases/check/{run}/p.zip"))

    def check_packaging(self):
        """It reads files and the facts of rounds, puts packages, and neither sees nor deletes any."""
        may, may_not, who = self.may, self.may_not, "packaging"
        base, bucket = f"requests/check/{self.run}-p", self.names["quarantine"]
        s3, root = self.process(who, "quarantine"), self.client("quarantine", self.buckets["quarantine"]["root"])
        reads = [f"{base}/files/a", *(f"{base}/rounds/1/{name}" for name in ("seal.json", "manifest.json", "decision.json", "outcome.json", "attempts/1.json")),
                 f"{base}/closed.json", f"{base}/revoked.json"]
        nothing = [f"{base}/owner.json", f"{base}/receipts/h/1.json", f"records/check/{self.run}-p.json", f"audit/requests/{self.run}-p/1.json",
                   f"work/urls/{self.run}-p/1.json", f"work/jobs/{self.run}-p.json", f"index/path/{self.run}-p"]
        for key in reads + nothing:
            root.put_object(Bucket=bucket, Key=key, Body=b"x")
            (may if key in reads else may_not)(f"{who} get {key}", lambda: s3.get_object(Bucket=bucket, Key=key))
            may_not(f"{who} put {key}", lambda: s3.put_object(Bucket=bucket, Key=key, Body=b"forged"))
            may_not(f"{who} delete {key}", lambda: s3.delete_object(Bucket=bucket, Key=key))
        for key in nothing:
            if not key.startswith(base):
                root.delete_object(Bucket=bucket, Key=key)
        may(f"{who} get what is not there", lambda: s3.get_object(Bucket=bucket, Key=f"{base}/rounds/2/outcome.json"))
        may_not(f"{who} list", lambda: s3.list_objects_v2(Bucket=bucket, Prefix="requests/"))
        self.check_settings(who, s3, bucket, f"{base}/files/a")
        may_not(f"{who} in staging", lambda: s3.get_object(Bucket=self.names["staging"], Key="x"))
        release, bucket, key = self.process(who, "release"), self.names["release"], f"releases/check/{self.run}-p/n/p.zip"
        may(f"{who} put a package", lambda: release.put_object(Bucket=bucket, Key=key, Body=b"x", IfNoneMatch="*"))
        upload = may(f"{who} create upload", lambda: release.create_multipart_upload(Bucket=bucket, Key=f"{key}-m"))["UploadId"]
        may(f"{who} upload part", lambda: release.upload_part(Bucket=bucket, Key=f"{key}-m", UploadId=upload, PartNumber=1, Body=b"part"))
        may(f"{who} abort upload", lambda: release.abort_multipart_upload(Bucket=bucket, Key=f"{key}-m", UploadId=upload))
        for call, more in (("get_object", {"Key": key}), ("head_object", {"Key": key}), ("delete_object", {"Key": key}),
                           ("list_objects_v2", {}), ("list_multipart_uploads", {}), ("put_object", {"Key": "probe/x", "Body": b""})):
            may_not(f"{who} release {call}", lambda: getattr(release, call)(Bucket=bucket, **more))
        self.check_settings(f"{who} release", release, bucket, key)
        self.client("release", self.buckets["release"]["root"]).delete_object(Bucket=bucket, Key=key)

    def check_staging(self):
        may, may_not = self.may, self.may_not
        bucket, key = self.names["staging"], f"{self.run}/1/a"
        gateway, controller = self.process("gateway", "staging"), self.process("controller", "staging")
        may("gateway staging put", lambda: gateway.put_object(Bucket=bucket, Key=key, Body=b"x"))
        upload, part = self.check_upload("gateway staging", gateway, bucket, f"{key}-m", abort=False, complete=False)
        may_not("gateway staging get", lambda: gateway.get_object(Bucket=bucket, Key=key))
        may_not("gateway staging delete", lambda: gateway.delete_object(Bucket=bucket, Key=key))
        may_not("gateway staging list", lambda: gateway.list_objects_v2(Bucket=bucket))
        may_not("gateway staging in quarantine", lambda: gateway.get_object(Bucket=self.names["quarantine"], Key=key))
        may("controller staging complete", lambda: controller.complete_multipart_upload(
            **upload, MultipartUpload={"Parts": [{"PartNumber": 1, "ETag": part["ETag"]}]}))
        may("controller staging get", lambda: controller.get_object(Bucket=bucket, Key=f"{key}-m"))
        may("controller staging list uploads", lambda: controller.list_multipart_uploads(Bucket=bucket))
        for each in (key, f"{key}-m"):
            may("controller staging delete", lambda: controller.delete_object(Bucket=bucket, Key=each))


def main():
    failures = []

    def report(what, wanted, got):
        print(f"{'ok  ' if got == wanted else 'FAIL'} {what}: {got}")
        if got != wanted:
            failures.append(what)

    Identities(Path(os.environ["TREVOR_ENV_DIR"]), report).check()
    print(f"{len(failures)} failures")
    return bool(failures)


if __name__ == "__main__":
    sys.exit(main())

"""What comes in: `trevor send` against a good client, and the confirmation of what was sent.

Both contestants of `send` upload the same file to the same bucket, in parts of 64 MiB, as many at
once, encrypted. trevor also hashes the file, before it sends, and asks for nothing but the plan.
A confirmation lasts from the submission until a watch shows InReview: copied, read back, hashed and
frozen. `streamed` is the same with a staging server that is not the quarantine's by its name.
"""

import json
import os
import statistics
import subprocess
import time
import urllib.request

import people

AT_ONCE = 4
PART = 64 << 20
GOOD_CLIENT = """
import json, sys, time
import boto3
from boto3.s3.transfer import TransferConfig
order = json.load(sys.stdin)
place = order["place"]
s3 = boto3.client("s3", endpoint_url=place["endpoint"], region_name="us-east-1",
                  aws_access_key_id=place["root"]["access_key_id"], aws_secret_access_key=place["root"]["secret_access_key"])
parts = TransferConfig(multipart_threshold=order["part"], multipart_chunksize=order["part"], max_concurrency=order["at_once"])
began = time.monotonic()
s3.upload_file(order["file"], place["bucket"], order["key"], Config=parts, ExtraArgs={"ServerSideEncryption": "AES256"})
print(time.monotonic() - began)
s3.delete_object(Bucket=place["bucket"], Key=order["key"])
"""


class Inwards:
    """One ingress request of alice's for one file."""

    def __init__(self, bench, environment, name, file):
        self.state, self.file, self.name = bench.state, file, name
        self.kube = people.Kube(environment, "alice")
        self.path = f"{people.KINDS}/airlockrequests/{name}"
        self.uid = self.kube.call("POST", f"{people.KINDS}/airlockrequests", {
            "apiVersion": people.GROUP, "kind": "AirlockRequest", "metadata": {"name": name},
            "spec": {"direction": "Ingress", "title": f"Bench {name}", "submission": 0,
                     "files": [{"path": "one", "size": file.stat().st_size}]}})["metadata"]["uid"]
        self.watch = people.Watch(self.kube, name)
        self.watch.phase("Draft", 60)

    def plan(self):
        url = f"{self.state['variables']['TREVOR_GATEWAY_URL']}/v1alpha1/namespaces/{people.PROJECT}/airlockrequests/{self.name}/plan"
        call = urllib.request.Request(url, headers={"Authorization": f"Bearer {self.state['tokens']['alice']}"})
        return urllib.request.urlopen(call, timeout=60).read()

    def send(self):
        """Seconds of `trevor send`, the process's start included."""
        plan = self.plan()
        began = time.monotonic()
        subprocess.run([trevor(), "send", "-", self.file, "--parallel", str(AT_ONCE)], input=plan, check=True,
                       stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        return time.monotonic() - began

    def confirm(self):
        began = time.monotonic()
        self.kube.call("PATCH", self.path, {"spec": {"submission": 1}}, "application/merge-patch+json")
        frozen, _ = self.watch.phase("InReview")
        return frozen - began


def trevor():
    return os.environ["TREVOR_BIN"]


def good_client(bench, file):
    order = {"place": bench.buckets["staging"], "file": str(file), "key": "bench/one", "part": PART, "at_once": AT_ONCE}
    done = subprocess.run([bench.state["tools"]["boto3_python"], "-c", GOOD_CLIENT], input=json.dumps(order), text=True,
                          stdout=subprocess.PIPE, check=True)
    return float(done.stdout)


def measure(bench, environment, pairs, say, restart):
    """Both parts, for each way of confirming: `restart(change)` starts the operator with a changed configuration."""
    file = bench.samples.one()
    result = {"mib": file.stat().st_size >> 20, "trevor": [], "boto3": [], "copied": [], "streamed": []}
    for way in ("copied", "streamed"):
        restart(lambda settings: elsewhere(settings, way == "streamed"))
        for number in range(pairs):
            request = Inwards(bench, environment, f"inwards-{way}-{number}", file)
            turns = [("trevor", request.send), ("boto3", lambda: good_client(bench, file))]
            for name, turn in turns if number % 2 == 0 else turns[::-1]:
                result[name].append(turn())
            result[way].append(request.confirm())
            say(f"  sent in {result['trevor'][-1]:.2f} s (boto3: {result['boto3'][-1]:.2f} s), {way} in {result[way][-1]:.2f} s")
            for found in bench.quarantine.list(f"requests/{people.PROJECT}/{request.uid}/files/"):
                bench.quarantine.delete(found["key"])
            bench.reclaim()
    restart(lambda settings: elsewhere(settings, False))
    return result


def elsewhere(settings, streamed):
    """Staging under another name of the same machine: then no server copies by itself."""
    staging = settings["storage"]["staging"]
    names = ("127.0.0.1", "localhost") if streamed else ("localhost", "127.0.0.1")
    staging["endpoint"] = staging["endpoint"].replace(*names)


def rows(table, result, spread):
    for name in ("trevor", "boto3"):
        table.add(f"sending {result['mib']} MiB: {name}", spread(result[name], " s"))
    found = [boto3 / trevor for boto3, trevor in zip(result["boto3"], result["trevor"])]
    table.add("  speed of trevor send / boto3", spread(found), ">= 0.90", statistics.median(found) >= 0.9)
    for way in ("copied", "streamed"):
        seconds = result[way]
        table.add(f"confirming {result['mib']} MiB, {way}",
                  f"{spread(seconds, ' s')}, {result['mib'] / statistics.median(seconds):.0f} MiB/s")

"""Small requests as people make them: kubectl, curl, and nothing else."""

import json
import subprocess
import tempfile
import time

from cluster import PROJECTS
from tools import Failed

PROJECT = PROJECTS[0]
GROUP = "airlock.karectl.io/v1alpha1"
CONTENT = b"age_band,people\n50-59,2400\n"


class People:
    """alice asks, bob and carol review."""

    def __init__(self, node):
        self.node = node

    def create(self, person, document, namespace=PROJECT):
        done = subprocess.run([self.node.state["tools"]["kubectl"], "--context", person, "-n", namespace, "create", "-f", "-"],
                              input=json.dumps(document), capture_output=True, text=True)
        if done.returncode != 0:
            raise Failed(f"{person} creates {document['kind']}: {done.stderr.strip()}")

    def release(self, name):
        """From draft to a released package."""
        self.ask(name, direction="Egress", files=[{
            "path": "table.csv", "description": "Counts by age band", "justification": "a table of the paper",
            "suppressionNotes": "rounded", "outputType": "Table", "statbarn": "frequencies"}])
        self.wait(name, "jsonpath={.status.phase}=Draft")
        self.upload(name, "table.csv", CONTENT)
        self.change(name, submission=1)
        self.wait(name, "jsonpath={.status.phase}=InReview")
        self.approve(name, ("bob", "carol"))
        self.wait(name, "condition=Released")

    def approve(self, name, reviewers):
        for reviewer in reviewers:
            self.review(name, reviewer, "Approve")

    def review(self, name, reviewer, decision):
        digest = self.node.kubectl("--context", "bob", "-n", PROJECT, "get", "alr", name, "-o", "jsonpath={.status.manifest.digest}")
        self.create(reviewer, {"apiVersion": GROUP, "kind": "AirlockReview", "metadata": {"generateName": f"{name}-"},
                               "spec": {"requestName": name, "manifestDigest": digest, "decision": decision}})

    def ask(self, name, **spec):
        """alice's request."""
        self.create("alice", {"apiVersion": GROUP, "kind": "AirlockRequest", "metadata": {"name": name},
                              "spec": {"title": name, "description": "Counts by age band"} | spec})

    def change(self, name, **spec):
        self.node.kubectl("--context", "alice", "-n", PROJECT, "patch", "alr", name, "--type=merge", "-p", json.dumps({"spec": spec}))

    def gateway(self, person, name, what):
        """What a GET at the gateway answers."""
        variables = self.node.state["variables"]
        url = f"{variables['TREVOR_GATEWAY_URL']}/v1alpha1/namespaces/{PROJECT}/airlockrequests/{name}/{what}"
        header = f"header = \"Authorization: Bearer {self.node.state['tokens'][person]}\"\n"
        done = subprocess.run(["curl", "-sS", "--fail-with-body", "--max-time", "30", "-K", "-", "--cacert", variables["TREVOR_GATEWAY_CA"], url],
                              input=header.encode(), capture_output=True)
        if done.returncode != 0:
            raise Failed(f"{person} gets {what} of {name}: {done.stderr.decode().strip()} {done.stdout[-500:]}")
        return done.stdout

    def wait(self, name, what, seconds=60):
        began = time.monotonic()
        try:
            self.node.kubectl("--context", "alice", "-n", PROJECT, "wait", f"alr/{name}", f"--for={what}", f"--timeout={seconds}s")
        except Failed as failure:
            phase = self.node.kubectl("-n", PROJECT, "get", "alr", name, "-o", "jsonpath={.status.phase} {.status.conditions}", check=False)
            raise Failed(f"{name} does not reach {what} in {time.monotonic() - began:.0f} s: {phase}; {failure}") from failure

    def upload(self, name, path, content):
        with tempfile.NamedTemporaryFile(dir=self.node.folder) as file:
            file.write(content)
            file.flush()
            process = self.put(name, path, file.name, "--max-time", "60")
            said, _ = process.communicate()
        if process.returncode != 0:
            raise Failed(f"alice uploads {path}: {said.strip()[-1000:]}")

    def slow_upload(self, name, path, file, rate):
        """A PUT of so many bytes a second at most, which is under way when this returns."""
        return self.put(name, path, file, "--limit-rate", str(rate))

    def put(self, name, path, file, *options):
        """A PUT by alice that begins."""
        variables = self.node.state["variables"]
        url = f"{variables['TREVOR_GATEWAY_URL']}/v1alpha1/namespaces/{PROJECT}/airlockrequests/{name}/files/{path}"
        process = subprocess.Popen(["curl", "-sS", "--fail-with-body", "-K", "-", "--cacert", variables["TREVOR_GATEWAY_CA"],
                                    *options, "-T", file, url],
                                   stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        process.stdin.write(f"header = \"Authorization: Bearer {self.node.state['tokens']['alice']}\"\n")
        process.stdin.close()
        process.stdin = None
        return process

    def objects(self, bucket, prefix=""):
        """How many objects a bucket holds, as its server's root sees it."""
        of = self.node.state["buckets"][bucket]
        order = {"endpoint": of["endpoint"], "bucket": of["bucket"], "prefix": prefix, **of["root"]}
        done = subprocess.run([self.node.state["tools"]["boto3_python"], "-c", COUNT], input=json.dumps(order),
                              capture_output=True, text=True)
        if done.returncode != 0:
            raise Failed(f"listing {bucket}: {done.stderr[-1000:]}")
        return int(done.stdout)


COUNT = """
import boto3, json, sys
order = json.load(sys.stdin)
client = boto3.client("s3", endpoint_url=order["endpoint"], region_name="us-east-1",
    aws_access_key_id=order["access_key_id"], aws_secret_access_key=order["secret_access_key"])
pages = client.get_paginator("list_objects_v2").paginate(Bucket=order["bucket"], Prefix=order["prefix"])
print(sum(page["KeyCount"] for page in pages))
"""

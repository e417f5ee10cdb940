"""What people do with trevor, over HTTP alone: alice uploads and submits, bob and carol approve.

The same calls as kubectl and curl make, without the time that starting kubectl takes.
"""

import http.client
import json
import ssl
import subprocess
import threading
import time

GROUP = "airlock.karectl.io/v1alpha1"
PROJECT = "project-a"
KINDS = f"/apis/{GROUP}/namespaces/{PROJECT}"


class Kube:
    """The API server, as one user of the environment's kubeconfig."""

    def __init__(self, folder, user):
        config = json.loads((folder / "kubeconfig").read_text())
        self.host = config["clusters"][0]["cluster"]["server"].removeprefix("https://")
        self.token = next(entry["user"]["token"] for entry in config["users"] if entry["name"] == user)
        self.tls = ssl.create_default_context(cafile=str(folder / "cluster/ca.crt"))

    def open(self, method, path, body=None, kind="application/json"):
        connection = http.client.HTTPSConnection(self.host, context=self.tls, timeout=600)
        connection.request(method, path, json.dumps(body) if body is not None else None,
                           {"Authorization": f"Bearer {self.token}", "Content-Type": kind})
        answer = connection.getresponse()
        if answer.status >= 400:
            raise RuntimeError(f"{method} {path}: {answer.status} {answer.read().decode(errors='replace')[:500]}")
        return answer

    def call(self, method, path, body=None, kind="application/json"):
        return json.loads(self.open(method, path, body, kind).read())

    def text(self, path):
        return self.open("GET", path).read().decode()


class Watch(threading.Thread):
    """Looks on while a request changes, and notes when it saw what."""

    def __init__(self, kube, name):
        super().__init__(daemon=True)
        self.kube, self.path = kube, f"{KINDS}/airlockrequests?watch=1&fieldSelector=metadata.name={name}"
        self.seen, self.news = [], threading.Condition()
        self.start()

    def run(self):
        for line in self.kube.open("GET", self.path):
            with self.news:
                self.seen.append((time.monotonic(), json.loads(line)["object"]))
                self.news.notify_all()

    def wait(self, reached, what, seconds=600):
        """When `reached(status)` was first true, and the request as it was then."""
        deadline, looked = time.monotonic() + seconds, 0
        with self.news:
            while True:
                for when, found in self.seen[looked:]:
                    if reached(found.get("status") or {}):
                        return when, found
                looked = len(self.seen)
                if not self.news.wait(deadline - time.monotonic()):
                    last = self.seen[-1][1].get("status") if self.seen else "nothing"
                    raise RuntimeError(f"not {what} after {seconds} s; last seen: {json.dumps(last)[:2000]}")

    def phase(self, phase, seconds=600):
        return self.wait(lambda status: status.get("phase") == phase, phase, seconds)

    def released(self, seconds=600):
        def reached(status):
            return any(c["type"] == "Released" and c["status"] == "True" for c in status.get("conditions", []))
        return self.wait(reached, "Released", seconds)


class Request:
    """One request of alice's for whatever lies beneath `data/`."""

    def __init__(self, state, folder, name):
        self.state, self.folder, self.name = state, folder, name
        self.kube = {user: Kube(folder, user) for user in ("alice", "bob", "carol")}
        self.path = f"{KINDS}/airlockrequests/{name}"
        self.url = f"{state['variables']['TREVOR_GATEWAY_URL']}/v1alpha1/namespaces/{PROJECT}/airlockrequests/{name}/files"
        made = self.kube["alice"].call("POST", f"{KINDS}/airlockrequests", {
            "apiVersion": GROUP, "kind": "AirlockRequest", "metadata": {"name": name},
            "spec": {"direction": "Egress", "title": f"Bench {name}", "description": "made by make bench",
                     "files": [{"path": "data/", "description": "made up", "justification": "a measurement",
                                "suppressionNotes": "nothing is true", "outputType": "Data"}], "submission": 0}})
        self.uid = made["metadata"]["uid"]
        self.watch = Watch(self.kube["alice"], name)
        self.watch.phase("Draft", 60)

    def upload(self, files, at_once=1):
        """Upload local files under the given names by one curl; gives its seconds."""
        lines = [f'header = "Authorization: Bearer {self.state["tokens"]["alice"]}"', 'header = "Expect:"', "fail", "silent",
                 "show-error"]
        if at_once > 1:
            lines += ["parallel", f"parallel-max = {at_once}"]
        for name, file in files:
            lines += [f'url = "{self.url}/{name}"', f'upload-file = "{file}"', 'output = "/dev/null"']
        return curl(lines)

    def submit(self):
        """Gives the seconds until the round was frozen."""
        began = time.monotonic()
        self.kube["alice"].call("PATCH", self.path, {"spec": {"submission": 1}}, "application/merge-patch+json")
        frozen, found = self.watch.phase("InReview")
        self.digest = found["status"]["manifest"]["digest"]
        return frozen - began

    def approve(self, reviewer):
        self.kube[reviewer].call("POST", f"{KINDS}/airlockreviews", {
            "apiVersion": GROUP, "kind": "AirlockReview", "metadata": {"generateName": f"{self.name}-"},
            "spec": {"requestName": self.name, "manifestDigest": self.digest, "decision": "Approve", "comment": "fine"}})

    def approve_first(self):
        self.approve("bob")
        self.watch.wait(lambda status: (status.get("approvals") or {}).get("summary") == "1/2", "approved by one", 60)

    def files(self, quarantine):
        """The quarantined objects, as listed."""
        return quarantine.list(f"requests/{PROJECT}/{self.uid}/files/")

    def fact(self, name):
        """Key of a commit object of the first round."""
        return f"requests/{PROJECT}/{self.uid}/rounds/1/{name}.json"


def curl(lines):
    """Run curl with a configuration, which no process list shows; gives its seconds."""
    began = time.monotonic()
    done = subprocess.run(["curl", "-K", "-"], input="\n".join(lines), text=True, capture_output=True)
    if done.returncode != 0:
        raise RuntimeError(f"curl: {done.stderr[-1000:]}")
    return time.monotonic() - began

"""Volumes of the project, as somebody who runs the cluster would give them: folders of the node.

A hostPath volume ignores fsGroup, so that each folder is given to the user whom Jobs run as.
"""

import json
import os
import subprocess
import time

from requests_by_people import PROJECT
from tools import Failed

USER = 65532  # jobs.run_as_user of the chart
HOLDER_IMAGE = "localhost/pause:1"


class Claims:
    """PersistentVolumeClaims on folders, and who may use them."""

    def __init__(self, node):
        self.node, self.home = node, node.folder / "volumes"
        self.home.mkdir(exist_ok=True)

    def apply(self, *documents):
        text = json.dumps({"apiVersion": "v1", "kind": "List", "items": list(documents)})
        done = subprocess.run([self.node.state["tools"]["kubectl"], "-n", PROJECT, "apply", "-f", "-"],
                              input=text, capture_output=True, text=True)
        if done.returncode != 0:
            raise Failed(f"kubectl apply: {done.stderr.strip()}")

    def folder(self, name, size=None):
        """A folder for a volume; with a size, of a file system that has no more room."""
        path = self.home / name
        path.mkdir()
        if size:
            subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size},mode=755", "tmpfs", path], check=True)
        os.chown(path, USER, USER)
        return path

    def bound(self, name, mode="ReadWriteOnce"):
        """A claim that is bound to a volume on the folder of its name."""
        claim = {"volumeName": name, "storageClassName": "", "accessModes": [mode], "resources": {"requests": {"storage": "1Gi"}}}
        self.apply(
            {"apiVersion": "v1", "kind": "PersistentVolume", "metadata": {"name": name},
             "spec": {"capacity": {"storage": "1Gi"}, "accessModes": [mode], "storageClassName": "",
                      "persistentVolumeReclaimPolicy": "Retain", "hostPath": {"path": str(self.home / name), "type": "Directory"},
                      "claimRef": {"namespace": PROJECT, "name": name}}},
            {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": name}, "spec": claim})
        self.node.kubectl("-n", PROJECT, "wait", f"pvc/{name}", "--for=jsonpath={.status.phase}=Bound", "--timeout=30s")

    def may(self, *rights):
        """alice may read or write claims, by name: (verb, claim)…"""
        group = "rbac.authorization.k8s.io"
        for verb, name in rights:
            self.apply(
                {"apiVersion": f"{group}/v1", "kind": "Role", "metadata": {"name": f"{verb}-{name}"}, "rules": [
                    {"apiGroups": [""], "resources": ["persistentvolumeclaims"], "resourceNames": [name], "verbs": [verb]}]},
                {"apiVersion": f"{group}/v1", "kind": "RoleBinding", "metadata": {"name": f"{verb}-{name}"},
                 "roleRef": {"apiGroup": group, "kind": "Role", "name": f"{verb}-{name}"},
                 "subjects": [{"apiGroup": group, "kind": "User", "name": "alice"}]})
        # The API server knows of it a moment later.
        deadline = time.monotonic() + 30
        for verb, name in rights:
            while self.node.kubectl("auth", "can-i", verb, f"pvc/{name}", "--as=alice", "-n", PROJECT, check=False).strip() != "yes":
                if time.monotonic() > deadline:
                    raise Failed(f"alice has no {verb} on {name}")

    def holder(self, name):
        """A pod of the project that has a claim mounted, and does nothing."""
        self.apply({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": f"holds-{name}"}, "spec": {
            "automountServiceAccountToken": False,
            "securityContext": {"runAsNonRoot": True, "runAsUser": USER, "seccompProfile": {"type": "RuntimeDefault"}},
            "containers": [{"name": "pause", "image": HOLDER_IMAGE, "imagePullPolicy": "IfNotPresent",
                            "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}},
                            "volumeMounts": [{"name": "held", "mountPath": "/held"}]}],
            "volumes": [{"name": "held", "persistentVolumeClaim": {"claimName": name}}]}})
        self.node.kubectl("-n", PROJECT, "wait", f"pod/holds-{name}", "--for=condition=Ready", "--timeout=60s")
        return f"holds-{name}"


def write(folder, path, content):
    """A file as somebody in the workspace would leave it."""
    file = folder / path
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(content)
    for made in [file, *file.parents]:
        if made == folder:
            break
        os.chown(made, USER, USER)

"""What a kubelet does for the pods of a lane's Jobs: their own command runs, against folders, with a token that is bound
to the pod or with the Secrets that it names, and its end is written into the pod's status."""

import asyncio
import base64
import json
import os
import shutil
import signal
import tempfile
from pathlib import Path

from cluster_api import Refusal, Watched

HOME = "trevor-system"


class Kubelet:
    def __init__(self, lane, namespace, mine):
        """`mine` says whether a pod is one of this lane's."""
        self.lane, self.namespace, self.mine = lane, namespace, mine
        self.claims, self.taken, self.children = {}, set(), []
        self.pods = Watched(lane.api["admin"], f"/api/v1/namespaces/{namespace}/pods")
        self.task = asyncio.create_task(self.serve())

    async def serve(self):
        while True:
            for pod in list(self.pods.objects.values()):
                meta, phase = pod["metadata"], pod.get("status", {}).get("phase", "Pending")
                if phase == "Pending" and "deletionTimestamp" not in meta and meta["uid"] not in self.taken \
                        and "batch.kubernetes.io/job-name" in meta.get("labels", {}) and self.mine(pod):
                    self.taken.add(meta["uid"])
                    asyncio.create_task(self.runs(pod))
            async with self.pods.changed:
                try:
                    await asyncio.wait_for(self.pods.changed.wait(), 1)
                except asyncio.TimeoutError:
                    pass

    async def runs(self, pod):
        folder = Path(tempfile.mkdtemp(prefix="pod-", dir=self.lane.folder))
        try:
            code, said = await self.command(pod, folder)
        except (Refusal, OSError) as error:
            code, said = 1, str(error)
        finally:
            shutil.rmtree(folder, ignore_errors=True)
        end = {"exitCode": code, "reason": "Completed" if code == 0 else "Error", "message": said[-3000:]}
        status = {"phase": "Succeeded" if code == 0 else "Failed", "containerStatuses": [{
            "name": pod["spec"]["containers"][0]["name"], "image": "", "imageID": "", "ready": False, "restartCount": 0,
            "state": {"terminated": end}}]}
        path = f"/api/v1/namespaces/{self.namespace}/pods/{pod['metadata']['name']}/status"
        await self.lane.api["admin"].call("PATCH", path, {"status": status}, "application/merge-patch+json")

    async def command(self, pod, folder):
        container = pod["spec"]["containers"][0]
        places = await self.places(pod, container, folder)
        word = folder / "termination-log"
        arguments = [self.placed(argument, places) for argument in container.get("args", [])]
        if self.namespace == HOME:
            arguments += ["--termination-log", str(word)]
        variables = {"PATH": os.environ["PATH"], **await self.variables(container),
                     "TREVOR_ENV_PROCESS": f"{self.lane.env_folder}#crash-{self.lane.number}-job"}
        child = await asyncio.create_subprocess_exec(
            self.lane.program, *arguments, stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT, env=variables)
        self.children.append(child)
        said = (await child.stdout.read()).decode(errors="replace")
        code = await child.wait()
        self.children.remove(child)
        with open(self.lane.folder / "job.log", "a") as out:
            out.write(said)
        if self.namespace == HOME:
            said = word.read_text() if word.exists() else ""
        return (code if code >= 0 else 137), said

    async def places(self, pod, container, folder):
        """Where each mount of the container lies."""
        found = {}
        for mount in container.get("volumeMounts", []):
            volume = next(v for v in pod["spec"]["volumes"] if v["name"] == mount["name"])
            if claim := volume.get("persistentVolumeClaim"):
                place = self.claims[claim["claimName"]]
            else:
                place = folder / mount["name"]
                place.mkdir(exist_ok=True)
                if projected := volume.get("projected"):
                    source = projected["sources"][0]["serviceAccountToken"]
                    (place / source.get("path", "token")).write_text(await self.token(pod, source))
                elif "configMap" in volume:
                    (place / "config.yaml").write_text(json.dumps(self.lane.job_configuration(place)))
            found[mount["mountPath"]] = str(place)
        return found

    @staticmethod
    def placed(argument, places):
        argument = argument.replace("$$", "$")
        for mount in sorted(places, key=len, reverse=True):
            argument = argument.replace(mount, places[mount])
        return argument

    async def token(self, pod, source):
        path = f"/api/v1/namespaces/{self.namespace}/serviceaccounts/{pod['spec']['serviceAccountName']}/token"
        made = await self.lane.api["admin"].ask("POST", path, {"spec": {
            "audiences": [source["audience"]], "expirationSeconds": source["expirationSeconds"],
            "boundObjectRef": {"apiVersion": "v1", "kind": "Pod", "name": pod["metadata"]["name"], "uid": pod["metadata"]["uid"]}}})
        return made["status"]["token"]

    async def variables(self, container):
        found = {}
        for variable in container.get("env", []):
            if "value" in variable:
                found[variable["name"]] = variable["value"]
                continue
            source = variable["valueFrom"].get("secretKeyRef")
            if not source:
                continue
            secret = await self.lane.api["admin"].ask("GET", f"/api/v1/namespaces/{self.namespace}/secrets/{source['name']}")
            if source["key"] in secret.get("data", {}):
                found[variable["name"]] = base64.b64decode(secret["data"][source["key"]]).decode()
        return found

    async def kill(self):
        """SIGKILL for whatever runs now."""
        for child in self.children:
            child.send_signal(signal.SIGKILL)

    def stop(self):
        self.task.cancel()
        self.pods.task.cancel()

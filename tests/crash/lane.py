"""A lane: a namespace, buckets, a controller and a gateway of their own, on a cluster and storage servers that lanes
share, with the proxy before everything that the two processes reach. One plan at a time runs in it."""

import asyncio
import contextlib
import json
import os
import secrets
import signal
import ssl
import sys
import time
import urllib.parse
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent / "env")]

import chart
import faults
import storage
import wire
from cluster_api import GROUP, Api, Refusal, Watched
from kubelet import Kubelet
from ports import Ports
from proxy import Journal, Proxy
from receivers import Mailbox, Webhooks
from s3 import Bucket
from workloads import PROFILES

RBAC = "rbac.authorization.k8s.io"
ROLES = (("trevor-researcher", ("alice", "dave")), ("trevor-checker", ("bob", "carol")), ("trevor-hold-officer", ("olga",)))
HOME = "trevor-system"
PEOPLE = ("alice", "bob", "carol", "olga")
LEADS = ["--leader-elect=false"]  # one in a lane; where a second one leads besides, the claim of neither ends
SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"


def kind_of(process):
    """What kind a process is: a second controller, and Jobs, are configured as the controller is."""
    return "gateway" if process == "gateway" else "controller"


class Process:
    """A process that is started again whenever it ends, as a kubelet does."""

    def __init__(self, lane, name):
        self.lane, self.name, self.child, self.wanted, self.starts = lane, name, None, False, 0
        self.up = asyncio.Event()

    def start(self):
        self.wanted = True
        self.task = asyncio.create_task(self.keep())

    async def keep(self):
        while self.wanted:
            self.starts += 1
            began = time.monotonic()
            with open(self.lane.folder / f"{self.name}.log", "ab") as out:
                self.child = await asyncio.create_subprocess_exec(
                    self.lane.program, kind_of(self.name), "--config", self.lane.folder / f"{self.name}.yaml", *self.arguments(),
                    stdin=asyncio.subprocess.DEVNULL, stdout=out, stderr=out, env=self.lane.environment(self.name))
            watch = asyncio.create_task(self.becomes_ready())
            await self.child.wait()
            watch.cancel()
            self.up.clear()
            if self.wanted and time.monotonic() - began < 0.3:
                await asyncio.sleep(0.3)

    def arguments(self):
        return [*LEADS, "--identity", f"{self.lane.namespace}-{self.name}"] if kind_of(self.name) == "controller" else []

    async def becomes_ready(self):
        url = urllib.parse.urlsplit(f"http://{self.lane.listens[self.name]}")
        client = wire.Client(url.hostname, url.port)
        while True:
            with contextlib.suppress(wire.Broken):
                if (await client.call("GET", "/readyz", timeout=2)).status == 200:
                    self.up.set()
                    return
            await asyncio.sleep(0.03)

    async def kill(self):
        child = self.child
        self.up.clear()
        if child and child.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                child.send_signal(signal.SIGKILL)
            await child.wait()

    async def stop(self):
        self.wanted = False
        await self.kill()
        await self.task

    def signal(self, number):
        self.child.send_signal(number)


class Lane:
    def __init__(self, env_folder, number, folder):
        self.env_folder, self.number, self.folder = Path(env_folder), number, Path(folder)
        self.state = json.loads((self.env_folder / "env.json").read_text())
        self.namespace = f"lane-{number}-{secrets.token_hex(3)}"
        self.program = os.environ["TREVOR_BIN"]
        self.journal, self.proxies, self.processes, self.profile = Journal(), {}, {}, None
        self.tokens, self.killed, self.second = {}, [], None
        self.extra, self.wrong, self.kubelets = {}, {}, []

    # --- coming up ---

    async def up(self):
        self.folder.mkdir(parents=True, exist_ok=True)
        cluster = self.env_folder / "cluster"
        config = json.loads((self.env_folder / "kubeconfig").read_text())
        server = urllib.parse.urlsplit(config["clusters"][0]["cluster"]["server"])
        self.server_tls = ssl.create_default_context(cafile=str(cluster / "ca.crt"))
        self.serving_tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.serving_tls.load_cert_chain(cluster / "serving/apiserver.crt", cluster / "serving/apiserver.key")
        tokens = {user["name"]: user["user"]["token"] for user in config["users"]}
        self.api = {user: Api(server.hostname, server.port, self.server_tls, tokens[user])
                    for user in (*PEOPLE, "admin")}
        self.kube_at = (server.hostname, server.port)
        await asyncio.gather(self.make_namespace(), self.make_buckets(), self.make_receivers())
        await self.make_proxies()
        # Of a block that is locked: processes are started anew, and nobody may have taken their ports meanwhile.
        self.ports = Ports()
        self.listens = {name: f"127.0.0.1:{self.ports.new()}" for name in ("controller", "second", "gateway", "metrics")}
        await self.people_and_pods()

    async def people_and_pods(self):
        below = f"{GROUP}/namespaces/{self.namespace}"
        self.requests = Watched(self.api["admin"], f"{below}/airlockrequests")
        self.reviews = Watched(self.api["admin"], f"{below}/airlockreviews")
        self.actions = Watched(self.api["admin"], f"{below}/airlockactions")
        self.records = Watched(self.api["admin"], f"{below}/releaserecords")
        self.kubelets = [Kubelet(self, self.namespace, lambda pod: True),
                         Kubelet(self, HOME, lambda pod: self.namespace in json.dumps(pod["spec"]))]
        for person in PEOPLE:
            self.tokens[person] = await self.new_session(person)

    async def new_namespace(self):
        """After the namespace was deleted: another one, in the same buckets."""
        for process in self.processes.values():
            await process.stop()
        self.profile = None
        self.end_watching()
        self.namespace = f"lane-{self.number}-{secrets.token_hex(3)}"
        await self.make_namespace()
        for (_, plane), proxy in self.proxies.items():
            if plane == "kube":
                proxy.narrow = self.namespace
        await self.people_and_pods()

    def end_watching(self):
        for watched in (self.requests, self.reviews, self.actions, self.records):
            watched.task.cancel()
        for kubelet in self.kubelets:
            kubelet.stop()

    async def make_namespace(self):
        await self.api["admin"].ask("POST", "/api/v1/namespaces", {"metadata": {"name": self.namespace}})
        for role, users in ROLES:
            await self.api["admin"].ask("POST", f"/apis/{RBAC}/v1/namespaces/{self.namespace}/rolebindings", {
                "metadata": {"name": role}, "roleRef": {"apiGroup": RBAC, "kind": "ClusterRole", "name": role},
                "subjects": [{"apiGroup": RBAC, "kind": "User", "name": user} for user in users]})

    async def make_buckets(self):
        self.buckets = {}
        for zone, described in (("quarantine", storage.quarantine()), ("staging", storage.staging()), ("release", storage.release())):
            known = self.state["buckets"][zone]
            name = f"{zone}-{self.namespace}"
            bucket = Bucket(known["endpoint"], name, known["root"])
            await bucket.create()
            policy = json.dumps({"Version": "2012-10-17", "Statement": described.policy})
            for _ in range(100):
                try:
                    await bucket.put("first", b"")
                    await bucket.delete("first")
                    await bucket.policy(policy.replace(known["bucket"], name))
                    break
                except Exception:
                    await asyncio.sleep(0.1)
            self.buckets[zone] = bucket

    async def make_receivers(self):
        self.webhooks, self.mailbox = await Webhooks().start(), await Mailbox(self.journal).start()

    async def make_proxies(self):
        for who in ("controller", "second", "gateway", "job"):
            for plane in ("kube", "quarantine", "staging", "release", "receiver"):
                if plane in ("release", "receiver") and who == "gateway":
                    continue
                if plane == "kube":
                    proxy = Proxy(self.journal, who, plane, *self.kube_at, narrow=self.namespace,
                                  upstream_tls=self.server_tls, serving_tls=self.serving_tls)
                elif plane == "receiver":
                    proxy = Proxy(self.journal, who, plane, "127.0.0.1", self.webhooks.port)
                else:
                    client = self.buckets[plane].client
                    proxy = Proxy(self.journal, who, plane, client.host, client.port)
                self.proxies[who, plane] = await proxy.start()

    async def new_session(self, person):
        import base64
        import hashlib
        who = base64.urlsafe_b64encode(f"{self.namespace}/{person}".encode()).decode().rstrip("=")
        token = f"trv1.{who}.{base64.urlsafe_b64encode(secrets.token_bytes(32)).decode().rstrip('=')}"
        digest = hashlib.sha256(token.encode()).hexdigest()
        for _ in range(100):
            try:
                await self.api[person].ask("POST", f"{GROUP}/namespaces/{self.namespace}/airlocksessions", {
                    "apiVersion": "airlock.karectl.io/v1alpha1", "kind": "AirlockSession", "metadata": {"name": f"s-{digest[:40]}"},
                    "spec": {"tokenSHA256": digest, "ttlSeconds": 43_200}})
                return token
            except Refusal as error:  # a binding is not seen at once
                last = error
                await asyncio.sleep(0.1)
        raise last

    # --- processes ---

    def configuration(self, process, profile):
        config = json.loads((self.env_folder / f"{kind_of(process)}.yaml").read_text())
        own_staging = profile.get("staging_elsewhere")
        for zone in ("quarantine", "release", "staging"):
            place = config["storage"].get(zone)
            if not place:
                continue
            place["bucket"] = self.buckets[zone].name
            # Staging on the quarantine's server: the server copies by itself.
            plane = "quarantine" if zone == "staging" and not own_staging else zone
            if (process, plane) in self.proxies:
                place["endpoint"] = self.proxies[process, plane].url
        config["controller"]["listen"] = self.listens["second" if process == "second" else "controller"]
        config["controller"]["url"] = f"http://{self.listens['controller']}"
        config["controller"].setdefault("packaging", {})["spool_dir"] = str(self.folder / "spool")
        config["gateway"]["listen"] = self.listens["gateway"]
        config["gateway"]["metrics_listen"] = self.listens["metrics"]
        config["gateway"]["url"] = f"http://{self.listens['gateway']}"
        config["notifications"] = self.notifications(profile)
        if not profile.get("signed"):  # else each message of a release waits for a checkpoint that covers it
            config["audit"]["signing_key_secret"] = None
        config["log"]["level"] = os.environ.get("CRASH_LOG", "info")
        if profile.get("packaging_jobs"):
            config["controller"]["packaging"]["job_template"] = str(self.env_folder / "packaging-job.yaml")
        for pointer, value in profile.get("settings", {}).items():
            *above, last = pointer.split("/")
            at = config
            for part in above:
                at = at.setdefault(part, {})
            if value is None:
                at.pop(last, None)
            else:
                at[last] = value
        return config

    def job_configuration(self, place):
        """What a packaging Job is configured with: the storage servers, through the proxies of Jobs."""
        config = self.configuration("job", {})
        config["controller"]["packaging"]["spool_dir"] = str(place)
        config["notifications"], config["storage"]["staging"], config["audit"] = {}, None, {}
        return config

    def notifications(self, profile):
        hook = self.proxies["controller", "receiver"].url  # of a second controller, too
        channels = [{"name": "desk", "webhook": {"url": f"{hook}/desk", "allow_plaintext": True}}]
        if profile.get("mail"):
            channels.append({"name": "mail", "smtp": {
                "host": "127.0.0.1", "port": self.mailbox.port, "tls": "None", "allow_plaintext": True,
                "from": "Airlock <airlock@tre.example>", "to": ["desk@tre.example"], "recipients": True}})
        return {"channels": channels, "allowed_hosts": ["127.0.0.1"]}

    def environment(self, process):
        lines = (self.env_folder / f"{kind_of(process)}.env").read_text().splitlines()
        variables = dict(line.split("=", 1) for line in lines)
        if not PROFILES.get(self.profile, {}).get("signed"):
            variables.pop("TREVOR_AUDIT_SIGNING_KEY", None)
        return {**variables, "KUBECONFIG": str(self.folder / f"{process}.kubeconfig"), "PATH": os.environ["PATH"],
                "TREVOR_NOTIFY_DESK_SIGNING_SECRET": SECRET, "RUST_BACKTRACE": "1",
                "TREVOR_ENV_PROCESS": f"{self.env_folder}#crash-{self.number}-{process}", **self.extra,
                **self.wrong.get(process, {})}

    def write_configuration(self, profile):
        (self.folder / "spool").mkdir(exist_ok=True)
        for process in ("controller", "second", "gateway"):
            (self.folder / f"{process}.yaml").write_text(json.dumps(self.configuration(process, profile)))
            kubeconfig = json.loads((self.env_folder / f"{kind_of(process)}.kubeconfig").read_text())
            kubeconfig["clusters"][0]["cluster"]["server"] = self.proxies[process, "kube"].url
            path = self.folder / f"{process}.kubeconfig"
            path.touch(mode=0o600)
            path.write_text(json.dumps(kubeconfig))

    async def use(self, name):
        """Both processes with this profile, and ready."""
        if self.profile != name:
            for process in self.processes.values():
                await process.stop()
            self.profile = name
            self.write_configuration(PROFILES[name])
            self.processes = {process: Process(self, process) for process in ("controller", "gateway")}
            for process in self.processes.values():
                process.start()
        await self.ready(60)

    async def ready(self, seconds=30):
        try:
            await asyncio.wait_for(asyncio.gather(*(p.up.wait() for p in self.processes.values())), seconds)
        except asyncio.TimeoutError:
            raise RuntimeError(f"controller or gateway are not ready: see {self.folder}/*.log") from None

    async def cluster_is_back(self, seconds=60):
        """After the API server was started anew: it serves people, and what we watch is what it has."""
        for api in self.api.values():
            api.client.idle.clear()
        deadline = time.monotonic() + seconds
        for kind in chart.KINDS:  # complete enough to come through admission, or to be refused there
            while True:
                with contextlib.suppress(wire.Broken):
                    status, _ = await self.api["admin"].call(
                        "POST", f"{GROUP}/namespaces/{self.namespace}/{kind}?dryRun=All", chart.wanting(kind))
                    if status not in (403, 404, 500, 503):
                        break
                if time.monotonic() > deadline:
                    raise RuntimeError(f"{kind} are not served again after {seconds} s: see {self.env_folder}/log")
                await asyncio.sleep(0.1)
        watched = (self.requests, self.reviews, self.actions, self.records)
        await asyncio.gather(*(one.lists_anew() for one in watched))

    async def kill(self, who):
        self.killed.append(who)
        if who in self.processes:
            await self.processes[who].kill()
        elif who == "job":
            for kubelet in self.kubelets:
                await kubelet.kill()

    async def second_leads(self):
        """Another controller leads besides, until the plan ends."""
        self.processes["second"] = Process(self, "second")
        self.processes["second"].start()
        await asyncio.wait_for(self.processes["second"].up.wait(), 30)

    async def second_ends(self):
        if second := self.processes.pop("second", None):
            await second.stop()

    def keep_journal(self, plan):
        """What passed during a plan that failed, a line each, beside the logs."""
        first = min((call.began for call in self.journal.calls), default=0)
        with open(self.folder / "failed.txt", "a") as out:
            out.write(f"--- {plan}\n")
            for call in self.journal.calls:
                out.write(f"{call.began - first:8.3f} {call.sent - first if call.sent else -1:8.3f} {call.who} {call.plane} {call.method} "
                          f"{call.path}{'?' + call.query if call.query else ''} {call.status} {call.fault}\n")

    def kill_again(self):
        if self.second:
            self.second()

    async def down(self):
        for process in self.processes.values():
            await process.stop()
        self.end_watching()
        for proxy in self.proxies.values():
            await proxy.stop()

    async def plants_a_twin(self, call):
        """A second object beside one that was just stored."""
        plane = call.plane
        key = call.path.split("/", 2)[2]
        body = await self.buckets[plane].get(key)
        await self.buckets[plane].put(f"{key}.twin", body or b"")

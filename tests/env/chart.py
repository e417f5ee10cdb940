"""The chart, rendered by helm and applied without what needs a node."""

import itertools
import os
import re
import subprocess
import time
from pathlib import Path

from cluster import OPERATOR_NAMESPACE
from storage import write_secret
from tools import Failed

CHART = Path(__file__).resolve().parents[2] / "charts/trevor"
NEEDS_A_NODE = ("Deployment", "StatefulSet", "DaemonSet", "Job", "CronJob", "Pod")
NOT_YET = re.compile(r"ServiceUnavailable|no matches for kind|not yet ready|could not find the requested resource"
                     r"|the server is currently unable|connection refused|etcdserver|failed calling")
# Each kind with a MutatingAdmissionPolicy answers 503 for a while after its CRD is made.
KINDS = ("airlockrequests", "airlockreviews", "airlockactions", "airlocksessions")


def render(folder, tools, values):
    """`helm template` into chart.yaml; gives the documents as (kind, text)."""
    write_secret(folder / "values.yaml", values)
    more = os.environ.get("TREVOR_CHART_VALUES")
    done = subprocess.run([tools["helm"], "template", "trevor", CHART, "-n", OPERATOR_NAMESPACE, "--include-crds",
                           "-f", folder / "values.yaml", *(["-f", more] if more else [])], capture_output=True, text=True,
                          env=tool_environment(folder))
    if done.returncode != 0:
        raise Failed(f"helm cannot render {CHART}:\n{done.stderr[-3000:]}")
    (folder / "chart.yaml").write_text(done.stdout)
    documents = re.split(r"^---\s*$", done.stdout, flags=re.MULTILINE)
    kinds = [(re.search(r"^kind:\s*(\w+)", text, re.MULTILINE), text) for text in documents]
    return [(kind.group(1), text) for kind, text in kinds if kind]


def files(folder):
    """What the chart mounts for the operator's eyes, as files: its second rendering of the admission rules, and the Job
    that packages are made by."""
    text = (folder / "chart.yaml").read_text()
    for key, name in (("rules.yaml", "admission-rules.yaml"), ("packaging-job.yaml", "packaging-job.yaml")):
        begin = f"\n  {key}: |\n"
        lines = text[text.index(begin) + len(begin):].splitlines()
        block = itertools.takewhile(lambda line: not line or line.startswith("    "), lines)
        (folder / name).write_text("".join(line[4:] + "\n" for line in block))


def apply(folder, tools, kubeconfig, documents):
    """Custom resource definitions first, then the rest; waits until each is served."""
    crds = [text for kind, text in documents if kind == "CustomResourceDefinition"]
    rest = [text for kind, text in documents if kind != "CustomResourceDefinition" and kind not in NEEDS_A_NODE]
    if crds:
        kubectl(folder, tools, kubeconfig, ["apply", "--server-side", "--force-conflicts", "-f", "-"], "\n---\n".join(crds))
        kubectl(folder, tools, kubeconfig, ["wait", "--for=condition=Established", "--timeout=30s", "-f", "-"], "\n---\n".join(crds))
    if rest:
        kubectl(folder, tools, kubeconfig, ["apply", "--server-side", "--force-conflicts", "-f", "-"], "\n---\n".join(rest))


def kubectl(folder, tools, kubeconfig, arguments, text, seconds=30):
    """Runs kubectl, again while the API server says that something is not served yet."""
    deadline = time.monotonic() + seconds
    while True:
        done = subprocess.run([tools["kubectl"], "--kubeconfig", kubeconfig, *arguments], input=text,
                              capture_output=True, text=True, env=tool_environment(folder))
        if done.returncode == 0:
            return
        if not NOT_YET.search(done.stderr) or time.monotonic() > deadline:
            raise Failed(f"kubectl {' '.join(arguments[:2])}:\n{done.stderr[-3000:]}")
        time.sleep(0.3)


def wait_until_served(admin, seconds=30):
    """Wait until the kinds with mutating policies take a write: anything but 404 and 503 to a dry run."""
    deadline = time.monotonic() + seconds
    for kind in KINDS:
        path = f"/apis/airlock.karectl.io/v1alpha1/namespaces/project-a/{kind}?dryRun=All"
        while (answer := admin.call("POST", path, wanting(kind)))[0] in (404, 500, 503):
            if time.monotonic() > deadline:
                raise Failed(f"{kind} are not served after {seconds} s: {answer}")
            time.sleep(0.1)


def wanting(kind):
    """An object of the kind without its spec: complete enough to come through admission or be refused there."""
    singular = {"airlockrequests": "AirlockRequest", "airlockreviews": "AirlockReview",
                "airlockactions": "AirlockAction", "airlocksessions": "AirlockSession"}[kind]
    return {"apiVersion": "airlock.karectl.io/v1alpha1", "kind": singular, "metadata": {"name": "dry-run"}, "spec": {}}


def tool_environment(folder):
    """helm and kubectl keep their caches inside the environment: another cluster had these ports before."""
    return {"PATH": os.environ["PATH"], "HOME": str(folder / "home"), "KUBECACHEDIR": str(folder / "home/kube")}

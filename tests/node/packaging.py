"""A step of `make e2e` on packages that Jobs make: pods of the operator's own namespace, with its own image."""

import hashlib
import json
import os
import subprocess

from cluster import OPERATOR_NAMESPACE
from requests_by_people import CONTENT
from volumes import LABEL, fetched, must, prefix, record_of, request, saw, secrets, stalls, tables

# Of requests in e2e the demo's are larger; they come before, and are packed in the controller.
THRESHOLD = 8 << 20
LARGE = 24 << 20  # more than one part of an upload
IDENTITIES = {"quarantine": "trevor-packaging-quarantine", "release": "trevor-packaging-release"}
ACCOUNT = "trevor-packaging"


def packages_by_jobs(node):
    """From a size on a Job makes the package; a foreign one of its name is left alone; a second leader takes ours over."""
    enforced = node.get("namespace", OPERATOR_NAMESPACE)["metadata"]["labels"].get("pod-security.kubernetes.io/enforce")
    must(enforced == "restricted", f"Pod Security of {OPERATOR_NAMESPACE} is {enforced}")
    must(not traces(node), f"before there are packaging Jobs: {traces(node)}")
    node.upgrade("controller.packaging.mode=Job", f"controller.packaging.job_threshold_bytes={THRESHOLD}",
                 *(f"workloads.packaging.credentials.{zone}={secret}" for zone, secret in IDENTITIES.items()))
    must(len(traces(node)) == 2, f"with packaging Jobs the chart made {traces(node)}")
    below_the_threshold(node, "packed-here")
    above_the_threshold(node, "packed-by-a-job")
    node.upgrade()
    must(not traces(node), f"without packaging Jobs there are still {traces(node)}")
    saw("back to the chart's default, with neither their account nor their policy")


def traces(node):
    """What the chart makes for these Jobs alone."""
    account = node.ours("get", "serviceaccount", ACCOUNT, "--ignore-not-found", "-o", "name")
    policy = node.kubectl("get", "validatingadmissionpolicy", "trevor-operator-packaging", "--ignore-not-found", "-o", "name")
    return (account + policy).split()


def jobs_told_of(node):
    """Names of Jobs that Kubernetes made pods for, also of those that are gone: its Events stay for an hour."""
    return {event["involvedObject"]["name"] for event in node.get("-n", OPERATOR_NAMESPACE, "events")["items"]
            if event["involvedObject"]["kind"] == "Job" and event["reason"] == "SuccessfulCreate"}


def below_the_threshold(node, name):
    node.people.release(name)
    is_the_recorded_one(node, name)
    must(not jobs_told_of(node) and not node.get("-n", OPERATOR_NAMESPACE, "jobs", "-l", LABEL)["items"],
         f"{name}: a Job was made for {len(CONTENT)} bytes")
    saw(f"{name}: {len(CONTENT)} bytes, no Job")


def above_the_threshold(node, name):
    files = {"tables/large.csv": os.urandom(LARGE), "tables/small.csv": CONTENT}
    node.people.ask(name, direction="Egress")
    node.people.wait(name, "jsonpath={.status.phase}=Draft")
    for path, content in files.items():
        node.people.upload(name, path, content)
    node.people.change(name, submission=1)
    node.people.wait(name, "jsonpath={.status.phase}=InReview")
    uid = request(node, name)["metadata"]["uid"]
    job_name = f"package-1-1-{hashlib.sha256(uid.encode()).hexdigest()[:16]}"

    # Whoever may make Jobs there makes one of this name first.
    node.people.create("admin", {
        "apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": job_name, "labels": {LABEL: "package"}},
        "spec": {"suspend": True, "template": {"spec": {"restartPolicy": "Never", "containers": [{"name": "c", "image": "other:1"}]}}},
    }, OPERATOR_NAMESPACE)
    theirs = job_of(node, job_name)["metadata"]["uid"]
    node.people.approve(name, ("bob", "carol"))
    stalls(node, name, "JobNameTaken", job_name)
    must(job_of(node, job_name)["metadata"]["uid"] == theirs, "the foreign Job was replaced")

    # Its pod waits for a node, so that there is time to look at it, and for another leader.
    node.kubectl("cordon", "-l", "kubernetes.io/os=linux")
    try:
        node.ours("delete", "job", job_name)
        stalls(node, name, "JobWaits", job_name, "unschedulable")
        job = job_of(node, job_name)
        (pod,) = node.get("-n", OPERATOR_NAMESPACE, "pods", "-l", f"batch.kubernetes.io/job-name={job_name}")["items"]
        of_its_own_kind(node, job, pod)
        leader, successor = another_leads(node)
        ends = [(follow(node, f"job/{job_name}", '{.status.conditions[?(@.type=="Complete")].status}'), "True"),
                (follow(node, f"pod/{pod['metadata']['name']}", "{.status.phase}"), "Succeeded")]
    finally:
        node.kubectl("uncordon", "-l", "kubernetes.io/os=linux")
    for process, word in ends:
        said = until(process, word)
        must(said[-1:] == [word], f"{name}: {' '.join(process.args[3:5])} never says {word}: {said}")
    node.people.wait(name, "condition=Released", 120)
    must(node.leader() == successor, f"{node.leader()} leads, and not {successor}")
    saw(f"made under {leader}, ended under {successor}: {job_name} is Complete, its pod Succeeded")

    package = is_the_recorded_one(node, name)
    must(tables(package) == files, "the package holds other files than were uploaded")
    must(jobs_told_of(node) == {job_name}, f"Jobs with pods: {jobs_told_of(node)}")
    counts = {"attempts": node.people.objects("quarantine", prefix(node, name, "rounds", "1", "attempts")),
              "packages": node.people.objects("release", f"releases/{request(node, name)['metadata']['namespace']}/{uid}/"),
              "facts of Jobs": node.people.objects("quarantine", f"work/jobs/{uid}/")}
    must(counts == {"attempts": 1, "packages": 1, "facts of Jobs": 0}, f"{name}: {counts}")
    for gone in (f"job/{job_name}", f"pod/{pod['metadata']['name']}"):
        node.ours("wait", gone, "--for=delete", "--timeout=60s")
    node.ours("rollout", "status", "deployment/trevor-controller", "--timeout=60s")
    saw(f"{name}: {len(package)} bytes, {counts}, Job and pod are gone")


def job_of(node, name):
    return node.get("-n", OPERATOR_NAMESPACE, "job", name)


def of_its_own_kind(node, job, pod):
    """Our image, the account that may do nothing, storage identities of Jobs, no token, no secret."""
    runs, (container,) = pod["spec"], pod["spec"]["containers"]
    must(container["image"] == node.image() and container["args"][0] == "package", f"it runs {container['image']} {container['args']}")
    must(runs["serviceAccountName"] == ACCOUNT, f"its account: {runs['serviceAccountName']}")
    bound = [binding["metadata"]["name"] for binding in node.get("-A", "rolebindings,clusterrolebindings")["items"]
             if any(subject["name"] == ACCOUNT and subject["kind"] == "ServiceAccount" for subject in binding.get("subjects", []))]
    must(not bound, f"{ACCOUNT} is bound by {bound}")
    kinds = [next(kind for kind in volume if kind != "name") for volume in runs["volumes"]]
    must(sorted(kinds) == ["configMap", "emptyDir"], f"its volumes: {kinds}")
    taken = {variable["valueFrom"]["secretKeyRef"]["name"] for variable in container["env"] if "valueFrom" in variable}
    must(taken == set(IDENTITIES.values()), f"it takes from the Secrets {taken}")
    text = json.dumps([job, pod])
    must(not [secret for secret in secrets(node) if secret in text], "a secret stands in a Job or its pod")
    bounds = {key: job["spec"][key] for key in ("activeDeadlineSeconds", "ttlSecondsAfterFinished", "backoffLimit", "parallelism")}
    saw(f"{job['metadata']['name']}: {bounds}, {container['image']}, {ACCOUNT} with no role, limits {container['resources']['limits']}")


def another_leads(node):
    """The pod that leads is deleted, and no other comes while the node takes none: the one that waited leads."""
    leader = node.leader()
    (successor,) = [name for name in node.pods() if name.startswith("trevor-controller-") and name != leader]
    node.ours("delete", "pod", leader, "--wait=false")
    node.ours("wait", "lease/trevor-controller", f"--for=jsonpath={{.spec.holderIdentity}}={successor}", "--timeout=60s")
    return leader, successor


def follow(node, what, path):
    """A watch on what may soon be gone; when this returns it misses nothing any more."""
    process = subprocess.Popen([node.state["tools"]["kubectl"], "-n", OPERATOR_NAMESPACE, "get", what, "--watch",
                                "-o", f'jsonpath={path}{{"\\n"}}', "--request-timeout=180s"],
                               stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    process.stdout.readline()
    return process


def until(process, word):
    """What a watch says, up to the word."""
    said = []
    for line in process.stdout:
        said.append(line.strip())
        if said[-1] == word:
            break
    process.kill()
    process.wait()
    return said


def is_the_recorded_one(node, name):
    """What the recipient gets has the size and the SHA-256 of the record."""
    content, record = fetched(node, name), record_of(node, name)
    got = {"sha256": hashlib.sha256(content).hexdigest(), "size": len(content)}
    must({key: record["package"][key] for key in got} == got, f"{name}: {got}, and the record says {record['package']}")
    saw(f"{name}: sha256 of package and record {got['sha256']}")
    return content


STEPS = [packages_by_jobs]

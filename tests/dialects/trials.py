"""What is tried on a server besides the stories. Each gives what is wrong, in words."""

import asyncio
import json
import os
import subprocess
import sys
import uuid
from pathlib import Path

import dialects

HERE = Path(__file__).resolve().parent
ENV = HERE.parent / "env"
WRITERS, RACES = 8, 20
STARTS = 60  # seconds within which a process has to give up


async def create_only(lane):
    """one of eight writers wins"""
    problems = []
    for zone, bucket in lane.buckets.items():
        keys = [f"race/{uuid.uuid4()}" for _ in range(RACES)]
        wins = await asyncio.gather(*(race(bucket, key) for key in keys))
        if lost := [count for count in wins if count != 1]:
            problems.append(f"{zone}: {len(lost)} of {RACES} races had {sorted(lost)} winners")
        for key in keys:
            await bucket.delete(key)
    return problems


async def race(bucket, key):
    answers = await asyncio.gather(*(bucket.call("PUT", key, body=b"%d" % n, headers={"if-none-match": "*"}) for n in range(WRITERS)))
    return sum(answer.status == 200 for answer in answers)


def command(lane, process, *words):
    """trevor with the environment's own configuration and the credentials of a process."""
    lines = (lane.env_folder / f"{process}.env").read_text().splitlines()
    variables = dict(line.split("=", 1) for line in lines)
    if "KUBECONFIG" not in variables:
        variables["KUBECONFIG"] = str(lane.env_folder / "controller.kubeconfig")
    configured = process if process == "gateway" else "controller"
    return ([lane.program, *words, "--config", str(lane.env_folder / f"{configured}.yaml")],
            {**variables, "PATH": os.environ["PATH"], "TREVOR_ENV_PROCESS": f"{lane.env_folder}#trial-{process}"})


def check(lane, process):
    """Whether `trevor check` is content, and its rows."""
    words, variables = command(lane, process, "check", "--json", "--as", process)
    done = subprocess.run(words, env=variables, capture_output=True, text=True, timeout=120)
    try:
        return done.returncode == 0, json.loads(done.stdout)
    except ValueError:
        raise AssertionError(f"check --as {process}: {done.returncode}, {done.stderr[-500:]}") from None


def shown(row):
    return f"{row['check']} {row.get('at') or ''}: {row['state']}: {row['detail']}"


EXPECTED = ("records bucket", "notifications")  # warnings that a server has no part in


async def content(lane):
    """check is content, as each identity"""
    problems = []
    for process in ("controller", "gateway", "packaging"):
        passes, rows = await asyncio.to_thread(check, lane, process)
        failed = [shown(row) for row in rows if row["state"] == "Failed"]
        unknown = [shown(row) for row in rows if row["state"] == "Warning" and row["check"] not in EXPECTED]
        problems += [f"as {process}: {row}" for row in failed + unknown]
        if not passes and not failed:
            problems.append(f"as {process}: it fails without a row that says why")
        if process == "controller":
            public = [row["state"] for row in rows if row["check"] == "public access"]
            problems += [] if public == ["Ok"] * 3 else [f"public access is {public}"]
    return problems


async def identities(lane):
    """each identity may what it needs, no more"""
    python = lane.state["tools"]["boto3_python"]
    done = await asyncio.to_thread(subprocess.run, [python, ENV / "check_identities.py"], capture_output=True, text=True,
                                   env={**os.environ, "TREVOR_ENV_DIR": str(lane.env_folder)})
    wrong = [line for line in done.stdout.splitlines() if line.startswith("FAIL")]
    return wrong or ([f"check_identities.py ended with {done.returncode}: {done.stderr[-500:]}"] if done.returncode else [])


async def reading_signer(lane):
    """a signer that may read is refused"""
    staging = lane.state["buckets"]["staging"]
    aims = ("trevor-controller-staging", "--user", "gateway-staging")

    async def policy(word):
        await asyncio.to_thread(dialects.mc, lane.state["tools"], lane.folder / "mc", staging["endpoint"], staging["root"],
                                "admin", "policy", word, "here", *aims)
    await policy("attach")
    try:
        passes, rows = await asyncio.to_thread(check, lane, "gateway")
    finally:
        await policy("detach")
    said = [shown(row) for row in rows if row["check"] == "unsigned headers"]
    right = not passes and all(word in "".join(said) for word in ("Failed", "x-amz-copy-source", "every permission but"))
    return [] if right else said or ["nothing is said of it"]


# Of a server that cannot encrypt: what has to be said, by whom it is found.
WORDS = {
    "minio-without-keys": ("no key management", "MINIO_KMS_SECRET_KEY"),
    "versitygw": ("without the server-side encryption that was asked for",),
}


# Where it has to be said. A server that takes what is to be encrypted and does not encrypt it is seen by who may read.
ROWS = {
    "minio-without-keys": (("controller", "encryption"), ("controller", "create-only"), ("gateway", "unsigned headers")),
    "versitygw": (("controller", "encryption"), ("controller", "create-only")),
}


def words_of(lane):
    return WORDS[lane.state["storage"]]


async def check_refuses(lane):
    """check says what is missing"""
    problems = []
    for process, name in ROWS[lane.state["storage"]]:
        passes, rows = await asyncio.to_thread(check, lane, process)
        if passes:
            problems.append(f"as {process}: it is content")
        said = [row for row in rows if row["check"] == name]
        for row in said:
            if row["state"] != "Failed" or not all(word in row["detail"] for word in words_of(lane)):
                problems.append(f"as {process}: {shown(row)}")
        if not said:
            problems.append(f"as {process}: no row {name}: {[shown(row) for row in rows]}")
    return problems


async def starts_not(lane, process):
    words, variables = command(lane, process, process)
    try:
        done = await asyncio.to_thread(subprocess.run, words, env=variables, capture_output=True, text=True, timeout=STARTS)
    except subprocess.TimeoutExpired as late:
        said = (late.stdout or b"")[-1500:].decode(errors="replace")
        return [f"the {process} goes on for {STARTS} s: {said}"]
    said = done.stdout + done.stderr
    missing = [word for word in words_of(lane) if word not in said]
    if done.returncode == 0 or missing:
        return [f"the {process} ends with {done.returncode}, without {missing}: {said[-1500:]}"]
    return []


async def controller_refuses(lane):
    """the controller does not start"""
    return await starts_not(lane, "controller")


async def gateway_refuses(lane):
    """the gateway does not start"""
    return await starts_not(lane, "gateway")


async def nothing_is_stored(lane):
    """nothing but probes is left behind"""
    problems = []
    for zone, bucket in lane.buckets.items():
        left = [*await bucket.keys_below(""), *await bucket.open_uploads("")]
        if left := [key for key in left if not key.startswith(("probe/", "work/probe/"))]:
            problems.append(f"{zone}: {sorted(left)}")
    return problems

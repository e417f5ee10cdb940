"""The objects that attacks are made of, and where the API server has them."""

import hashlib
import secrets
import uuid

GROUP = "airlock.karectl.io"
REQUESTS, REVIEWS, ACTIONS, SESSIONS = "airlockrequests", "airlockreviews", "airlockactions", "airlocksessions"
RECORDS, POLICIES = "releaserecords", "airlockpolicies"
KINDS = {
    REQUESTS: "AirlockRequest",
    REVIEWS: "AirlockReview",
    ACTIONS: "AirlockAction",
    SESSIONS: "AirlockSession",
    RECORDS: "ReleaseRecord",
    POLICIES: "AirlockPolicy",
}
PROJECT = "forge-a"  # where the generous pass plays
DIGEST = "ab" * 32


def path(kind, name=None, sub=None, ns=PROJECT):
    """The path of one of our resources; ns None: it is cluster-scoped."""
    scope = f"/namespaces/{ns}" if ns else ""
    return f"/apis/{GROUP}/v1alpha1{scope}/{kind}" + (f"/{name}" if name else "") + (f"/{sub}" if sub else "")


def obj(kind, name, spec, ns=PROJECT, **meta):
    """One of our objects; a name that ends in `-` is a generateName."""
    metadata = {**({"namespace": ns} if ns else {}), **meta}
    metadata["generateName" if name.endswith("-") else "name"] = name
    return {"apiVersion": f"{GROUP}/v1alpha1", "kind": KINDS[kind], "metadata": metadata, "spec": spec}


def req(name, ns=PROJECT, _meta={}, **spec):
    return obj(REQUESTS, name, {"direction": "Egress", "title": "t", **spec}, ns, **_meta)


def rev(name, ns=PROJECT, _meta={}, **spec):
    return obj(REVIEWS, name, {"requestName": "r-alice", "manifestDigest": DIGEST, "decision": "Approve", **spec}, ns, **_meta)


def act(name, as_, action, kind="AirlockRequest", target="r-alice", ns=PROJECT, _meta={}, **spec):
    return obj(
        ACTIONS,
        name,
        {"target": {"kind": kind, "name": target, "uid": str(uuid.uuid4())}, "as": as_, "action": action, "reason": "forge", **spec},
        ns,
        **_meta,
    )


def sess(ns=PROJECT, _meta={}, _name=None, **spec):
    sha = hashlib.sha256(secrets.token_bytes(32)).hexdigest()
    return obj(SESSIONS, _name or f"s-{sha[:40]}", {"tokenSHA256": sha, "ttlSeconds": 3600, **spec}, ns, **_meta)


def rec(name, ns=PROJECT, _meta={}):
    return obj(
        RECORDS,
        name,
        {
            "requestRef": {"name": "r-alice", "uid": str(uuid.uuid4())},
            "direction": "Egress",
            "type": "Package",
            "package": {"bucket": "b", "key": "k", "sha256": DIGEST, "size": 1, "files": 1},
            "manifestDigest": DIGEST,
            "round": 1,
            "policy": {"name": "default", "digest": DIGEST},
            "approvals": [{"reviewer": "bob", "reviewName": "x", "time": "2026-01-01T00:00:00Z"}],
            "releasedTime": "2026-01-01T00:00:00Z",
            "deleteAfterTime": "2026-01-31T00:00:00Z",
        },
        ns,
        **_meta,
    )


def policy(name):
    return obj(POLICIES, name, {"namespaces": ["nowhere"]}, None)


def owner(uid="1"):
    """An ownerReference."""
    return {"apiVersion": "v1", "kind": "ConfigMap", "name": "x", "uid": uid}


def secret(name, type_=f"{GROUP}/release", ns=PROJECT, data=None, **meta):
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": name, "namespace": ns, **meta},
        "type": type_,
        "data": {"url": "eA=="} if data is None else data,
    }


def delete_options(**options):
    return {"kind": "DeleteOptions", "apiVersion": "v1", **options}


def packaging_job(name, **change):
    """A Job that makes a package, as the controller makes it in its own namespace, with changes as in `job`."""
    pod, one = "spec__template__spec__", "spec__template__spec__containers__0__"
    secret = {"secretKeyRef": {"name": "trevor-packaging-release", "key": "secret_access_key"}}
    return job(name, **{
        "metadata__namespace": "trevor-system", "metadata__labels": {f"{GROUP}/job": "package"}, "spec__backoffLimit": 0,
        pod + "serviceAccountName": "trevor-packaging", one + "image": "trevor:pack",
        one + "args": ["package", "--config", "/etc/trevor/config/config.yaml", "--namespace", "a", "--uid", "u", "--round", "1", "--attempt", "1"],
        one + "env": [{"name": "TREVOR_S3_RELEASE_SECRET_ACCESS_KEY", "valueFrom": secret}],
        pod + "volumes": [{"name": "config", "configMap": {"name": "trevor-config"}}, {"name": "spool", "emptyDir": {"sizeLimit": "1Gi"}}],
        **change})


def job(name, **change):
    """A collector's Job as the controller makes it, with changes by dotted path (`__`); None takes away."""
    made = {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": name, "namespace": PROJECT, "labels": {f"{GROUP}/job": "collect"}},
        "spec": {
            "template": {
                "spec": {
                    "restartPolicy": "Never",
                    "automountServiceAccountToken": False,
                    "securityContext": {"runAsNonRoot": True, "runAsUser": 1000, "seccompProfile": {"type": "RuntimeDefault"}},
                    "volumes": [
                        {"name": "w", "persistentVolumeClaim": {"claimName": "work", "readOnly": True}},
                        {"name": "t", "projected": {"sources": [{"serviceAccountToken": {"audience": "trevor-gateway", "path": "token"}}]}},
                    ],
                    "containers": [
                        {
                            "name": "c",
                            "image": "trevor:test",
                            "args": ["collect"],
                            "env": [{"name": "X", "value": "y"}],
                            "securityContext": {
                                "allowPrivilegeEscalation": False,
                                "capabilities": {"drop": ["ALL"]},
                                "readOnlyRootFilesystem": True,
                            },
                        }
                    ],
                }
            }
        },
    }
    for dotted, value in change.items():
        *keys, last = dotted.split("__")
        place = made
        for key in keys:
            place = place[int(key)] if key.isdigit() else place.setdefault(key, {})
        if value is None:
            place.pop(last, None)
        else:
            place[last] = value
    return made

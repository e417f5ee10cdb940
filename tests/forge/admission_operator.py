"""The policies about what is the operator's: records, every status, its own accounts, Jobs, CRDs."""

import secrets

from attempts import HOME, RELEASE
from cast import alice, bob, collector, fake_controller, mallory, masters, olga, robot, star
from kubernetes import ADMIN, core, user_subject
from objects import ACTIONS, GROUP, KINDS, POLICIES, PROJECT, RECORDS, REQUESTS, REVIEWS, SESSIONS, act, delete_options, job, owner, packaging_job, path, policy, rec, req, rev, secret, sess

CRDS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
POD, C0 = "spec__template__spec__", "spec__template__spec__containers__0__"  # see objects.job


def records(t, f):
    """Records: the controller's."""
    t.passes("the controller records", t.controller, "POST", path(RECORDS), rec(f.name("d1")))
    for who, label in (
        (alice, "a researcher"),
        (bob, "a checker"),
        (star, "a holder of *"),
        (masters, "system:masters"),
        (t.gateway, "the gateway"),
        (t.unbound, "a controller's token without pod"),
        (fake_controller, "kubectl --as the controller"),
    ):
        pol = "releaserecords|operator-fence"
        t.deny(f"{label} makes a record", pol, who, "POST", path(RECORDS), rec(f.name("xd")))
        t.deny(f"{label} applies a record", pol, who, "APPLY", path(RECORDS, f.name("xd")), rec(f.name("xd")))
        t.deny(f"{label} labels a record", pol, who, "PATCH", path(RECORDS, f.record), {"metadata": {"labels": {"a": "b"}}})
        t.deny(f"{label} deletes a record", pol, who, "DELETE", path(RECORDS, f.record))
    t.deny("the operator deletes a record of what is kept", "releaserecords", t.controller, "DELETE", path(RECORDS, f.record))
    t.deny("a record with an owner", "releaserecords", t.controller, "POST", path(RECORDS), rec(f.name("xd"), _meta={"ownerReferences": [owner()]}))
    t.deny("a record of the probe's name", "releaserecords", t.controller, "POST", path(RECORDS), rec("trevor-probe"), says="trevor-probe")
    o = t.get(path(RECORDS, f.record))
    t.passes("a byte-equal PUT of a record", mallory, "PUT", path(RECORDS, f.record), o)


def status(t, f):
    """Every status: the controller's."""
    api = t.api
    st = {
        REQUESTS: {"phase": "Released"},
        REVIEWS: {"state": "Counted"},
        ACTIONS: {"state": "Counted"},
        SESSIONS: {"state": "Accepted", "epoch": 1, "observedGeneration": 1},
        RECORDS: {"phase": "Available"},
        POLICIES: {"observedGeneration": secrets.randbelow(10**9)},
    }
    session = api.must("POST", path(SESSIONS), sess(user="alice", groups=alice["all"]), alice)["metadata"]["name"]
    for kind, name in ((REQUESTS, f.request), (REVIEWS, f.review), (ACTIONS, f.action), (SESSIONS, session), (RECORDS, f.record), (POLICIES, f.policy)):
        ns = None if kind == POLICIES else PROJECT
        p = path(kind, name, "status", ns)
        meta = {"apiVersion": f"{GROUP}/v1alpha1", "kind": KINDS[kind], "metadata": {"name": name}}
        for who, label in (
            (alice, "a researcher"),
            (bob, "a checker"),
            (star, "a holder of *"),
            (masters, "system:masters"),
            (robot, "a service account"),
            (t.gateway, "the gateway"),
            (t.unbound, "a controller's token without pod"),
            (fake_controller, "kubectl --as the controller"),
            (collector, "the collector"),
        ):
            pol = "status|operator-fence"
            t.deny(f"{label} patches {kind}/status", pol, who, "PATCH", p, {"status": st[kind]})
            t.deny(f"{label} applies {kind}/status", pol, who, "APPLY", p, {**meta, "status": st[kind]})
            t.deny(f"{label} json-patches {kind}/status", pol, who, "JSON", p, [{"op": "add", "path": "/status", "value": st[kind]}])
        t.passes(f"the controller writes {kind}/status", t.controller, "PATCH", p, {"status": st[kind]})
        t.passes("... and applies it", t.controller, "APPLY", p, {**meta, "status": st[kind]}, fieldManager="trevor")
    s, r = api.call(mallory, "PUT", path(REQUESTS, f.request), {**t.get(path(REQUESTS, f.request)), "status": {"phase": "Rejected"}})
    t.check("status in a PUT of the object is dropped", s == 200 and r["status"]["phase"] == "Released", (s, r))


def accounts(t, f):
    """What the operator's own accounts may write, were they cluster-admin."""
    api = t.api
    api.ensure(core("secrets", namespace=PROJECT), secret(f.name("victim"), "Opaque", data={"password": "aHVudGVyMg=="}))
    api.ensure(core("secrets", namespace=PROJECT), secret(f.name("ours")))
    api.ensure(core("configmaps", namespace=PROJECT), {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": f.name("cm"), "namespace": PROJECT}})
    SP, fence = "operator-secrets|operator-fence", "operator-fence"
    t.passes(
        "a release Secret",
        t.controller,
        "POST",
        core("secrets", namespace=PROJECT),
        secret(f.name("s1"), data={k: "eA==" for k in ("url", "sha256", "size", "expires", "filename", "statement")}),
    )
    t.passes("... is deleted", t.controller, "DELETE", core("secrets", f.name("s1"), PROJECT))
    t.passes(
        "... with Background spelled out", t.controller, "DELETE", core("secrets", f.name("ours"), PROJECT), delete_options(propagationPolicy="Background"), dryRun="All"
    )
    for who, label in ((t.controller, "controller"), (t.gateway, "gateway"), (t.unbound, "controller without pod"), (fake_controller, "kubectl --as controller")):
        t.deny(f"{label}: an Opaque Secret", SP, who, "POST", core("secrets", namespace=PROJECT), secret(f.name("xs"), "Opaque"))
        t.deny(
            f"{label}: a token Secret",
            SP,
            who,
            "POST",
            core("secrets", namespace=PROJECT),
            secret(f.name("xs"), "kubernetes.io/service-account-token", data={}, annotations={"kubernetes.io/service-account.name": "default"}),
        )
        t.deny(f"{label}: deletes another's Secret", SP, who, "DELETE", core("secrets", f.name("victim"), PROJECT))
        for pp in ("Foreground", "Orphan"):
            t.deny(
                f"{label}: reads a Secret by {pp} dry run",
                SP,
                who,
                "DELETE",
                core("secrets", f.name("victim"), PROJECT),
                delete_options(propagationPolicy=pp, dryRun=["All"]),
            )
        t.deny(f"{label}: changes a Secret", SP, who, "PATCH", core("secrets", f.name("victim"), PROJECT), {"data": {"x": "eA=="}})
        t.deny(f"{label}: changes our Secret", SP, who, "PATCH", core("secrets", f.name("ours"), PROJECT), {"data": {"url": "eA=="}})
        t.deny(f"{label}: deletes all Secrets", SP, who, "DELETE", core("secrets", namespace=PROJECT), fieldSelector="metadata.name=" + f.name("victim"))
        for what, verb, p, body in (
            ("a ConfigMap", "POST", core("configmaps", namespace=PROJECT), {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": f.name("x")}}),
            ("a ConfigMap's deletion", "DELETE", core("configmaps", f.name("cm"), PROJECT), None),
            (
                "a pod",
                "POST",
                core("pods", namespace=HOME),
                {
                    "apiVersion": "v1",
                    "kind": "Pod",
                    "metadata": {"name": f.name("x")},
                    "spec": {"automountServiceAccountToken": False, "serviceAccountName": f"{RELEASE}-controller", "containers": [{"name": "c", "image": "x"}]},
                },
            ),
            (
                "a token",
                "POST",
                core("serviceaccounts", "default", "kube-system", "token"),
                {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {}},
            ),
            (
                "a role binding",
                "POST",
                "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings",
                {
                    "apiVersion": "rbac.authorization.k8s.io/v1",
                    "kind": "ClusterRoleBinding",
                    "metadata": {"name": f.name("x")},
                    "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "cluster-admin"},
                    "subjects": [user_subject("mallory")],
                },
            ),
            ("a CRD's edit", "PATCH", f"{CRDS}/{REQUESTS}.{GROUP}", {"metadata": {"annotations": {f"{GROUP}/allow-deletion": "true"}}}),
            ("a policy of ours", "POST", path(POLICIES, ns=None), policy(f.name("x"))),
            ("a namespace", "POST", "/api/v1/namespaces", {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": f.name("x")}}),
            (
                "a lease elsewhere",
                "POST",
                "/apis/coordination.k8s.io/v1/namespaces/kube-system/leases",
                {"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": {"name": f.name("x")}},
            ),
        ):
            t.deny(f"{label}: {what}", fence, who, verb, p, body, says="is not among the writes")
    t.deny(
        "controller: a Secret with another key",
        "operator-secrets",
        t.controller,
        "POST",
        core("secrets", namespace=PROJECT),
        secret(f.name("xs"), data={"password": "eA=="}),
        says="keys url",
    )
    t.deny(
        "controller: a Secret with a finalizer", "operator-secrets", t.controller, "POST", core("secrets", namespace=PROJECT), secret(f.name("xs"), finalizers=["x.y/z"])
    )
    for pp in ("Foreground", "Orphan"):
        t.deny(
            f"controller: its own Secret by {pp}",
            "operator-secrets",
            t.controller,
            "DELETE",
            core("secrets", f.name("ours"), PROJECT),
            delete_options(propagationPolicy=pp),
            says="Background",
        )
    t.deny(
        "controller: its own Secret by orphanDependents",
        "operator-secrets",
        t.controller,
        "DELETE",
        core("secrets", f.name("ours"), PROJECT),
        delete_options(orphanDependents=True),
        says="Background",
    )
    lease = {"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": {"name": "trevor-controller", "namespace": HOME}, "spec": {"holderIdentity": "x"}}
    LP = f"/apis/coordination.k8s.io/v1/namespaces/{HOME}/leases"
    held, another = f"{LP}/trevor-controller", f"{LP}/{f.name('lease')}"
    api.call(ADMIN, "DELETE", held)
    t.passes("the controller's lease", t.controller, "POST", LP, lease)
    t.passes("... renewed", t.controller, "PATCH", held, {"spec": {"holderIdentity": "y"}})
    t.deny("... deleted", fence, t.controller, "DELETE", held)
    api.ensure(LP, {**lease, "metadata": {"name": f.name("lease"), "namespace": HOME}})
    t.deny("another lease is changed", fence, t.controller, "PATCH", another, {"spec": {"holderIdentity": "y"}})
    shown = {"data": {"sequence": "1"}}
    t.passes("the controller shows its checkpoint", t.controller, "PATCH", core("configmaps", "trevor-audit-checkpoint", HOME), shown)
    t.deny("... deletes it", fence, t.controller, "DELETE", core("configmaps", "trevor-audit-checkpoint", HOME))
    t.deny("... makes one elsewhere", fence, t.controller, "APPLY", core("configmaps", "trevor-audit-checkpoint", PROJECT),
           {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "trevor-audit-checkpoint"}})
    for name in (f"{RELEASE}-config", f"{RELEASE}-rules"):
        t.deny(f"... changes {name}", fence, t.controller, "PATCH", core("configmaps", name, HOME), shown)
    t.deny("the gateway shows a checkpoint", fence, t.gateway, "PATCH", core("configmaps", "trevor-audit-checkpoint", HOME), shown)
    for who, label in ((t.unbound, "without pod"), (fake_controller, "by kubectl --as")):
        t.deny(f"the controller's lease {label}", fence, who, "PATCH", held, {"spec": {"holderIdentity": "z"}})
        t.deny(f"a release Secret {label}", fence, who, "POST", core("secrets", namespace=PROJECT), secret(f.name("xs")))
    t.deny("the gateway's release Secret", fence, t.gateway, "POST", core("secrets", namespace=PROJECT), secret(f.name("xs")))
    t.deny("the gateway's lease", fence, t.gateway, "PATCH", held, {"spec": {"holderIdentity": "z"}})
    api.call(ADMIN, "DELETE", held)
    t.passes(
        "the controller's event",
        t.controller,
        "POST",
        f"/apis/events.k8s.io/v1/namespaces/{PROJECT}/events",
        {
            "apiVersion": "events.k8s.io/v1",
            "kind": "Event",
            "metadata": {"name": f.name("e"), "namespace": PROJECT},
            "eventTime": "2026-01-01T00:00:00.000000Z",
            "reportingController": "trevor",
            "reportingInstance": "x",
            "action": "Test",
            "reason": "Test",
            "type": "Normal",
            "regarding": {"kind": "AirlockRequest", "namespace": PROJECT, "name": f.request},
            "note": "x",
        },
    )
    t.deny(
        "the controller evicts a pod",
        fence,
        t.controller,
        "POST",
        core("pods", f"forge-{RELEASE}-controller", HOME, "eviction"),
        {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": f"forge-{RELEASE}-controller", "namespace": HOME}},
    )
    t.passes(
        "the gateway asks who a token is",
        t.gateway,
        "POST",
        "/apis/authentication.k8s.io/v1/tokenreviews",
        {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenReview", "spec": {"token": "x"}},
    )
    t.passes(
        "the gateway asks what someone may",
        t.gateway,
        "POST",
        "/apis/authorization.k8s.io/v1/subjectaccessreviews",
        {"apiVersion": "authorization.k8s.io/v1", "kind": "SubjectAccessReview", "spec": {"user": "alice", "resourceAttributes": {"verb": "get", "resource": "pods"}}},
    )


def certificates(t, f):
    """The gateway's certificate and its authority: two Secrets by name, which the controller makes and renews at home."""
    api, SP, fence = t.api, "operator-secrets|operator-fence", "operator-fence"
    everything = {name: (kind, keys) for name, kind, keys in (
        (f"{RELEASE}-gateway-serving", "kubernetes.io/tls", ("tls.crt", "tls.key")),
        (f"{RELEASE}-gateway-ca", f"{GROUP}/gateway-authority", ("0a1f.crt", "0a1f.key")))}

    def made(name, ns=HOME, more=(), **change):
        kind, keys = everything[name]
        return {**secret(name, kind, ns, dict.fromkeys((*keys, *more), "eA==")), **change}

    api.ensure(core("secrets", namespace=HOME), secret(f.name("home"), "Opaque", HOME, data={"password": "aHVudGVyMg=="}))
    api.ensure(core("secrets", namespace=HOME), secret(f.name("tls"), "kubernetes.io/tls", HOME, data={"tls.crt": "eA==", "tls.key": "eA=="}))
    for name in everything:
        one = core("secrets", name, HOME)
        api.call(ADMIN, "DELETE", one)
        meta = {"name": name, "namespace": HOME}
        for label, o in (
            ("of another type", made(name, type="Opaque")),
            ("of a token", {**made(name, type="kubernetes.io/service-account-token"), "metadata": {**meta, "annotations": {"kubernetes.io/service-account.name": f"{RELEASE}-gateway"}}}),
            ("with another key", made(name, more=("password",))),
            ("with an owner", made(name, metadata={**meta, "ownerReferences": [owner()]})),
            ("with a finalizer", made(name, metadata={**meta, "finalizers": [f"{GROUP}/x"]})),
        ):
            t.deny(f"{name} {label}", SP, t.controller, "POST", core("secrets", namespace=HOME), o)
        t.deny(f"{name} in a project", SP, t.controller, "POST", core("secrets", namespace=PROJECT), made(name, PROJECT))
        t.deny(f"{name} by a made-up end of its name", SP, t.controller, "POST", core("secrets", namespace=HOME),
               made(name, metadata={"generateName": f"{name}-", "namespace": HOME}))
        for who, label in ((t.gateway, "the gateway"), (t.unbound, "a controller's token without pod"), (fake_controller, "kubectl --as the controller")):
            t.deny(f"{label} makes {name}", SP, who, "POST", core("secrets", namespace=HOME), made(name))
        t.passes(f"the controller makes {name}", t.controller, "POST", core("secrets", namespace=HOME), made(name))
        t.passes("... renews it", t.controller, "PUT", one, made(name))
        t.passes("... labels it", t.controller, "PATCH", one, {"metadata": {"labels": {"a": "b"}}})
        t.deny(f"a key more in {name}", SP, t.controller, "PATCH", one, {"data": {"password": "eA=="}})
        t.deny(f"an owner of {name}", SP, t.controller, "PATCH", one, {"metadata": {"ownerReferences": [owner()]}})
        t.deny(f"{name} is deleted", SP, t.controller, "DELETE", one)
        for pp in ("Foreground", "Orphan"):
            t.deny(f"{name} is read by a {pp} dry run", SP, t.controller, "DELETE", one, delete_options(propagationPolicy=pp, dryRun=["All"]))
        for who, label in ((t.gateway, "the gateway"), (t.unbound, "a controller's token without pod"), (fake_controller, "kubectl --as the controller")):
            t.deny(f"{label} renews {name}", SP, who, "PUT", one, made(name))
        t.passes("an admin deletes it", ADMIN, "DELETE", one)
    for name in ("home", "tls"):
        t.deny(f"another Secret at home ({name}) is changed", SP, t.controller, "PATCH", core("secrets", f.name(name), HOME), {"data": {"tls.key": "eQ=="}})
        t.deny(f"another Secret at home ({name}) is deleted", SP, t.controller, "DELETE", core("secrets", f.name(name), HOME))
    published = {"data": {"ca.crt": "x"}}
    t.passes("the controller publishes the authority", t.controller, "PATCH", core("configmaps", f"{RELEASE}-gateway-ca", HOME), published)
    t.deny("... deletes it", fence, t.controller, "DELETE", core("configmaps", f"{RELEASE}-gateway-ca", HOME))
    t.deny("... publishes it elsewhere", fence, t.controller, "APPLY", core("configmaps", f"{RELEASE}-gateway-ca", PROJECT),
           {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": f"{RELEASE}-gateway-ca"}})
    t.deny("the gateway publishes it", fence, t.gateway, "PATCH", core("configmaps", f"{RELEASE}-gateway-ca", HOME), published)


def probe(t, f):
    """The controller's probe meets the policies, and its name is kept for it."""
    api = t.api
    probe = dict(dryRun="All", fieldManager="trevor-probe")
    for kind, o, word in (
        (REQUESTS, req("trevor-probe", submitter="someone-else"), "not a person"),
        (REVIEWS, rev("trevor-probe", reviewer="someone-else"), "set spec.reviewer"),
    ):
        if t.without:
            break
        o["metadata"]["namespace"] = HOME
        at = path(kind, "trevor-probe", ns=HOME)
        s, r = api.call(t.controller, "APPLY", at, o, **probe)
        m = r.get("message", "")
        t.check(
            f"the controller's probe on {kind} meets its policy",
            s == 403 and f"ValidatingAdmissionPolicy '{RELEASE}-{kind}' with binding '{RELEASE}-{kind}' denied request" in m and word in m,
            f"{s} {m}",
        )
        t.deny("... and for real the fence besides", f"{kind}|operator-fence", t.controller, "APPLY", at, o)


def jobs(t, f):
    """Jobs: as the controller makes them, and no others."""
    api = t.api
    JP = f"/apis/batch/v1/namespaces/{PROJECT}/jobs"
    t.passes("a collector's Job", t.controller, "POST", JP, job(f.name("j1")))
    t.passes("... is deleted with its pods", t.controller, "DELETE", f"{JP}/{f.name('j1')}", delete_options(propagationPolicy="Background"))
    api.ensure(JP, {**job(f.name("other")), "metadata": {"name": f.name("other"), "namespace": PROJECT}})
    sc = C0 + "securityContext__"
    for label, change in (
        ("no label", {"metadata__labels": {}}),
        ("another label", {"metadata__labels": {f"{GROUP}/job": "x"}}),
        ("another image", {C0 + "image": "evil:1"}),
        ("an image by prefix", {C0 + "image": "trevor:test2"}),
        (
            "a second container",
            {
                POD + "containers": job("x")["spec"]["template"]["spec"]["containers"]
                + [{**job("x")["spec"]["template"]["spec"]["containers"][0], "name": "d", "image": "evil:1"}]
            },
        ),
        ("an init container", {POD + "initContainers": [{**job("x")["spec"]["template"]["spec"]["containers"][0], "name": "i", "image": "evil:1"}]}),
        ("another account", {POD + "serviceAccountName": "admin"}),
        ("another account, old field", {POD + "serviceAccount": "admin"}),
        ("the account's token", {POD + "automountServiceAccountToken": True}),
        ("the account's token by default", {POD + "automountServiceAccountToken": None}),
        ("a Secret volume", {POD + "volumes": [{"name": "w", "secret": {"secretName": f.name("victim")}}]}),
        ("a ConfigMap volume", {POD + "volumes": [{"name": "w", "configMap": {"name": "x"}}]}),
        ("a hostPath", {POD + "volumes": [{"name": "w", "hostPath": {"path": "/"}}]}),
        ("a projected Secret", {POD + "volumes": [{"name": "w", "projected": {"sources": [{"secret": {"name": f.name("victim")}}]}}]}),
        ("a token for another audience", {POD + "volumes": [{"name": "w", "projected": {"sources": [{"serviceAccountToken": {"audience": "api", "path": "t"}}]}}]}),
        ("a token for the API", {POD + "volumes": [{"name": "w", "projected": {"sources": [{"serviceAccountToken": {"path": "t"}}]}}]}),
        ("a CSI volume", {POD + "volumes": [{"name": "w", "csi": {"driver": "x"}}]}),
        ("an NFS volume", {POD + "volumes": [{"name": "w", "nfs": {"server": "x", "path": "/"}}]}),
        ("envFrom", {C0 + "envFrom": [{"secretRef": {"name": f.name("victim")}}]}),
        ("valueFrom", {C0 + "env": [{"name": "X", "valueFrom": {"secretKeyRef": {"name": f.name("victim"), "key": "password"}}}]}),
        ("hostNetwork", {POD + "hostNetwork": True}),
        ("hostPID", {POD + "hostPID": True}),
        ("hostIPC", {POD + "hostIPC": True}),
        ("a node's name", {POD + "nodeName": "n1"}),
        ("a host port", {C0 + "ports": [{"containerPort": 1, "hostPort": 1}]}),
        ("pull secrets", {POD + "imagePullSecrets": [{"name": "x"}]}),
        ("root by the pod", {POD + "securityContext__runAsUser": 0}),
        ("root allowed by the pod", {POD + "securityContext__runAsNonRoot": False}),
        ("no seccomp", {POD + "securityContext__seccompProfile": None}),
        ("seccomp Unconfined", {POD + "securityContext__seccompProfile__type": "Unconfined"}),
        ("root by the container", {sc + "runAsUser": 0}),
        ("root allowed by the container", {sc + "runAsNonRoot": False}),
        ("privileged", {sc + "privileged": True, sc + "allowPrivilegeEscalation": True}),
        ("escalation", {sc + "allowPrivilegeEscalation": True}),
        ("escalation by default", {sc + "allowPrivilegeEscalation": None}),
        ("a capability", {sc + "capabilities__add": ["NET_ADMIN"]}),
        ("capabilities kept", {sc + "capabilities": None}),
        ("the container's seccomp", {sc + "seccompProfile": {"type": "Unconfined"}}),
    ):
        t.deny(f"a Job with {label}", "operator-jobs", t.controller, "POST", JP, job(f.name("xj"), **change))
    t.deny("another's Job deleted", "operator-jobs", t.controller, "DELETE", f"{JP}/{f.name('other')}", delete_options(propagationPolicy="Background"))
    t.deny("another's Job changed", "operator-jobs|operator-fence", t.controller, "PATCH", f"{JP}/{f.name('other')}", {"spec": {"suspend": True}})
    t.deny("the gateway's Job", "operator-fence", t.gateway, "POST", JP, job(f.name("xj")))


def packaging_jobs(t, f):
    """Jobs in the controller's own namespace: those that make packages, and no others."""
    api, JP = t.api, f"/apis/batch/v1/namespaces/{HOME}/jobs"
    t.passes("a packaging Job", t.controller, "POST", JP, packaging_job(f.name("p1")))
    t.passes("... is deleted with its pods", t.controller, "DELETE", f"{JP}/{f.name('p1')}", delete_options(propagationPolicy="Background"))
    api.ensure(JP, packaging_job(f.name("other"), metadata__labels={}))
    sc = C0 + "securityContext__"
    for label, change in (
        ("no label", {"metadata__labels": {}}),
        ("a collector's label", {"metadata__labels": {f"{GROUP}/job": "collect"}}),
        ("an image for projects", {C0 + "image": "trevor:test"}),
        ("a command", {C0 + "command": ["sh"]}),
        ("another subcommand", {C0 + "args": ["controller"]}),
        ("no subcommand", {C0 + "args": None}),
        ("a second container", {POD + "containers": [packaging_job("x")["spec"]["template"]["spec"]["containers"][0],
                                                     {**packaging_job("x")["spec"]["template"]["spec"]["containers"][0], "name": "d"}]}),
        ("an init container", {POD + "initContainers": [{**packaging_job("x")["spec"]["template"]["spec"]["containers"][0], "name": "i"}]}),
        ("a second pod", {"spec__backoffLimit": 1}),
        ("a second pod by default", {"spec__backoffLimit": None}),
        ("two pods", {"spec__parallelism": 2, "spec__completions": 2}),
        ("the controller's account", {POD + "serviceAccountName": f"{RELEASE}-controller"}),
        ("the gateway's account, old field", {POD + "serviceAccountName": None, POD + "serviceAccount": f"{RELEASE}-gateway"}),
        ("no account", {POD + "serviceAccountName": None}),
        ("the account's token", {POD + "automountServiceAccountToken": True}),
        ("a token", {POD + "volumes": [{"name": "w", "projected": {"sources": [{"serviceAccountToken": {"path": "t"}}]}}]}),
        ("a Secret volume", {POD + "volumes": [{"name": "w", "secret": {"secretName": "trevor-packaging-release"}}]}),
        ("a projected Secret", {POD + "volumes": [{"name": "w", "projected": {"sources": [{"secret": {"name": "trevor-audit"}}]}}]}),
        ("another ConfigMap", {POD + "volumes": [{"name": "w", "configMap": {"name": "kube-root-ca.crt"}}]}),
        ("a claim", {POD + "volumes": [{"name": "w", "persistentVolumeClaim": {"claimName": "work"}}]}),
        ("a hostPath", {POD + "volumes": [{"name": "w", "hostPath": {"path": "/"}}]}),
        ("envFrom", {C0 + "envFrom": [{"secretRef": {"name": "trevor-packaging-release"}}]}),
        ("another Secret", {C0 + "env": [{"name": "TREVOR_S3_RELEASE_SECRET_ACCESS_KEY", "valueFrom": {"secretKeyRef": {"name": "trevor-audit", "key": "x"}}}]}),
        ("its Secret by another name", {C0 + "env": [{"name": "X", "valueFrom": {"secretKeyRef": {"name": "trevor-packaging-release", "key": "secret_access_key"}}}]}),
        ("a field of the pod", {C0 + "env": [{"name": "TREVOR_S3_X", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}}]}),
        ("pull secrets", {POD + "imagePullSecrets": [{"name": "x"}]}),
        ("hostNetwork", {POD + "hostNetwork": True}),
        ("a node's name", {POD + "nodeName": "n1"}),
        ("root by the pod", {POD + "securityContext__runAsUser": 0}),
        ("no seccomp", {POD + "securityContext__seccompProfile": None}),
        ("escalation", {sc + "allowPrivilegeEscalation": True}),
        ("a capability", {sc + "capabilities__add": ["NET_ADMIN"]}),
    ):
        t.deny(f"a packaging Job with {label}", "operator-packaging", t.controller, "POST", JP, packaging_job(f.name("xp"), **change))
    t.deny("a collector's Job at home", "operator-packaging", t.controller, "POST", JP, job(f.name("xp"), metadata__namespace=HOME))
    elsewhere = f"/apis/batch/v1/namespaces/{PROJECT}/jobs"
    t.deny("a packaging Job in a project", "operator-jobs", t.controller, "POST", elsewhere, packaging_job(f.name("xp"), metadata__namespace=PROJECT))
    t.deny("another's Job at home deleted", "operator-packaging", t.controller, "DELETE", f"{JP}/{f.name('other')}", delete_options(propagationPolicy="Background"))
    t.deny("another's Job at home changed", "operator-packaging|operator-fence", t.controller, "PATCH", f"{JP}/{f.name('other')}", {"spec": {"suspend": True}})
    for who, label in ((t.gateway, "the gateway's"), (t.unbound, "a Job without pod, the controller's"), (fake_controller, "kubectl --as the controller's")):
        t.deny(f"{label} packaging Job", "operator-fence", who, "POST", JP, packaging_job(f.name("xp")))


def definitions(t, f):
    """Our CRDs stay."""
    api = t.api
    for k in KINDS:
        t.deny(f"{k} is undefined", "crds", masters, "DELETE", f"{CRDS}/{k}.{GROUP}", says="allow-deletion=true")
    t.deny("all definitions deleted", "crds", masters, "DELETE", CRDS, says="allow-deletion=true", labelSelector="app.kubernetes.io/name=trevor")
    other = {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": "others.forge.example"},
        "spec": {
            "group": "forge.example",
            "names": {"kind": "Other", "plural": "others"},
            "scope": "Cluster",
            "versions": [{"name": "v1", "served": True, "storage": True, "schema": {"openAPIV3Schema": {"type": "object"}}}],
        },
    }
    if api.call(ADMIN, "GET", f"{CRDS}/others.forge.example")[0] == 404:
        api.ensure(CRDS, other)
    t.passes("another's definition is deleted", ADMIN, "DELETE", f"{CRDS}/others.forge.example")


def clean_up(t, f):
    """What Kubernetes itself must still be able to do."""
    api = t.api
    if not t.without:
        t.passes("deletion in the foreground", alice, "DELETE", path(REQUESTS, f.name("c3")), delete_options(propagationPolicy="Foreground"))
        t.wait("... is finished by the collector", lambda: api.call(ADMIN, "GET", path(REQUESTS, f.name("c3")))[0] == 404)
        if t.fills:
            t.passes("deletion leaving orphans", alice, "DELETE", path(REQUESTS, f.name("f1")), delete_options(propagationPolicy="Orphan"))
            t.wait("... is finished by the collector", lambda: api.call(ADMIN, "GET", path(REQUESTS, f.name("f1")))[0] == 404)
        t.passes("deletion waits for the finalizer", alice, "DELETE", path(REQUESTS, f.request))
        t.check("... and is pending", t.get(path(REQUESTS, f.request))["metadata"].get("deletionTimestamp"))
        t.passes("the controller lets it go", t.controller, "PATCH", path(REQUESTS, f.request), {"metadata": {"finalizers": None}})
        t.wait("... and it goes", lambda: api.call(ADMIN, "GET", path(REQUESTS, f.request))[0] == 404)
        for k, o, w in (
            (REQUESTS, req("g1", ns=f.going, submitter="alice"), alice),
            (REVIEWS, rev("g2", reviewer="bob"), bob),
            (ACTIONS, act("g3", "HoldOfficer", "Hold", actor="olga"), olga),
            (SESSIONS, sess(ns=f.going, user="alice", groups=alice["all"]), alice),
            (RECORDS, rec("g4"), t.controller),
        ):
            o["metadata"]["namespace"] = f.going
            t.passes(f"{k} in a namespace that goes", w, "POST", path(k, ns=f.going), o)
        t.passes("the namespace is deleted", ADMIN, "DELETE", f"/api/v1/namespaces/{f.going}")
        t.wait("... and goes, with all that was in it", lambda: api.call(ADMIN, "GET", f"/api/v1/namespaces/{f.going}")[0] == 404, 60)

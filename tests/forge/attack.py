#!/usr/bin/env python3
"""Attacks the chart's admission policies on a real API server, from a table.

    attack.py --kubeconfig FILE [--namespace trevor-system] [--release trevor] [--without] [-v]

Needs an admin (system:masters) in the current context, the chart installed with
    identity.delegates = [forge-a/flux-bot, "*/o'gitops"]
    identity.reviewing_service_accounts = [system:serviceaccount:forge-checks:scanner]
    identity.mutating_policies = always (or --no-fill here), jobs.images = [trevor:test]
and kube-controller-manager (namespaces, garbage collection).
Every person and account here has every right on our kinds that RBAC can give by
name, so that only admission stands between them and the object. Each refusal is tried
for real and as a dry run, and must be a 403 of the policy that the row names.
--without: the same table without the chart's bindings, to show that it is they that hold.
"""
import argparse, base64, copy, hashlib, http.client, json, os, secrets, ssl, sys, tempfile, time, urllib.parse, uuid

ap = argparse.ArgumentParser()
ap.add_argument("--kubeconfig", default=os.environ.get("KUBECONFIG"))
ap.add_argument("--context")
ap.add_argument("--namespace", default="trevor-system")
ap.add_argument("--release", default="trevor")
ap.add_argument("--without", action="store_true")
ap.add_argument("--no-fill", action="store_true")
ap.add_argument("-v", action="store_true")
args = ap.parse_args()

G = "airlock.karectl.io"
A, B, GOING = "forge-a", "forge-b", "forge-going-" + secrets.token_hex(3)
NS, REL = args.namespace, args.release
DIGEST = "ab" * 32

# ---------------------------------------------------------------- the API
cfg = json.load(open(args.kubeconfig))  # the driver writes kubeconfigs as JSON, which is YAML
ctx = next(c for c in cfg["contexts"] if c["name"] == (args.context or cfg["current-context"]))["context"]
cluster = next(c for c in cfg["clusters"] if c["name"] == ctx["cluster"])["cluster"]
admin = next(u for u in cfg["users"] if u["name"] == ctx["user"])["user"]
host = urllib.parse.urlparse(cluster["server"])

def tls(with_cert):
    t = ssl.create_default_context()
    if cluster.get("insecure-skip-tls-verify"):
        t.check_hostname, t.verify_mode = False, ssl.CERT_NONE
    elif "certificate-authority-data" in cluster:
        t.load_verify_locations(cadata=base64.b64decode(cluster["certificate-authority-data"]).decode())
    else:
        t.load_verify_locations(os.path.join(os.path.dirname(args.kubeconfig), cluster["certificate-authority"]))
    if with_cert and ("client-certificate-data" in admin or "client-certificate" in admin):
        paths = []
        for k in ("client-certificate", "client-key"):
            if k in admin: paths.append(os.path.join(os.path.dirname(args.kubeconfig), admin[k])); continue
            f = tempfile.NamedTemporaryFile(delete=False); f.write(base64.b64decode(admin[k + "-data"])); f.close(); paths.append(f.name)
        t.load_cert_chain(*paths)
    return t

conns = {}
def http_(method, path, body=None, headers={}, cert=True):
    for again in (0, 1):
        c = conns.get(cert)
        if c is None:
            c = conns[cert] = http.client.HTTPSConnection(host.hostname, host.port, context=tls(cert), timeout=30)
        try:
            c.request(method, path, body=json.dumps(body) if body is not None else None, headers=headers)
            r = c.getresponse(); raw = r.read()
            try: return r.status, json.loads(raw)
            except ValueError: return r.status, {"message": raw.decode(errors="replace")}
        except (http.client.HTTPException, ConnectionError):
            conns.pop(cert, None)
            if again: raise

CT = {"PATCH": "application/merge-patch+json", "APPLY": "application/apply-patch+yaml", "JSON": "application/json-patch+json"}
def method_of(verb): return verb if verb in ("GET", "POST", "PUT", "DELETE") else "PATCH"
def call(who, verb, path, body=None, **query):
    """verb: GET POST PUT DELETE PATCH (merge) JSON (json patch) APPLY (server-side)."""
    h = {"Content-Type": CT.get(verb, "application/json")}
    cert = True
    if who.get("token"): h["Authorization"] = "Bearer " + who["token"]; cert = False
    else:
        if "token" in admin: h["Authorization"] = "Bearer " + admin["token"]
        if who["user"]:
            h["Impersonate-User"] = who["user"]
    if verb == "APPLY": query.setdefault("fieldManager", "forge"); query.setdefault("force", "true")
    if method_of(verb) == "DELETE" and body is not None and "dryRun" in query: body = {**body, "dryRun": [query.pop("dryRun")]}  # a body hides the query
    if query: path += ("&" if "?" in path else "?") + urllib.parse.urlencode(query)
    method = verb if verb in ("GET", "POST", "PUT", "DELETE") else "PATCH"
    if not who.get("token") and who["user"] and (who["groups"] or who["extra"]):
        return raw_call(method, path, body, h, who, cert)
    return http_(method, path, body, h, cert)

def raw_call(method, path, body, h, who, cert):
    """Several Impersonate-Group headers: http.client's putheader."""
    for again in (0, 1):
        c = conns.get(cert)
        if c is None:
            c = conns[cert] = http.client.HTTPSConnection(host.hostname, host.port, context=tls(cert), timeout=30)
        try:
            data = json.dumps(body).encode() if body is not None else None
            c.putrequest(method, path)
            for k, v in h.items(): c.putheader(k, v)
            for g in who["groups"]: c.putheader("Impersonate-Group", g)
            for k, v in who["extra"].items(): c.putheader("Impersonate-Extra-" + urllib.parse.quote(k, safe=""), v)
            if data is not None: c.putheader("Content-Length", str(len(data)))
            c.endheaders(data)
            r = c.getresponse(); raw = r.read()
            try: return r.status, json.loads(raw)
            except ValueError: return r.status, {"message": raw.decode(errors="replace")}
        except (http.client.HTTPException, ConnectionError):
            conns.pop(cert, None)
            if again: raise

def user(name, *groups, **extra):
    return {"user": name, "groups": list(groups), "extra": extra, "all": [*groups, "system:authenticated"]}
def sa(ns, name): return user(f"system:serviceaccount:{ns}:{name}", "system:serviceaccounts", f"system:serviceaccounts:{ns}")
ADMIN = {"user": None, "groups": [], "extra": {}}
alice, dave = user("alice", "researchers"), user("dave", "researchers")
bob, carol, olga, mallory = user("bob", "checkers"), user("carol", "checkers"), user("olga", "officers"), user("mallory", "mallories")
obrien = user("o'brien", "researchers")
star = user("star", "stars")                      # verbs *, resources *: as cluster-admin
masters = user("root", "system:masters")
flux, ogit = user("flux-bot", "bots"), user("o'gitops", "bots")
robot, scanner = sa(A, "robot"), sa("forge-checks", "scanner")
fake_controller = sa(NS, f"{REL}-controller")     # kubectl --as
node = user("system:node:n1", "system:nodes")
gc, nsc, kcm = sa("kube-system", "generic-garbage-collector"), sa("kube-system", "namespace-controller"), user("system:kube-controller-manager")

def base(kind, ns): return f"/apis/{G}/v1alpha1" + (f"/namespaces/{ns}" if ns else "") + f"/{kind}"
def path(kind, name=None, sub=None, ns=A):
    return base(kind, ns) + (f"/{name}" if name else "") + (f"/{sub}" if sub else "")
def core(kind, name=None, ns=A, sub=None): return f"/api/v1/namespaces/{ns}/{kind}" + (f"/{name}" if name else "") + (f"/{sub}" if sub else "")

def obj(kind, name, spec, ns=A, **meta):
    m = {"namespace": ns, **meta}
    m["name" if not name.endswith("-") else "generateName"] = name
    return {"apiVersion": f"{G}/v1alpha1", "kind": kind, "metadata": m, "spec": spec}
def req(name, ns=A, _meta={}, **spec):
    return obj("AirlockRequest", name, {"direction": "Egress", "title": "t", **spec}, ns, **_meta)
def rev(name, _meta={}, **spec):
    return obj("AirlockReview", name, {"requestName": "r-alice", "manifestDigest": DIGEST, "decision": "Approve", **spec}, **_meta)
def act(name, as_, action, kind="AirlockRequest", target="r-alice", _meta={}, **spec):
    return obj("AirlockAction", name, {"target": {"kind": kind, "name": target, "uid": str(uuid.uuid4())}, "as": as_, "action": action, "reason": "forge", **spec}, **_meta)
def sess(ns=A, _meta={}, _name=None, **spec):
    sha = hashlib.sha256(secrets.token_bytes(32)).hexdigest()
    return obj("AirlockSession", _name or "s-" + sha[:40], {"tokenSHA256": sha, "ttlSeconds": 3600, **spec}, ns, **_meta)
def rec(name, _meta={}):
    return obj("ReleaseRecord", name, {"requestRef": {"name": "r-alice", "uid": str(uuid.uuid4())}, "direction": "Egress", "type": "Package",
        "package": {"bucket": "b", "key": "k", "sha256": DIGEST, "size": 1, "files": 1}, "manifestDigest": DIGEST, "round": 1,
        "policy": {"name": "default", "digest": DIGEST}, "approvals": [{"reviewer": "bob", "reviewName": "x", "time": "2026-01-01T00:00:00Z"}],
        "releasedTime": "2026-01-01T00:00:00Z", "deleteAfterTime": "2026-01-31T00:00:00Z"}, **_meta)
def secret(name, type_=f"{G}/release", ns=A, data=None, **meta):
    return {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name, "namespace": ns, **meta}, "type": type_, "data": data if data is not None else {"url": "eA=="}}
def job(name, **change):
    j = {"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": name, "namespace": A, "labels": {f"{G}/job": "collect"}},
      "spec": {"template": {"spec": {"restartPolicy": "Never", "automountServiceAccountToken": False,
        "securityContext": {"runAsNonRoot": True, "runAsUser": 1000, "seccompProfile": {"type": "RuntimeDefault"}},
        "volumes": [{"name": "w", "persistentVolumeClaim": {"claimName": "work", "readOnly": True}}, {"name": "t", "projected": {"sources": [{"serviceAccountToken": {"audience": "trevor-gateway", "path": "token"}}]}}],
        "containers": [{"name": "c", "image": "trevor:test", "args": ["collect"], "env": [{"name": "X", "value": "y"}],
           "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}, "readOnlyRootFilesystem": True}}]}}}}
    for dotted, v in change.items():
        o = j; keys = dotted.split("__")
        for k in keys[:-1]: o = o[int(k)] if k.isdigit() else o[k] if k in o else o.setdefault(k, {})
        k = keys[-1]
        if v is None: o.pop(k, None)
        else: o[k] = v
    return j
POD, C0 = "spec__template__spec__", "spec__template__spec__containers__0__"

def must(result, *codes):
    if result[0] not in (codes or (200, 201)): sys.exit(f"set-up failed: {result[0]} {json.dumps(result[1])[:1500]}")
    return result[1]
def ensure(p, o):
    r = call(ADMIN, "POST", p, o)
    if r[0] == 409 and "metadata" in o:
        r = call(ADMIN, "APPLY", p + "/" + o["metadata"]["name"], o)
    return must(r)

# ---------------------------------------------------------------- set-up
def bind(name, role, subjects, ns=None):
    api = "/apis/rbac.authorization.k8s.io/v1" + (f"/namespaces/{ns}" if ns else "")
    kind = "RoleBinding" if ns else "ClusterRoleBinding"
    ensure(f"{api}/{kind.lower()}s", {"apiVersion": "rbac.authorization.k8s.io/v1", "kind": kind, "metadata": {"name": name, **({"namespace": ns} if ns else {})},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": role}, "subjects": subjects})
def group(g): return {"apiGroup": "rbac.authorization.k8s.io", "kind": "Group", "name": g}
def person(u): return {"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": u}

VERBS = ["create", "get", "list", "watch", "update", "patch", "delete", "deletecollection"]
KINDS = ["airlockrequests", "airlockreviews", "airlockactions", "airlocksessions", "releaserecords", "airlockpolicies"]
def setup():
    for ns in (A, B, GOING, "forge-checks"): ensure("/api/v1/namespaces", {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": ns}})
    ensure("/apis/rbac.authorization.k8s.io/v1/clusterroles", {"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole", "metadata": {"name": "forge-generous"},
        "rules": [{"apiGroups": [G], "resources": KINDS + [k + "/status" for k in KINDS], "verbs": VERBS}]})
    ensure("/apis/rbac.authorization.k8s.io/v1/clusterroles", {"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole", "metadata": {"name": "forge-star"},
        "rules": [{"apiGroups": ["*"], "resources": ["*"], "verbs": ["*"]}]})
    ensure("/apis/rbac.authorization.k8s.io/v1/clusterroles", {"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole", "metadata": {"name": "forge-own-volume"},
        "rules": [{"apiGroups": [""], "resources": ["persistentvolumeclaims"], "verbs": ["airlock-read", "airlock-write"], "resourceNames": ["alice-work"]}]})
    bind("forge-generous", "forge-generous", [group("system:authenticated")])
    bind("forge-star", "forge-star", [person("star"), {"kind": "ServiceAccount", "namespace": NS, "name": f"{REL}-controller"}, {"kind": "ServiceAccount", "namespace": NS, "name": f"{REL}-gateway"}])
    for ns in (A, GOING):
        bind("researchers", f"{REL}-researcher", [group("researchers"), group("bots"), {"kind": "ServiceAccount", "namespace": A, "name": "robot"}], ns)
        bind("checkers", f"{REL}-checker", [group("checkers"), {"kind": "ServiceAccount", "namespace": A, "name": "robot"}, {"kind": "ServiceAccount", "namespace": "forge-checks", "name": "scanner"}], ns)
        bind("officers", f"{REL}-hold-officer", [group("officers")], ns)
        bind("volumes", "forge-own-volume", [person("alice")], ns)

def pod_bound(name):
    """A token of the account, bound to a Pod object that nothing runs."""
    pod = core("pods", f"forge-{name}", NS)
    if call(ADMIN, "GET", pod)[0] == 404:
        must(call(ADMIN, "POST", core("pods", ns=NS), {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": f"forge-{name}"}, "spec": {"serviceAccountName": name, "automountServiceAccountToken": False, "containers": [{"name": "c", "image": "none"}]}}))
    p = must(call(ADMIN, "GET", pod))
    def token(ref=None):
        spec = {"expirationSeconds": 3600}
        if ref: spec["boundObjectRef"] = ref
        return must(call(ADMIN, "POST", core("serviceaccounts", name, NS, "token"), {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": spec}))["status"]["token"]
    bound = token({"apiVersion": "v1", "kind": "Pod", "name": f"forge-{name}", "uid": p["metadata"]["uid"]})
    return {"token": bound, "user": None}, {"token": token(), "user": None}

def bindings():
    out = []
    for kind in ("validatingadmissionpolicybindings", "mutatingadmissionpolicybindings"):
        p = "/apis/admissionregistration.k8s.io/v1/" + kind
        s, l = call(ADMIN, "GET", p)
        out += [(p, {"apiVersion": "admissionregistration.k8s.io/v1", "kind": l["kind"].removesuffix("List"), "metadata": {"name": i["metadata"]["name"], "labels": i["metadata"].get("labels", {}), "annotations": i["metadata"].get("annotations", {})}, "spec": i["spec"]}) for i in l.get("items", []) if i["metadata"]["name"].startswith(REL + "-")]
    return out

setup()
controller, unbound = pod_bound(f"{REL}-controller")
gateway, _ = pod_bound(f"{REL}-gateway")

# ---------------------------------------------------------------- the runner
results = {"ok": 0, "bad": [], "through": 0, "denials": 0}
def report(good, name, detail=""):
    if good: results["ok"] += 1
    else: results["bad"].append((name, detail))
    if args.v or not good: print(("ok   " if good else "BAD  ") + name + ("" if good and not args.v else "  " + detail))

def deny(name, policy, who, verb, p, body=None, says=None, **q):
    """The attempt is refused, by this policy: for real, and as a dry run."""
    for dry in ((True,) if args.without else (False, True)):
        s, r = call(who, verb, p, body, **({"dryRun": "All"} if dry else {}), **q)
        results["denials"] += 1
        msg = r.get("message", "")
        if args.without:
            results["through"] += s in (200, 201, 202)
            if args.v: print(f"{s} {name}: {msg[:150]}")
            continue
        # The API server names one of the policies that refuse: any of those listed will do.
        want = [f"'{REL}-{x}'" for x in policy.split("|")]
        if s == 422 and "disallowed by cluster policy" in msg: continue  # --allow-privileged=false
        good = s == 403 and any(w in msg for w in want) and (says is None or says in msg)
        report(good, name + (" (dry run)" if dry else ""), f"{s} {msg[:400]}")

def code(name, want, who, verb, p, body=None, **q):
    if args.without: return {}
    s, r = call(who, verb, p, body, **q)
    report(s in (want if isinstance(want, tuple) else (want,)), name, f"{s} {r.get('message', '')[:400]}")
    return r
def passes(name, who, verb, p, body=None, **q):
    s, r = call(who, verb, p, body, **q)
    if not args.without: report(s in (200, 201, 202), name, f"{s} {r.get('message', '')[:400]}")
    return r
def check(name, good, detail=""):
    if not args.without: report(bool(good), name, str(detail))
def get(p): return must(call(ADMIN, "GET", p))
def wait(name, test, seconds=30):
    if args.without: return
    end = time.time() + seconds
    while time.time() < end:
        if test(): break
        time.sleep(0.3)
    report(test(), name, "did not happen")

R, V, T, S, D = "airlockrequests", "airlockreviews", "airlockactions", "airlocksessions", "releaserecords"
run = secrets.token_hex(3)
def n(x): return f"{x}-{run}"

# fixtures, made by the front door
def fixture(who, p, o):
    s, r = call(who, "POST", p, o)
    return must((s, r))
ra = fixture(alice, path(R), req(n("r-alice"), submitter="alice"))["metadata"]["name"]
rg = fixture(flux, path(R), req(n("r-git"), submitter="alice", createdBy="flux-bot"))["metadata"]["name"]
rr = fixture(dave, path(R), req(n("r-dave"), submitter="dave"))["metadata"]["name"]
rv = fixture(bob, path(V), rev(n("v-bob") + "-", reviewer="bob"))["metadata"]["name"]
ta = fixture(olga, path(T), act(n("t-olga") + "-", "HoldOfficer", "Hold", actor="olga"))["metadata"]["name"]
sa_ = fixture(alice, path(S), sess(user="alice", groups=alice["all"]))["metadata"]["name"]
dr = fixture(controller, path(D), rec(n("rec")))["metadata"]["name"]

held = []
if args.without:
    held = bindings()
    for p, o in held: must(call(ADMIN, "DELETE", p + "/" + o["metadata"]["name"]), 200)
    time.sleep(3)

try:
    # ------------------------------------------------------------ requests: create
    passes("a researcher names herself", alice, "POST", path(R), req(n("c1"), submitter="alice"))
    passes("a name with an apostrophe", obrien, "POST", path(R), req(n("c2"), submitter="o'brien"))
    passes("by server-side apply", alice, "APPLY", path(R, n("c3")), req(n("c3"), submitter="alice"))
    passes("a delegate submits for a person", flux, "POST", path(R), req(n("c4"), submitter="alice", createdBy="flux-bot"))
    passes("a delegate of every namespace, in another", ogit, "POST", path(R, ns=B), req(n("c5"), ns=B, submitter="alice", createdBy="o'gitops"))
    if not args.no_fill:
        r = passes("submitter is filled in", alice, "POST", path(R), req(n("f1")))
        check("... with the user's name", r.get("spec", {}).get("submitter") == "alice", r)
        r = passes("submitter is filled in by apply", alice, "APPLY", path(R, n("f2")), req(n("f2")))
        r = passes("... and stays when applied again without it", alice, "APPLY", path(R, n("f2")), req(n("f2"), title="u"))
        check("... with the user's name", r.get("spec", {}).get("submitter") == "alice", r)
        r = passes("createdBy is filled in for a delegate", flux, "POST", path(R), req(n("f3"), submitter="alice"))
        check("... with the delegate's name", r.get("spec", {}).get("createdBy") == "flux-bot", r)
        r = passes("... by apply, twice", flux, "APPLY", path(R, n("f4")), req(n("f4"), submitter="alice"))
        r = passes("... by apply, twice", flux, "APPLY", path(R, n("f4")), req(n("f4"), submitter="alice", title="u"))
        check("... and stays", r.get("spec", {}).get("createdBy") == "flux-bot", r)
    else:
        deny("no submitter", "airlockrequests", alice, "POST", path(R), req(n("x0")), says="set spec.submitter to 'alice'")
    for who, label in ((alice, "a researcher"), (mallory, "a stranger"), (star, "a holder of *"), (masters, "system:masters")):
        deny(f"{label} submits in another's name", "airlockrequests", who, "POST", path(R), req(n("x1"), submitter="dave"), says="set spec.submitter to")
        deny(f"{label} applies in another's name", "airlockrequests", who, "APPLY", path(R, n("x1")), req(n("x1"), submitter="dave"))
        deny(f"{label} plays the delegate", "airlockrequests", who, "POST", path(R), req(n("x2"), submitter="dave", createdBy=who["user"]))
    deny("createdBy besides one's own name", "airlockrequests", alice, "POST", path(R), req(n("x3"), submitter="alice", createdBy="alice"))
    deny("createdBy of a delegate, by a person", "airlockrequests", alice, "POST", path(R), req(n("x3"), submitter="alice", createdBy="flux-bot"))
    deny("another spelling of one's name", "airlockrequests", alice, "POST", path(R), req(n("x4"), submitter="Alice"))
    deny("one's name with a space", "airlockrequests", alice, "POST", path(R), req(n("x4"), submitter="alice "))
    deny("a service account as a person", "airlockrequests", robot, "POST", path(R), req(n("x5"), submitter=robot["user"]), says="not a person")
    if not args.no_fill: deny("a service account without a name", "airlockrequests", robot, "POST", path(R), req(n("x5")))
    deny("the controller submits", "airlockrequests|operator-fence", controller, "POST", path(R), req(n("x5"), submitter=fake_controller["user"]))
    deny("a delegate without a person", "airlockrequests", flux, "POST", path(R), req(n("x6"), createdBy="flux-bot"), says="as a delegate")
    deny("a delegate for itself", "airlockrequests", flux, "POST", path(R), req(n("x6"), submitter="flux-bot", createdBy="flux-bot"))
    deny("a delegate as a person", "airlockrequests", flux, "POST", path(R), req(n("x6"), submitter="flux-bot"))
    deny("a delegate for a service account", "airlockrequests", flux, "POST", path(R), req(n("x6"), submitter=robot["user"], createdBy="flux-bot"))
    deny("a delegate names another creator", "airlockrequests", flux, "POST", path(R), req(n("x6"), submitter="alice", createdBy="o'gitops"))
    deny("a delegate in another namespace", "airlockrequests", flux, "POST", path(R, ns=B), req(n("x6"), ns=B, submitter="alice", createdBy="flux-bot"))
    deny("created with a finalizer", "airlockrequests", alice, "POST", path(R), req(n("x7"), submitter="alice", _meta={"finalizers": [f"{G}/x"]}), says="without finalizers")
    deny("created with an owner", "airlockrequests", alice, "POST", path(R), req(n("x7"), submitter="alice", _meta={"ownerReferences": [{"apiVersion": "v1", "kind": "ConfigMap", "name": "x", "uid": "1"}]}), says="without finalizers")
    deny("the probe's name", "airlockrequests", alice, "POST", path(R), req("trevor-probe", submitter="alice"), says="trevor-probe")
    deny("the probe's name, by apply", "airlockrequests", alice, "APPLY", path(R, "trevor-probe"), req("trevor-probe", submitter="alice"), says="trevor-probe")
    deny("the delegate takes the probe's name", "airlockrequests", flux, "POST", path(R), req("trevor-probe", submitter="alice", createdBy="flux-bot"), says="trevor-probe")

    # ------------------------------------------------------------ requests: update
    passes("the submitter edits", alice, "PATCH", path(R, ra), {"spec": {"title": "better"}})
    passes("the submitter edits what a delegate made", alice, "PATCH", path(R, rg), {"spec": {"description": "x"}})
    passes("the delegate edits what it made", flux, "PATCH", path(R, rg), {"spec": {"title": "y"}})
    passes("the submitter labels", alice, "PATCH", path(R, ra), {"metadata": {"labels": {"a": "b"}}})
    for who, label in ((dave, "a colleague"), (bob, "a checker"), (olga, "an officer"), (star, "a holder of *"), (masters, "system:masters"), (flux, "a delegate"), (robot, "a service account"), (gateway, "the gateway"), (unbound, "a controller's token without pod"), (fake_controller, "kubectl --as the controller")):
        pol = "airlockrequests|operator-fence"
        deny(f"{label} edits the spec", pol, who, "PATCH", path(R, ra), {"spec": {"title": "mine"}})
        deny(f"{label} withdraws", pol, who, "PATCH", path(R, ra), {"spec": {"withdrawn": True}})
        deny(f"{label} submits", pol, who, "JSON", path(R, ra), [{"op": "add", "path": "/spec/submission", "value": 1}])
        deny(f"{label} labels", pol, who, "PATCH", path(R, ra), {"metadata": {"labels": {"x": "y"}}})
        deny(f"{label} annotates", pol, who, "PATCH", path(R, ra), {"metadata": {"annotations": {"x": "y"}}})
        deny(f"{label} takes finalizers", pol, who, "PATCH", path(R, ra), {"metadata": {"finalizers": [f"{G}/z"]}})
        deny(f"{label} applies over it", pol, who, "APPLY", path(R, ra), req(ra, title="mine"), fieldManager="thief")
    deny("a stranger's no-op apply", "airlockrequests", mallory, "APPLY", path(R, ra), req(ra, title="better", submitter="alice"), fieldManager="thief2")
    o = get(path(R, ra)); passes("a byte-equal PUT by anyone", mallory, "PUT", path(R, ra), o)
    check("... changes nothing", get(path(R, ra))["metadata"]["resourceVersion"] == o["metadata"]["resourceVersion"])
    passes("an empty patch by anyone", mallory, "PATCH", path(R, ra), {})
    deny("the submitter adds a finalizer", "airlockrequests", alice, "PATCH", path(R, ra), {"metadata": {"finalizers": [f"{G}/z"]}}, says="finalizers")
    deny("the submitter adds an owner", "airlockrequests", alice, "PATCH", path(R, ra), {"metadata": {"ownerReferences": [{"apiVersion": "v1", "kind": "ConfigMap", "name": "x", "uid": "1"}]}})
    code("the submitter gives the request away", 422, alice, "PATCH", path(R, ra), {"spec": {"submitter": "dave"}})
    code("... or drops the name", 422, alice, "JSON", path(R, ra), [{"op": "remove", "path": "/spec/submitter"}])
    code("the delegate changes whom it is for", 422, flux, "PATCH", path(R, rg), {"spec": {"submitter": "dave"}})
    passes("the controller adds its finalizer", controller, "PATCH", path(R, ra), {"metadata": {"finalizers": [f"{G}/retention"]}})
    passes("... by json patch on another", controller, "JSON", path(R, rg), [{"op": "add", "path": "/metadata/finalizers", "value": [f"{G}/retention"]}])
    passes("... and by apply", controller, "APPLY", path(R, rr), {"apiVersion": f"{G}/v1alpha1", "kind": "AirlockRequest", "metadata": {"name": rr, "finalizers": [f"{G}/retention"]}}, fieldManager="trevor")
    deny("the controller adds an owner", "airlockrequests", controller, "PATCH", path(R, ra), {"metadata": {"ownerReferences": [{"apiVersion": "v1", "kind": "ConfigMap", "name": "x", "uid": "1"}]}})
    deny("the controller edits the spec", "airlockrequests", controller, "PATCH", path(R, ra), {"spec": {"title": "mine"}}, says="finalizers of a request only")
    deny("the controller labels", "airlockrequests", controller, "PATCH", path(R, ra), {"metadata": {"labels": {"x": "y"}}})
    deny("the submitter removes the finalizer", "airlockrequests", alice, "PATCH", path(R, ra), {"metadata": {"finalizers": None}})
    deny("an admin removes the finalizer", "airlockrequests", masters, "PATCH", path(R, ra), {"metadata": {"finalizers": None}})
    passes("the submitter edits besides the finalizer", alice, "PATCH", path(R, ra), {"spec": {"title": "best"}})
    passes("the collector changes owners", gc, "PATCH", path(R, rr), {"metadata": {"ownerReferences": [{"apiVersion": "v1", "kind": "ConfigMap", "name": "x", "uid": "1"}]}}, dryRun="All")
    deny("the collector edits the spec", "airlockrequests", gc, "PATCH", path(R, ra), {"spec": {"title": "x"}})

    # ------------------------------------------------------------ requests: delete
    for who, label in ((dave, "a colleague"), (bob, "a checker"), (olga, "an officer"), (mallory, "a stranger"), (robot, "a service account"), (flux, "a delegate")):
        deny(f"{label} deletes", "airlockrequests", who, "DELETE", path(R, ra), says="deleted (and so withdrawn) by its submitter 'alice' only")
        deny(f"{label} deletes all", "airlockrequests", who, "DELETE", path(R), labelSelector="a=b")
    passes("the submitter deletes", alice, "DELETE", path(R, n("c1")))
    passes("the delegate deletes what it made", flux, "DELETE", path(R, n("c4")))
    passes("a holder of * deletes", star, "DELETE", path(R, n("c2")))

    # ------------------------------------------------------------ reviews
    passes("a checker reviews", bob, "POST", path(V), rev(n("v") + "-", reviewer="bob"))
    passes("a named service account reviews", scanner, "POST", path(V), rev(n("v") + "-", reviewer=scanner["user"]))
    if not args.no_fill:
        r = passes("reviewer is filled in", carol, "POST", path(V), rev(n("v") + "-"))
        check("... with the user's name", r.get("spec", {}).get("reviewer") == "carol", r)
    for who, label in ((alice, "a researcher"), (bob, "a checker"), (star, "a holder of *"), (scanner, "a named service account")):
        deny(f"{label} reviews as another", "airlockreviews", who, "POST", path(V), rev(n("xv"), reviewer="carol"), says="set spec.reviewer to")
        deny(f"{label} applies a review as another", "airlockreviews", who, "APPLY", path(V, n("xv")), rev(n("xv"), reviewer="carol"))
    deny("a researcher reviews", "airlockreviews", alice, "POST", path(V), rev(n("xv"), reviewer="alice"), says="permission to create airlockrequests/review")
    deny("a stranger reviews", "airlockreviews", mallory, "POST", path(V), rev(n("xv"), reviewer="mallory"))
    deny("an officer reviews", "airlockreviews", olga, "POST", path(V), rev(n("xv"), reviewer="olga"))
    deny("a checker of another namespace reviews", "airlockreviews", bob, "POST", path(V, ns=B), {**rev(n("xv"), reviewer="bob"), "metadata": {"name": n("xv"), "namespace": B}})
    deny("a holder of * reviews", "airlockreviews", star, "POST", path(V), rev(n("xv"), reviewer="star"), says="by name and not by a wildcard")
    deny("system:masters reviews", "airlockreviews", masters, "POST", path(V), rev(n("xv"), reviewer="root"), says="by name and not by a wildcard")
    deny("a service account reviews", "airlockreviews", robot, "POST", path(V), rev(n("xv"), reviewer=robot["user"]), says="system accounts do not review")
    deny("the controller reviews", "airlockreviews|operator-fence", controller, "POST", path(V), rev(n("xv"), reviewer=fake_controller["user"]))
    deny("the probe's name", "airlockreviews", bob, "POST", path(V), rev("trevor-probe", reviewer="bob"), says="trevor-probe")
    deny("the probe's name, by apply", "airlockreviews", bob, "APPLY", path(V, "trevor-probe"), rev("trevor-probe", reviewer="bob"), says="trevor-probe")
    deny("a review with a finalizer", "airlockreviews", bob, "POST", path(V), rev(n("xv"), reviewer="bob", _meta={"finalizers": [f"{G}/x"]}))
    deny("a review with an owner", "airlockreviews", bob, "POST", path(V), rev(n("xv"), reviewer="bob", _meta={"ownerReferences": [{"apiVersion": "v1", "kind": "ConfigMap", "name": "x", "uid": "1"}]}))
    code("a review is rewritten", 422, bob, "PATCH", path(V, rv), {"spec": {"decision": "Reject"}})
    for who, label in ((bob, "its author"), (carol, "another checker"), (star, "a holder of *"), (masters, "system:masters"), (controller, "the controller")):
        deny(f"{label} labels a review", "airlockreviews|operator-fence", who, "PATCH", path(V, rv), {"metadata": {"labels": {"a": "b"}}})
        deny(f"{label} puts a finalizer on a review", "airlockreviews|operator-fence", who, "PATCH", path(V, rv), {"metadata": {"finalizers": [f"{G}/x"]}})
        deny(f"{label} deletes a review", "airlockreviews|operator-fence", who, "DELETE", path(V, rv))
        deny(f"{label} deletes all reviews", "airlockreviews|operator-fence", who, "DELETE", path(V))
    o = get(path(V, rv)); passes("a byte-equal PUT of a review", mallory, "PUT", path(V, rv), o)
    deny("a stranger's no-op apply on a review", "airlockreviews", mallory, "APPLY", path(V, rv), {"apiVersion": o["apiVersion"], "kind": o["kind"], "metadata": {"name": rv}, "spec": {"decision": "Approve", "requestName": "r-alice", "manifestDigest": DIGEST}}, fieldManager="thief")

    # ------------------------------------------------------------ actions
    passes("a researcher recalls", alice, "POST", path(T), act(n("t") + "-", "Submitter", "Recall", actor="alice"))
    passes("a researcher revokes a record", alice, "POST", path(T), act(n("t") + "-", "Submitter", "Revoke", "ReleaseRecord", actor="alice"))
    passes("a checker revokes", bob, "POST", path(T), act(n("t") + "-", "Checker", "Revoke", "ReleaseRecord", actor="bob"))
    passes("an officer lifts a hold", olga, "POST", path(T), act(n("t") + "-", "HoldOfficer", "LiftHold", "ReleaseRecord", actor="olga"))
    if not args.no_fill:
        r = passes("actor is filled in", bob, "POST", path(T), act(n("t") + "-", "Checker", "Renew"))
        check("... with the user's name", r.get("spec", {}).get("actor") == "bob", r)
    deny("an act in another's name", "airlockactions", alice, "POST", path(T), act(n("xt"), "Submitter", "Recall", actor="dave"), says="set spec.actor to")
    deny("an officer's act in another's name", "airlockactions", olga, "POST", path(T), act(n("xt"), "HoldOfficer", "LiftHold", actor="alice"))
    deny("a researcher lifts a hold", "airlockactions", alice, "POST", path(T), act(n("xt"), "HoldOfficer", "LiftHold", actor="alice"), says="may not LiftHold as HoldOfficer")
    deny("a checker lifts a hold", "airlockactions", bob, "POST", path(T), act(n("xt"), "HoldOfficer", "LiftHold", actor="bob"))
    deny("a researcher revokes as a checker", "airlockactions", alice, "POST", path(T), act(n("xt"), "Checker", "Revoke", actor="alice"))
    deny("an officer revokes as a checker", "airlockactions", olga, "POST", path(T), act(n("xt"), "Checker", "Revoke", actor="olga"))
    deny("a checker recalls as the submitter", "airlockactions", bob, "POST", path(T), act(n("xt"), "Submitter", "Recall", actor="bob"))
    deny("a stranger renews", "airlockactions", mallory, "POST", path(T), act(n("xt"), "Submitter", "Renew", actor="mallory"))
    for as_, action in (("Submitter", "Revoke"), ("Checker", "Revoke"), ("HoldOfficer", "LiftHold")):
        for who in (star, masters):
            deny(f"{who['user']} (*) acts as {as_}", "airlockactions", who, "POST", path(T), act(n("xt"), as_, action, actor=who["user"]), says="by name and not by a wildcard")
    deny("a service account acts as a checker", "airlockactions", robot, "POST", path(T), act(n("xt"), "Checker", "Revoke", actor=robot["user"]))
    deny("the controller acts", "airlockactions|operator-fence", controller, "POST", path(T), act(n("xt"), "Submitter", "Renew", actor=fake_controller["user"]))
    deny("the probe's name for an act", "airlockactions", alice, "POST", path(T), act("trevor-probe", "Submitter", "Recall", actor="alice"), says="trevor-probe")
    deny("an act with a finalizer", "airlockactions", olga, "POST", path(T), act(n("xt"), "HoldOfficer", "Hold", actor="olga", _meta={"finalizers": [f"{G}/x"]}))
    code("an illegal pair", 422, olga, "POST", path(T), act(n("xt"), "HoldOfficer", "Revoke", actor="olga"))
    for who, label in ((olga, "its author"), (alice, "a researcher"), (masters, "system:masters"), (controller, "the controller")):
        deny(f"{label} deletes an action", "airlockactions|operator-fence", who, "DELETE", path(T, ta))
        deny(f"{label} annotates an action", "airlockactions|operator-fence", who, "PATCH", path(T, ta), {"metadata": {"annotations": {"a": "b"}}})
    o = get(path(T, ta)); passes("a byte-equal PUT of an action", mallory, "PUT", path(T, ta), o)

    # ------------------------------------------------------------ sessions
    many = user("many", *[f"g{i}" for i in range(500)])
    passes("a person logs in", bob, "POST", path(S), sess(user="bob", groups=bob["all"]))
    passes("groups in another order", bob, "POST", path(S), sess(user="bob", groups=bob["all"][::-1]))
    passes("500 groups", many, "POST", path(S), sess(user="many", groups=many["all"]))
    passes("500 groups in reverse", many, "POST", path(S), sess(user="many", groups=many["all"][::-1]))
    if not args.no_fill:
        r = passes("user and groups are filled in", carol, "POST", path(S), sess())
        check("... as the API server sees them", r.get("spec", {}).get("user") == "carol" and r["spec"].get("groups") == carol["all"], r)
        r = passes("groups alone are filled in", carol, "POST", path(S), sess(user="carol"))
        check("... as the API server sees them", r.get("spec", {}).get("groups") == carol["all"], r)
    for who in (alice, mallory, star, masters):
        deny(f"{who['user']} logs in as bob", "airlocksessions", who, "POST", path(S), sess(user="bob", groups=bob["all"]), says="set spec.user to")
        deny(f"{who['user']} adds a group", "airlocksessions", who, "POST", path(S), sess(user=who["user"], groups=who["all"] + ["checkers"]), says="spec.groups must be")
        deny(f"{who['user']} takes other groups", "airlocksessions", who, "POST", path(S), sess(user=who["user"], groups=["checkers"]))
        if who is not masters: deny(f"{who['user']} leaves a group out", "airlocksessions", who, "POST", path(S), sess(user=who["user"], groups=["system:authenticated"]))
        deny(f"{who['user']} has empty groups", "airlocksessions", who, "POST", path(S), sess(user=who["user"], groups=[]))
    deny("a service account logs in", "airlocksessions", robot, "POST", path(S), sess(user=robot["user"], groups=robot["all"]), says="sessions are for people")
    deny("a named service account logs in", "airlocksessions", scanner, "POST", path(S), sess(user=scanner["user"], groups=scanner["all"]))
    deny("a node logs in", "airlocksessions", node, "POST", path(S), sess(user=node["user"], groups=node["all"]))
    deny("a bootstrap token logs in", "airlocksessions", (w := user("system:bootstrap:x", "system:bootstrappers")), "POST", path(S), sess(user=w["user"], groups=w["all"]))
    deny("a scoped token logs in", "airlocksessions", (w := user("alice", "researchers", **{"scopes.authorization.openshift.io": "user:info"})), "POST", path(S), sess(user="alice", groups=w["all"]), says="scopes")
    deny("a session with a finalizer", "airlocksessions", alice, "POST", path(S), sess(user="alice", groups=alice["all"], _meta={"finalizers": [f"{G}/x"]}))
    code("a session of another name", 422, alice, "POST", path(S), sess(user="alice", groups=alice["all"], _name="trevor-probe"))
    deny("its owner labels a session", "airlocksessions", alice, "PATCH", path(S, sa_), {"metadata": {"labels": {"a": "b"}}})
    code("a session is rewritten", 422, alice, "PATCH", path(S, sa_), {"spec": {"ttlSeconds": 600}})
    for who, label in ((bob, "a checker"), (mallory, "a stranger"), (flux, "a delegate"), (gateway, "the gateway")):
        deny(f"{label} logs alice out", "airlocksessions|operator-fence", who, "DELETE", path(S, sa_))
    deny("a controller's token without pod sweeps sessions", "operator-fence", unbound, "DELETE", path(S, sa_), says="from its pod only")
    for who, label in ((bob, "a checker"), (mallory, "a stranger"), (flux, "a delegate"), (gateway, "the gateway")):
        deny(f"{label} logs everybody out", "airlocksessions|operator-fence", who, "DELETE", path(S))
    o = get(path(S, sa_)); passes("a byte-equal PUT of a session", mallory, "PUT", path(S, sa_), o)
    passes("logging out", alice, "DELETE", path(S, sa_))
    x = call(bob, "POST", path(S), sess(user="bob", groups=bob["all"]))[1]["metadata"]["name"]
    passes("the controller sweeps", controller, "DELETE", path(S, x))
    x = call(bob, "POST", path(S), sess(user="bob", groups=bob["all"]))[1]["metadata"]["name"]
    passes("a holder of * revokes a session", star, "DELETE", path(S, x))

    # ------------------------------------------------------------ records
    passes("the controller records", controller, "POST", path(D), rec(n("d1")))
    for who, label in ((alice, "a researcher"), (bob, "a checker"), (star, "a holder of *"), (masters, "system:masters"), (gateway, "the gateway"), (unbound, "a controller's token without pod"), (fake_controller, "kubectl --as the controller")):
        pol = "releaserecords|operator-fence"
        deny(f"{label} makes a record", pol, who, "POST", path(D), rec(n("xd")))
        deny(f"{label} applies a record", pol, who, "APPLY", path(D, n("xd")), rec(n("xd")))
        deny(f"{label} labels a record", pol, who, "PATCH", path(D, dr), {"metadata": {"labels": {"a": "b"}}})
        deny(f"{label} deletes a record", pol, who, "DELETE", path(D, dr))
    deny("a record with an owner", "releaserecords", controller, "POST", path(D), rec(n("xd"), _meta={"ownerReferences": [{"apiVersion": "v1", "kind": "ConfigMap", "name": "x", "uid": "1"}]}))
    deny("a record of the probe's name", "releaserecords", controller, "POST", path(D), rec("trevor-probe"), says="trevor-probe")
    o = get(path(D, dr)); passes("a byte-equal PUT of a record", mallory, "PUT", path(D, dr), o)

    # ------------------------------------------------------------ status
    st = {R: {"phase": "Released"}, V: {"state": "Counted"}, T: {"state": "Counted"}, D: {"phase": "Available"}, "airlockpolicies": {"observedGeneration": secrets.randbelow(10**9)}}
    for kind, name in ((R, ra), (V, rv), (T, ta), (D, dr), ("airlockpolicies", "default")):
        ns = None if kind == "airlockpolicies" else A
        p = path(kind, name, "status", ns)
        meta = {"apiVersion": f"{G}/v1alpha1", "kind": {R: "AirlockRequest", V: "AirlockReview", T: "AirlockAction", D: "ReleaseRecord"}.get(kind, "AirlockPolicy"), "metadata": {"name": name}}
        for who, label in ((alice, "a researcher"), (bob, "a checker"), (star, "a holder of *"), (masters, "system:masters"), (robot, "a service account"), (gateway, "the gateway"), (unbound, "a controller's token without pod"), (fake_controller, "kubectl --as the controller"), (gc, "the collector")):
            pol = "status|operator-fence"
            deny(f"{label} patches {kind}/status", pol, who, "PATCH", p, {"status": st[kind]})
            deny(f"{label} applies {kind}/status", pol, who, "APPLY", p, {**meta, "status": st[kind]})
            deny(f"{label} json-patches {kind}/status", pol, who, "JSON", p, [{"op": "add", "path": "/status", "value": st[kind]}])
        passes(f"the controller writes {kind}/status", controller, "PATCH", p, {"status": st[kind]})
        passes(f"... and applies it", controller, "APPLY", p, {**meta, "status": st[kind]}, fieldManager="trevor")
    s, r = call(mallory, "PUT", path(R, ra), {**get(path(R, ra)), "status": {"phase": "Rejected"}})
    check("status in a PUT of the object is dropped", s == 200 and r["status"]["phase"] == "Released", (s, r))

    # ------------------------------------------------------------ volumes
    src = lambda *names: [{"persistentVolumeClaim": {"claimName": c, "path": "out"}} for c in names]
    dlv = lambda c: {"type": "PersistentVolumeClaim", "persistentVolumeClaim": {"claimName": c, "path": "in"}}
    passes("a source of one's own", alice, "POST", path(R), req(n("p1"), submitter="alice", sources=src("alice-work")))
    passes("eight sources of one's own", alice, "POST", path(R), req(n("p2"), submitter="alice", sources=src(*["alice-work"] * 8)))
    ingress = dict(direction="Ingress", files=[{"path": "a.csv", "size": 1}])
    r = passes("a delivery of one's own", alice, "POST", path(R), req(n("p3"), submitter="alice", delivery=dlv("alice-work"), **ingress))
    for i in range(8):
        deny(f"source {i} is another's", "volumes", alice, "POST", path(R), req(n("xp"), submitter="alice", sources=src(*["alice-work"] * i, "other", *["alice-work"] * (7 - i))), says=f"spec.sources[{i}]")
    deny("one's own as a delegate's", "volumes", flux, "POST", path(R), req(n("xp"), submitter="alice", createdBy="flux-bot", sources=src("alice-work")), says="held by 'flux-bot'")
    deny("another's source later", "volumes", alice, "PATCH", path(R, n("p1")), {"spec": {"sources": src("other")}})
    deny("a delivery to another's", "volumes", alice, "POST", path(R), req(n("xp"), submitter="alice", delivery=dlv("other"), **ingress), says="airlock-write")
    deny("delivery turned to another's", "volumes", alice, "PATCH", path(R, n("p3")), {"spec": {"delivery": dlv("other")}})
    deny("a holder of * collects", "volumes", star, "POST", path(R), req(n("xp"), submitter="star", sources=src("alice-work")), says="not by a wildcard")
    deny("a holder of * delivers", "volumes", star, "POST", path(R), req(n("xp"), submitter="star", delivery=dlv("alice-work"), **ingress))
    passes("an edit besides, right kept", alice, "PATCH", path(R, n("p1")), {"spec": {"title": "z"}})
    if not args.without:
        bind("volumes", "forge-own-volume", [person("nobody")], A); time.sleep(1)
        passes("an edit besides, right lost", alice, "PATCH", path(R, n("p1")), {"spec": {"title": "zz"}})
        deny("submitting, right lost", "volumes", alice, "PATCH", path(R, n("p1")), {"spec": {"submission": 1}})
        passes("the controller's finalizer, right lost", controller, "PATCH", path(R, n("p1")), {"metadata": {"finalizers": [f"{G}/retention"]}})
        passes("... and removed", controller, "PATCH", path(R, n("p1")), {"metadata": {"finalizers": None}})
        passes("deleting, right lost", alice, "DELETE", path(R, n("p1")))
        bind("volumes", "forge-own-volume", [person("alice")], A)

    # ------------------------------------------------------------ the operator's own accounts (cluster-admin here)
    ensure(core("secrets"), secret(n("victim"), "Opaque", data={"password": "aHVudGVyMg=="}))
    ensure(core("secrets"), secret(n("ours")))
    ensure(core("configmaps"), {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": n("cm"), "namespace": A}})
    SP, fence = "operator-secrets|operator-fence", "operator-fence"
    passes("a release Secret", controller, "POST", core("secrets"), secret(n("s1"), data={k: "eA==" for k in ("url", "sha256", "size", "expires", "filename")}))
    passes("... is deleted", controller, "DELETE", core("secrets", n("s1")))
    passes("... with Background spelled out", controller, "DELETE", core("secrets", n("ours")), {"kind": "DeleteOptions", "apiVersion": "v1", "propagationPolicy": "Background"}, dryRun="All")
    for who, label in ((controller, "controller"), (gateway, "gateway"), (unbound, "controller without pod"), (fake_controller, "kubectl --as controller")):
        deny(f"{label}: an Opaque Secret", SP, who, "POST", core("secrets"), secret(n("xs"), "Opaque"))
        deny(f"{label}: a token Secret", SP, who, "POST", core("secrets"), secret(n("xs"), "kubernetes.io/service-account-token", data={}, annotations={"kubernetes.io/service-account.name": "default"}))
        deny(f"{label}: deletes another's Secret", SP, who, "DELETE", core("secrets", n("victim")))
        for pp in ("Foreground", "Orphan"):
            deny(f"{label}: reads a Secret by {pp} dry run", SP, who, "DELETE", core("secrets", n("victim")), {"kind": "DeleteOptions", "apiVersion": "v1", "propagationPolicy": pp, "dryRun": ["All"]})
        deny(f"{label}: changes a Secret", SP, who, "PATCH", core("secrets", n("victim")), {"data": {"x": "eA=="}})
        deny(f"{label}: changes our Secret", SP, who, "PATCH", core("secrets", n("ours")), {"data": {"url": "eA=="}})
        deny(f"{label}: deletes all Secrets", SP, who, "DELETE", core("secrets"), fieldSelector="metadata.name=" + n("victim"))
        for what, verb, p, body in (
            ("a ConfigMap", "POST", core("configmaps"), {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": n("x")}}),
            ("a ConfigMap's deletion", "DELETE", core("configmaps", n("cm")), None),
            ("a pod", "POST", core("pods", ns=NS), {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": n("x")}, "spec": {"automountServiceAccountToken": False, "serviceAccountName": f"{REL}-controller", "containers": [{"name": "c", "image": "x"}]}}),
            ("a token", "POST", core("serviceaccounts", "default", "kube-system", "token"), {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {}}),
            ("a role binding", "POST", "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings", {"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRoleBinding", "metadata": {"name": n("x")}, "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "cluster-admin"}, "subjects": [person("mallory")]}),
            ("a CRD's edit", "PATCH", f"/apis/apiextensions.k8s.io/v1/customresourcedefinitions/{R}.{G}", {"metadata": {"annotations": {f"{G}/allow-deletion": "true"}}}),
            ("a policy of ours", "POST", path("airlockpolicies", ns=None), {"apiVersion": f"{G}/v1alpha1", "kind": "AirlockPolicy", "metadata": {"name": n("x")}, "spec": {"namespaces": ["x"]}}),
            ("a namespace", "POST", "/api/v1/namespaces", {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": n("x")}}),
            ("a lease elsewhere", "POST", f"/apis/coordination.k8s.io/v1/namespaces/kube-system/leases", {"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": {"name": n("x")}}),
        ):
            deny(f"{label}: {what}", fence, who, verb, p, body, says="is not among the writes")
    deny("controller: a Secret with another key", "operator-secrets", controller, "POST", core("secrets"), secret(n("xs"), data={"password": "eA=="}), says="keys url")
    deny("controller: a Secret with a finalizer", "operator-secrets", controller, "POST", core("secrets"), secret(n("xs"), finalizers=["x.y/z"]))
    for pp in ("Foreground", "Orphan"):
        deny(f"controller: its own Secret by {pp}", "operator-secrets", controller, "DELETE", core("secrets", n("ours")), {"kind": "DeleteOptions", "apiVersion": "v1", "propagationPolicy": pp}, says="Background")
    deny("controller: its own Secret by orphanDependents", "operator-secrets", controller, "DELETE", core("secrets", n("ours")), {"kind": "DeleteOptions", "apiVersion": "v1", "orphanDependents": True}, says="Background")
    lease = {"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": {"name": n("lease"), "namespace": NS}, "spec": {"holderIdentity": "x"}}
    LP = f"/apis/coordination.k8s.io/v1/namespaces/{NS}/leases"
    passes("the controller's lease", controller, "POST", LP, lease)
    passes("... renewed", controller, "PATCH", f"{LP}/{n('lease')}", {"spec": {"holderIdentity": "y"}})
    deny("... deleted", fence, controller, "DELETE", f"{LP}/{n('lease')}")
    for who, label in ((unbound, "without pod"), (fake_controller, "by kubectl --as")):
        deny(f"the controller's lease {label}", fence, who, "PATCH", f"{LP}/{n('lease')}", {"spec": {"holderIdentity": "z"}})
        deny(f"a release Secret {label}", fence, who, "POST", core("secrets"), secret(n("xs")))
    deny("the gateway's release Secret", fence, gateway, "POST", core("secrets"), secret(n("xs")))
    deny("the gateway's lease", fence, gateway, "PATCH", f"{LP}/{n('lease')}", {"spec": {"holderIdentity": "z"}})
    passes("the controller's event", controller, "POST", f"/apis/events.k8s.io/v1/namespaces/{A}/events", {"apiVersion": "events.k8s.io/v1", "kind": "Event", "metadata": {"name": n("e"), "namespace": A}, "eventTime": "2026-01-01T00:00:00.000000Z", "reportingController": "trevor", "reportingInstance": "x", "action": "Test", "reason": "Test", "type": "Normal", "regarding": {"kind": "AirlockRequest", "namespace": A, "name": ra}, "note": "x"})
    deny("the controller evicts a pod", fence, controller, "POST", core("pods", f"forge-{REL}-controller", NS, "eviction"), {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": f"forge-{REL}-controller", "namespace": NS}})
    passes("the gateway asks who a token is", gateway, "POST", "/apis/authentication.k8s.io/v1/tokenreviews", {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenReview", "spec": {"token": "x"}})
    passes("the gateway asks what someone may", gateway, "POST", "/apis/authorization.k8s.io/v1/subjectaccessreviews", {"apiVersion": "authorization.k8s.io/v1", "kind": "SubjectAccessReview", "spec": {"user": "alice", "resourceAttributes": {"verb": "get", "resource": "pods"}}})

    # ------------------------------------------------------------ the probe
    probe = dict(dryRun="All", fieldManager="trevor-probe")
    for kind, o, word in ((R, req("trevor-probe", submitter="someone-else"), "not a person"), (V, rev("trevor-probe", reviewer="someone-else"), "set spec.reviewer")):
        if args.without: break
        s, r = call(controller, "APPLY", path(kind, "trevor-probe"), o, **probe)
        m = r.get("message", "")
        check(f"the controller's probe on {kind} meets its policy", s == 403 and f"ValidatingAdmissionPolicy '{REL}-{kind}' with binding '{REL}-{kind}' denied request" in m and word in m, f"{s} {m}")
        deny(f"... and for real the fence besides", f"{kind}|operator-fence", controller, "APPLY", path(kind, "trevor-probe"), o)

    # ------------------------------------------------------------ Jobs
    JP = f"/apis/batch/v1/namespaces/{A}/jobs"
    passes("a collector's Job", controller, "POST", JP, job(n("j1")))
    passes("... is deleted with its pods", controller, "DELETE", f"{JP}/{n('j1')}", {"kind": "DeleteOptions", "apiVersion": "v1", "propagationPolicy": "Background"})
    ensure(JP, {**job(n("other")), "metadata": {"name": n("other"), "namespace": A}})
    sc = C0 + "securityContext__"
    for label, change in (
        ("no label", {"metadata__labels": {}}), ("another label", {"metadata__labels": {f"{G}/job": "x"}}), ("another image", {C0 + "image": "evil:1"}), ("an image by prefix", {C0 + "image": "trevor:test2"}),
        ("a second container", {POD + "containers": job("x")["spec"]["template"]["spec"]["containers"] + [{**job("x")["spec"]["template"]["spec"]["containers"][0], "name": "d", "image": "evil:1"}]}),
        ("an init container", {POD + "initContainers": [{**job("x")["spec"]["template"]["spec"]["containers"][0], "name": "i", "image": "evil:1"}]}),
        ("another account", {POD + "serviceAccountName": "admin"}), ("another account, old field", {POD + "serviceAccount": "admin"}), ("the account's token", {POD + "automountServiceAccountToken": True}), ("the account's token by default", {POD + "automountServiceAccountToken": None}),
        ("a Secret volume", {POD + "volumes": [{"name": "w", "secret": {"secretName": n("victim")}}]}), ("a ConfigMap volume", {POD + "volumes": [{"name": "w", "configMap": {"name": "x"}}]}), ("a hostPath", {POD + "volumes": [{"name": "w", "hostPath": {"path": "/"}}]}),
        ("a projected Secret", {POD + "volumes": [{"name": "w", "projected": {"sources": [{"secret": {"name": n("victim")}}]}}]}), ("a token for another audience", {POD + "volumes": [{"name": "w", "projected": {"sources": [{"serviceAccountToken": {"audience": "api", "path": "t"}}]}}]}), ("a token for the API", {POD + "volumes": [{"name": "w", "projected": {"sources": [{"serviceAccountToken": {"path": "t"}}]}}]}),
        ("a CSI volume", {POD + "volumes": [{"name": "w", "csi": {"driver": "x"}}]}), ("an NFS volume", {POD + "volumes": [{"name": "w", "nfs": {"server": "x", "path": "/"}}]}),
        ("envFrom", {C0 + "envFrom": [{"secretRef": {"name": n("victim")}}]}), ("valueFrom", {C0 + "env": [{"name": "X", "valueFrom": {"secretKeyRef": {"name": n("victim"), "key": "password"}}}]}),
        ("hostNetwork", {POD + "hostNetwork": True}), ("hostPID", {POD + "hostPID": True}), ("hostIPC", {POD + "hostIPC": True}), ("a node's name", {POD + "nodeName": "n1"}), ("a host port", {C0 + "ports": [{"containerPort": 1, "hostPort": 1}]}), ("pull secrets", {POD + "imagePullSecrets": [{"name": "x"}]}),
        ("root by the pod", {POD + "securityContext__runAsUser": 0}), ("root allowed by the pod", {POD + "securityContext__runAsNonRoot": False}), ("no seccomp", {POD + "securityContext__seccompProfile": None}), ("seccomp Unconfined", {POD + "securityContext__seccompProfile__type": "Unconfined"}),
        ("root by the container", {sc + "runAsUser": 0}), ("root allowed by the container", {sc + "runAsNonRoot": False}), ("privileged", {sc + "privileged": True, sc + "allowPrivilegeEscalation": True}), ("escalation", {sc + "allowPrivilegeEscalation": True}), ("escalation by default", {sc + "allowPrivilegeEscalation": None}), ("a capability", {sc + "capabilities__add": ["NET_ADMIN"]}), ("capabilities kept", {sc + "capabilities": None}), ("the container's seccomp", {sc + "seccompProfile": {"type": "Unconfined"}}),
    ):
        deny(f"a Job with {label}", "operator-jobs", controller, "POST", JP, job(n("xj"), **change))
    deny("another's Job deleted", "operator-jobs", controller, "DELETE", f"{JP}/{n('other')}", {"kind": "DeleteOptions", "apiVersion": "v1", "propagationPolicy": "Background"})
    deny("another's Job changed", "operator-jobs|operator-fence", controller, "PATCH", f"{JP}/{n('other')}", {"spec": {"suspend": True}})
    deny("the gateway's Job", "operator-fence", gateway, "POST", JP, job(n("xj")))

    # ------------------------------------------------------------ definitions
    crd = lambda k: f"/apis/apiextensions.k8s.io/v1/customresourcedefinitions/{k}.{G}"
    for k in KINDS:
        deny(f"{k} is undefined", "crds", masters, "DELETE", crd(k), says="allow-deletion=true")
    deny("all definitions deleted", "crds", masters, "DELETE", "/apis/apiextensions.k8s.io/v1/customresourcedefinitions", says="allow-deletion=true", labelSelector="app.kubernetes.io/name=trevor")
    other = {"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition", "metadata": {"name": "others.forge.example"}, "spec": {"group": "forge.example", "names": {"kind": "Other", "plural": "others"}, "scope": "Cluster", "versions": [{"name": "v1", "served": True, "storage": True, "schema": {"openAPIV3Schema": {"type": "object"}}}]}}
    if call(ADMIN, "GET", "/apis/apiextensions.k8s.io/v1/customresourcedefinitions/others.forge.example")[0] == 404: ensure("/apis/apiextensions.k8s.io/v1/customresourcedefinitions", other)
    passes("another's definition is deleted", ADMIN, "DELETE", "/apis/apiextensions.k8s.io/v1/customresourcedefinitions/others.forge.example")

    # ------------------------------------------------------------ what Kubernetes itself does
    if not args.without:
        passes("deletion in the foreground", alice, "DELETE", path(R, n("c3")), {"kind": "DeleteOptions", "apiVersion": "v1", "propagationPolicy": "Foreground"})
        wait("... is finished by the collector", lambda: call(ADMIN, "GET", path(R, n("c3")))[0] == 404)
        if not args.no_fill:
            passes("deletion leaving orphans", alice, "DELETE", path(R, n("f1")), {"kind": "DeleteOptions", "apiVersion": "v1", "propagationPolicy": "Orphan"})
            wait("... is finished by the collector", lambda: call(ADMIN, "GET", path(R, n("f1")))[0] == 404)
        passes("deletion waits for the finalizer", alice, "DELETE", path(R, ra))
        check("... and is pending", get(path(R, ra))["metadata"].get("deletionTimestamp"))
        passes("the controller lets it go", controller, "PATCH", path(R, ra), {"metadata": {"finalizers": None}})
        wait("... and it goes", lambda: call(ADMIN, "GET", path(R, ra))[0] == 404)
        for k, o, w in ((R, req("g1", ns=GOING, submitter="alice"), alice), (V, rev("g2", reviewer="bob"), bob), (T, act("g3", "HoldOfficer", "Hold", actor="olga"), olga), (S, sess(ns=GOING, user="alice", groups=alice["all"]), alice), (D, rec("g4"), controller)):
            o["metadata"]["namespace"] = GOING; passes(f"{k} in a namespace that goes", w, "POST", path(k, ns=GOING), o)
        passes("the namespace is deleted", ADMIN, "DELETE", f"/api/v1/namespaces/{GOING}")
        wait("... and goes, with all that was in it", lambda: call(ADMIN, "GET", f"/api/v1/namespaces/{GOING}")[0] == 404, 60)
finally:
    for p, o in held: must(call(ADMIN, "POST", p, o))

if args.without:
    print(f"without the bindings {results['through']} of {results['denials']} refusals get through")
else:
    print(f"{results['ok']} as expected, {len(results['bad'])} not; {results['denials']} attempts to be refused")
    sys.exit(bool(results["bad"]))

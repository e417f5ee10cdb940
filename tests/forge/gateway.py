"""The gateway's doors: who one is, what one may, and every other way in. The operator runs."""

import base64
import hashlib
import http.client
import json
import secrets

from attempts import RELEASE
from kubernetes import ADMIN, core, until, user, user_subject
from objects import GROUP, REQUESTS, REVIEWS, SESSIONS, obj, path, req, rev

PROJECT, OTHER_PROJECT, AUDIENCE = "project-a", "project-b", "trevor-gateway"
CONTENT = b"id,secret\n1,forty-two\n"  # in no refusal
FILES = {"put": ("PUT", "files/spare.csv"), "delete": ("DELETE", "files/spare.csv"), "files": ("GET", "files"),
         "manifest": ("GET", "manifest"), "content": ("GET", "content/a.csv"), "head": ("HEAD", "content/a.csv"),
         "range": ("GET", "content/a.csv"), "crate": ("GET", "crate"), "plan": ("GET", "plan"), "release": ("GET", "release")}
# docs/reference/permissions.md and docs/reference/wire-formats.md#calls, cell by cell: egress, for each phase and person.
NO = "403 403 403 403 403 403 403 403 403 403"
CELLS = {
    "Draft": {
        "submitter": "201 204 200 404 403 403 403 403 409 409", "other researcher": "403 403 200 404 403 403 403 403 403 403",
        "checker": "403 403 200 404 404 404 404 404 403 403", "records reader": "403 403 200 404 403 403 403 403 403 403",
        "hold officer": "403 403 200 404 403 403 403 403 403 403"},
    "InReview": {
        "submitter": "409 409 200 200 403 403 403 403 409 409", "other researcher": "403 403 200 200 403 403 403 403 403 403",
        "checker": "403 403 200 200 200 200 206 200 403 403", "records reader": "403 403 200 200 403 403 403 403 403 403",
        "hold officer": "403 403 200 200 403 403 403 403 403 403"},
    "Released": {
        "submitter": "409 409 200 200 200 200 206 200 409 200", "other researcher": "403 403 200 200 403 403 403 403 403 403",
        "checker": "403 403 200 200 200 200 206 200 403 403", "records reader": "403 403 200 200 403 403 403 403 403 403",
        "hold officer": "403 403 200 200 403 403 403 403 403 403"},
    "Rejected": {
        "submitter": "409 409 200 200 403 403 403 403 409 409", "other researcher": "403 403 200 200 403 403 403 403 403 403",
        "checker": "403 403 200 200 200 200 206 200 403 403", "records reader": "403 403 200 200 403 403 403 403 403 403",
        "hold officer": "403 403 200 200 403 403 403 403 403 403"},
}
WILDCARD = {"Draft": "403 403 200 404 403 403 403 403 403 403"}


class Gateway:
    """Calls of the gateway as they are written, byte for byte."""

    def __init__(self, state, table):
        self.host, _, port = state["addresses"]["gateway"].partition(":")
        self.port, self.table = int(port), table

    def call(self, token, method, target, body=None, headers=()):
        """(status, headers, body). token: a bearer token, or None."""
        connection = http.client.HTTPConnection(self.host, self.port, timeout=30)
        try:
            connection.putrequest(method, target, skip_accept_encoding=True)
            for name, value in (*headers, *([("Authorization", f"Bearer {token}")] if token else [])):
                connection.putheader(name, value)
            if body is not None or method in ("PUT", "POST", "PATCH"):
                connection.putheader("Content-Length", str(len(body or b"")))
            connection.endheaders(body)
            answer = connection.getresponse()
            return answer.status, answer.headers, answer.read()
        finally:
            connection.close()

    def row(self, attempt, expected, token, method, target, body=None, headers=()):
        """An attempt. expected: a status, and perhaps the reason; a refusal holds nothing of the content."""
        status, _, text = self.call(token, method, target, body, headers)
        try:
            reason = json.loads(text)["reason"]
        except (ValueError, KeyError, TypeError):
            reason = ""
        got = f"{status} {reason}" if " " in expected else str(status)
        if not expected.startswith("2") and CONTENT[3:9] in text:
            got += " WITH CONTENT"
        self.table.row(attempt, expected, got, text[:200].decode(errors="replace"))
        return text


def base(name, ns=PROJECT):
    return f"/v1alpha1/namespaces/{ns}/airlockrequests/{name}"


def plain(text):
    """base64url without padding."""
    return base64.urlsafe_b64encode(text if isinstance(text, bytes) else text.encode()).rstrip(b"=").decode()


def new_token(ns, name):
    return f"trv1.{plain(f'{ns}/{name}')}.{plain(secrets.token_bytes(32))}"


def session_of(token, ns, ttl=3600, sha=None, **spec):
    """The AirlockSession of a token."""
    sha = sha or hashlib.sha256(token.encode()).hexdigest()
    return obj(SESSIONS, f"s-{sha[:40]}", {"tokenSHA256": sha, "ttlSeconds": ttl, **spec}, ns)


def log_in(api, who, name, ns=PROJECT, ttl=3600):
    """As `trevor login` does it."""
    token = new_token(ns, name)
    made = api.must("POST", path(SESSIONS, ns=ns), session_of(token, ns, ttl, user=name, **({"groups": who["all"]} if "all" in who else {})), who)
    if not until(lambda: state_of(api, made["metadata"]["name"], ns) == "Accepted", 30):
        raise SystemExit(f"set-up failed: the session of {name} is {state_of(api, made['metadata']['name'], ns) or 'not judged'}")
    return token


def state_of(api, session, ns=PROJECT):
    """What the operator made of a session."""
    return api.must("GET", path(SESSIONS, session, ns=ns)).get("status", {}).get("state")


class Cast:
    """The people, and how each is known to the gateway."""

    def __init__(self, api, state):
        self.kube = {name: {"token": api.tokens[name]} for name in ("alice", "bob", "carol", "dave", "olga", "mallory")}
        self.kube |= {"rita": user("rita"), "sam": user("sam"), "lars": user("lars"), "star": user("star"), "root": user("root", "system:masters")}
        api.bind("forge-rita", f"{RELEASE}-records-reader", [user_subject("rita")], PROJECT)
        for role in ("researcher", "checker"):
            api.bind(f"forge-sam-{role}", f"{RELEASE}-{role}", [user_subject("sam")], PROJECT)
        api.bind("forge-lars", f"{RELEASE}-checker", [user_subject("lars")], PROJECT)
        self.ned = user("ned")  # Kubernetes' own role `admin` in the project
        api.bind("forge-ned", "admin", [user_subject("ned")], PROJECT)
        api.cluster_role("forge-everything", [{"apiGroups": ["*"], "resources": ["*"], "verbs": ["*"]}])
        api.bind("forge-everything", "forge-everything", [user_subject("star")])
        until(lambda: all(api.allowed(name, group=GROUP, resource=SESSIONS, verb="create", namespace=PROJECT) for name in ("rita", "sam", "lars", "star")))
        until(lambda: api.allowed("ned", resource="serviceaccounts", subresource="token", verb="create", namespace=PROJECT))
        tokens = {name: state["tokens"][name] for name in ("alice", "bob", "carol", "dave", "olga")}
        for name in ("rita", "sam", "lars", "star", "root"):
            tokens[name] = log_in(api, self.kube[name], name)
        self.token = tokens


def clean_up(api):
    """What the cast was given by hand."""
    rbac = "/apis/rbac.authorization.k8s.io/v1"
    for name in ("forge-rita", "forge-sam-researcher", "forge-sam-checker", "forge-lars", "forge-ned"):
        api.call(ADMIN, "DELETE", f"{rbac}/namespaces/{PROJECT}/rolebindings/{name}")
    for kind in ("clusterrolebindings", "clusterroles"):
        api.call(ADMIN, "DELETE", f"{rbac}/{kind}/forge-everything")


def phase(api, name):
    return api.must("GET", path(REQUESTS, name, ns=PROJECT)).get("status", {}).get("phase")


def digest(api, name):
    return api.must("GET", path(REQUESTS, name, ns=PROJECT))["status"]["manifest"]["digest"]


def request_in(api, gateway, cast, wanted, who="alice"):
    """A request of the person that has come to a phase, with one file a.csv."""
    def reached(*phases):
        if not until(lambda: phase(api, name) in phases, 60):
            raise SystemExit(f"set-up failed: {name} is {phase(api, name)}, not {phases}")

    kube = cast.kube[who]
    name = api.must("POST", path(REQUESTS, ns=PROJECT), req("forge-", ns=PROJECT, submitter=who), kube)["metadata"]["name"]
    status, _, text = gateway.call(cast.token[who], "PUT", f"{base(name)}/files/a.csv", CONTENT)
    if status != 201:
        raise SystemExit(f"set-up failed: upload to {name}: {status} {text}")
    if wanted == "Draft":
        reached("Draft")
        return name
    api.must("PATCH", path(REQUESTS, name, ns=PROJECT), {"spec": {"submission": 1}}, kube)
    reached("InReview")
    decide = {"Released": [("bob", "Approve"), ("carol", "Approve")], "Rejected": [("bob", "Reject")], "InReview": []}[wanted]
    for reviewer, decision in decide:
        body = rev("forge-", ns=PROJECT, requestName=name, manifestDigest=digest(api, name), decision=decision)
        api.must("POST", path(REVIEWS, ns=PROJECT), body, cast.kube[reviewer])
    reached(wanted)
    return name


def early_session(api):
    """A session that is made before the operator has proved for the first time that the rules are in force."""
    token = new_token(PROJECT, "alice")
    api.must("POST", path(SESSIONS, ns=PROJECT), session_of(token, PROJECT, user="alice"), {"token": api.tokens["alice"]})
    return token


def attack(api, table, state, early):
    """Every row."""
    gateway, cast = Gateway(state, table), Cast(api, state)
    try:
        requests = {wanted: request_in(api, gateway, cast, wanted) for wanted in CELLS}
        read_access(api, gateway, cast, requests)
        who_one_is(api, gateway, cast, requests["InReview"])
        what_one_may(api, gateway, cast, requests)
        paths(gateway, cast, requests)
        methods(gateway, cast, requests)
        table.begin("gateway: a session from outside an epoch")
        for what, (method, rest) in FILES.items():
            gateway.row(what, "401 Unauthenticated" if method != "HEAD" else "401", early, method, f"{base(requests['InReview'])}/{rest}")
        table.row("what the operator made of it", "Refused", state_of(api, f"s-{hashlib.sha256(early.encode()).hexdigest()[:40]}") or "nothing")
    finally:
        clean_up(api)


def read_access(api, gateway, cast, requests):
    """Each call, in each phase, by each person."""
    outsider = api.account_token(OTHER_PROJECT, "default", AUDIENCE)
    account = api.account_token(PROJECT, "default", AUDIENCE, who=cast.ned)
    people = {"other researcher": cast.token["dave"], "checker": cast.token["bob"], "records reader": cast.token["rita"],
              "hold officer": cast.token["olga"], "account of the project, by its admin": account, "outsider": outsider,
              "holder of *": cast.token["star"], "system:masters": cast.token["root"], "submitter": cast.token["alice"]}
    for wanted, name in requests.items():
        gateway.table.begin(f"gateway: who may do what, phase {wanted}")
        for person, token in people.items():
            cells = CELLS[wanted].get(person, NO)
            if person in ("holder of *", "system:masters"):
                cells = CELLS[wanted]["other researcher"]  # lists, and no content
            for (what, (method, rest)), expected in zip(FILES.items(), cells.split(), strict=True):
                headers = [("Range", "bytes=0-3")] if what == "range" else []
                gateway.row(f"{person}: {what}", expected, token, method, f"{base(name)}/{rest}", CONTENT if method == "PUT" else None, headers)


def who_one_is(api, gateway, cast, name):
    """Credentials that are none."""
    gateway.table.begin("gateway: who one is")
    alice, bob = cast.token["alice"], cast.token["bob"]
    head, stated, random = bob.split(".")
    api.ensure(core("serviceaccounts", namespace=PROJECT), {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "forge-gone"}})
    gone = api.account_token(PROJECT, "forge-gone", AUDIENCE)
    api.must("DELETE", core("serviceaccounts", "forge-gone", PROJECT))
    claims = {"sub": "system:serviceaccount:trevor-system:trevor-controller", "aud": [AUDIENCE], "exp": 4102444800, "iss": "https://kubernetes.default.svc"}
    account = api.account_token(PROJECT, "default", AUDIENCE)
    tokens = {
        "no token": None,
        "nonsense": "nonsense",
        "a person's API token": api.tokens["bob"],
        "an admin's API token": api.admin,
        "an account's API token": api.account_token(PROJECT, "default"),
        "an account's token for another audience": api.account_token(PROJECT, "default", "vault"),
        "a token of an account that is gone": gone,
        "a token that nobody signed": f"{plain(json.dumps({'alg': 'none'}))}.{plain(json.dumps(claims))}.",
        "a token that somebody signed": f"{plain(json.dumps({'alg': 'RS256'}))}.{plain(json.dumps(claims))}.{plain(secrets.token_bytes(256))}",
        "an account's token with a changed name": ".".join([account.split(".")[0], plain(json.dumps(claims)), account.split(".")[2]]),
        "a session that nobody made": new_token(PROJECT, "bob"),
        "a session of another project": log_in(api, cast.kube["carol"], "carol", OTHER_PROJECT),
        "one's session, stating another person": f"{head}.{plain(PROJECT + '/carol')}.{random}",
        "one's session, stating another project": f"{head}.{plain(OTHER_PROJECT + '/bob')}.{random}",
        "one's session, padded": f"{head}.{stated}.{random}=",
        "one's session, another version": f"trv2.{stated}.{random}",
        "one's session, cut": bob[:-1],
        "one's session twice": f"{bob}.{bob}",
        "the session's name": f"s-{hashlib.sha256(bob.encode()).hexdigest()[:40]}",
        "the session's hash": hashlib.sha256(bob.encode()).hexdigest(),
    }
    # The name of a session holds 40 of the 64 digits: one whose other 24 differ is another token's.
    near = new_token(PROJECT, "bob")
    sha = hashlib.sha256(near.encode()).hexdigest()
    api.must("POST", path(SESSIONS, ns=PROJECT), session_of(near, PROJECT, sha=sha[:40] + "0" * 24), cast.kube["bob"])
    tokens["a session that shares 40 digits of its hash"] = near
    # Fixation: whoever saw the hash makes the session anew, in their own name, after the logout.
    left = log_in(api, cast.kube["alice"], "alice")
    left_sha = hashlib.sha256(left.encode()).hexdigest()
    gateway.row("a session before logout", "200", left, "GET", f"{base(name)}/files")
    api.must("DELETE", path(SESSIONS, f"s-{left_sha[:40]}", ns=PROJECT), who=cast.kube["alice"])
    gateway.table.row("a session after logout", "401 within 10 s", "401 within 10 s" if until(
        lambda: gateway.call(left, "GET", f"{base(name)}/files")[0] == 401, 10) else "still known")
    api.must("POST", path(SESSIONS, ns=PROJECT), session_of(left, PROJECT), cast.kube["bob"])
    api.must("POST", path(SESSIONS, ns=OTHER_PROJECT), session_of(left, OTHER_PROJECT), cast.kube["carol"])
    tokens["a session that another made anew by its hash"] = left
    tokens["... stating who made it anew"] = f"trv1.{plain(PROJECT + '/bob')}.{left.split('.')[2]}"
    tokens["... stating the other project"] = f"trv1.{plain(OTHER_PROJECT + '/carol')}.{left.split('.')[2]}"
    for label, token in tokens.items():
        for method, rest in (("GET", "files"), ("GET", "content/a.csv"), ("PUT", "files/x.csv")):
            gateway.row(f"{label}: {method} {rest}", "401 Unauthenticated", token, method, f"{base(name)}/{rest}", CONTENT if method == "PUT" else None)
    target = f"{base(name)}/content/a.csv"
    basic = base64.b64encode(f"bob:{bob}".encode()).decode()
    for label, headers in (
        ("by Basic", [("Authorization", f"Basic {basic}")]),
        ("without a scheme", [("Authorization", bob)]),
        ("in a cookie", [("Cookie", f"token={bob}")]),
        ("in X-Auth-Token", [("X-Auth-Token", bob)]),
        ("in X-Forwarded-Access-Token", [("X-Forwarded-Access-Token", bob)]),
        ("for a proxy", [("Proxy-Authorization", f"Bearer {bob}")]),
        ("as X-Remote-User", [("X-Remote-User", "bob"), ("X-Remote-Group", "checkers")]),
    ):
        gateway.row(f"a reviewer's token {label}", "401 Unauthenticated", None, "GET", target, headers=headers)
    gateway.row("a reviewer's token in the query", "401 Unauthenticated", None, "GET", f"{target}?access_token={bob}&token={bob}")
    for label, headers in (
        ("Impersonate-User", [("Impersonate-User", "bob"), ("Impersonate-Group", "checkers")]),
        ("X-Remote-User", [("X-Remote-User", "bob"), ("X-Remote-Group", "checkers")]),
        ("X-Forwarded-User", [("X-Forwarded-User", "bob")]),
        ("a second Authorization", [("X-Authorization", f"Bearer {bob}")]),
    ):
        gateway.row(f"the submitter with {label}", "403 Forbidden", alice, "GET", target, headers=headers)


def what_one_may(api, gateway, cast, requests):
    """Rights that are none: of one's own, lost, of somebody else's request."""
    gateway.table.begin("gateway: what one may")
    alice, bob, token = cast.token["alice"], cast.token["bob"], cast.token
    own = request_in(api, gateway, cast, "InReview", "sam")
    for what in ("content", "range", "crate"):
        method, rest = FILES[what]
        headers = [("Range", "bytes=0-0")] if what == "range" else []
        gateway.row(f"a checker reads their own request: {what}", "403 Forbidden", token["sam"], method, f"{base(own)}/{rest}", headers=headers)
    gateway.row("a checker reads their own request: head", "403", token["sam"], "HEAD", f"{base(own)}/content/a.csv")
    gateway.row("a checker reads another's", "200", token["sam"], "GET", f"{base(requests['InReview'])}/content/a.csv")
    for spec in ("bytes=0-", "bytes=-1", "bytes=0-0,2-3", "bytes=0-0, -1", "bytes=9999-", "bytes=a-b", "lines=1-2", "bytes=0-18446744073709551615"):
        gateway.row(f"the submitter asks for {spec}", "403 Forbidden", alice, "GET", f"{base(requests['InReview'])}/content/a.csv", headers=[("Range", spec)])
    for header, value in (("If-None-Match", "*"), ("If-Match", "*"), ("If-Range", "x"), ("Accept", "text/html"), ("X-HTTP-Method-Override", "HEAD")):
        gateway.row(f"the submitter asks with {header}", "403 Forbidden", alice, "GET", f"{base(requests['InReview'])}/content/a.csv", headers=[(header, value)])
    for label, who in (("a colleague", "dave"), ("a checker", "bob"), ("an officer", "olga"), ("a holder of *", "star"), ("system:masters", "root")):
        gateway.row(f"{label} uploads to another's draft", "403 Forbidden", token[who], "PUT", f"{base(requests['Draft'])}/files/b.csv", CONTENT)
        gateway.row(f"{label} replaces a file of another's draft", "403 Forbidden", token[who], "PUT", f"{base(requests['Draft'])}/files/a.csv", b"mine")
        gateway.row(f"{label} drops a file of another's draft", "403 Forbidden", token[who], "DELETE", f"{base(requests['Draft'])}/files/a.csv")
        gateway.row(f"{label} gets another's URL", "403 Forbidden", token[who], "GET", f"{base(requests['Released'])}/release")
    for wanted, expected in (("InReview", "409 Sealed"), ("Released", "409 Closed"), ("Rejected", "409 Closed")):
        gateway.row(f"the submitter adds a file, {wanted}", expected, alice, "PUT", f"{base(requests[wanted])}/files/b.csv", CONTENT)
        gateway.row(f"the submitter replaces a file, {wanted}", expected, alice, "PUT", f"{base(requests[wanted])}/files/a.csv", b"other")
        gateway.row(f"the submitter drops a file, {wanted}", expected, alice, "DELETE", f"{base(requests[wanted])}/files/a.csv")
    for label, who, expected in (("who has rights", "alice", "404 NotFound"), ("a checker", "bob", "404 NotFound")):
        gateway.row(f"a request that is not there, by {label}", expected, token[who], "GET", f"{base('none-such')}/files")
    outsider = api.account_token(OTHER_PROJECT, "default", AUDIENCE)
    gateway.row("a request that is not there, by who has none", "403 Forbidden", outsider, "GET", f"{base('none-such')}/files")
    gateway.row("content of a request that is not there, by the submitter", "403 Forbidden", alice, "GET", f"{base('none-such')}/content/a.csv")
    gateway.row("a version that was not approved", "404 NotFound", bob, "GET", f"{base(requests['InReview'])}/content/a.csv?version=99999999999999999999")
    # A role that is taken away bites within 10 s, on a session that stays.
    gateway.row("a checker before the role is taken away", "200", token["lars"], "GET", f"{base(requests['InReview'])}/content/a.csv")
    api.must("DELETE", f"/apis/rbac.authorization.k8s.io/v1/namespaces/{PROJECT}/rolebindings/forge-lars")
    gone = until(lambda: gateway.call(token["lars"], "GET", f"{base(requests['InReview'])}/content/a.csv")[0] == 403, 10)
    gateway.table.row("... and after it", "403 within 10 s", "403 within 10 s" if gone else "still reads")
    for digest_field in ("sha-256=:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=:", ):
        gateway.row("bytes that are not those of the digest", "422 DigestMismatch", alice, "PUT", f"{base(requests['Draft'])}/files/b.csv", CONTENT, [("Content-Digest", digest_field)])


NAMES = (
    "../x", "..%2fx", "%2e%2e/x", "a/../../x", "./x", ".", "..", "a//b", "/etc/passwd", "a/", "%2Fetc%2Fpasswd", "a%00b", "a%0Ab", "a%0D%0Ab", "a%1Bb", "a%7Fb",
    "a%C2%85b", "a%5Cb", "..%5C..%5Cx", "C%3A%5Cx", "CON", "con.csv", "a/NUL.txt", "LPT1", "ro-crate-metadata.json", "RO-Crate-preview.html", "a.", "a%20", "a%3Fb",
    "a%2Ab", "a%3Cb%3E", "a%7Cb", "a%22b", "%", "%4", "%zz", "%ff", "%C0%AE%C0%AE/x", "%EF%BC%8E%EF%BC%8E/x.csv", "a%E2%80%AEb", "a%E2%80%8Bb", "a%EF%BB%BFb", "%EE%80%80",
    "a%E2%80%A8b", "x" * 513, "d/" * 300 + "x",
)


def paths(gateway, cast, requests):
    """Names that could leave their place, and paths beside the table of calls."""
    gateway.table.begin("gateway: tricks with paths")
    alice, bob = cast.token["alice"], cast.token["bob"]
    draft, review = base(requests["Draft"]), base(requests["InReview"])
    for name in NAMES:
        shown = name if len(name) < 40 else f"{name[:20]}… ({len(name)})"
        gateway.row(f"upload to files/{shown}", "422 InvalidName", alice, "PUT", f"{draft}/files/{name}", CONTENT)
        gateway.row(f"read content/{shown}", "422 InvalidName", bob, "GET", f"{review}/content/{name}")
    for label, target, expected in (
        ("another project by ..", f"/v1alpha1/namespaces/{PROJECT}/../{OTHER_PROJECT}/airlockrequests/{requests['InReview']}/content/a.csv", "404"),
        ("another request by ..", f"{draft}/../{requests['InReview']}/content/a.csv", "404"),
        ("the project, encoded", review.replace(PROJECT, "project%2Da") + "/content/a.csv", "401"),
        ("the project in capitals", review.replace(PROJECT, "PROJECT-A") + "/content/a.csv", "401"),
        ("the project with a slash", review.replace(PROJECT, f"{PROJECT}%2F..%2F{PROJECT}") + "/content/a.csv", "401"),
        ("the request, encoded", f"{base('%66' + requests['InReview'][1:])}/content/a.csv", "404"),
        ("the request in capitals", f"{base(requests['InReview'].upper())}/content/a.csv", "404"),
        ("the request with a subresource", f"{base(requests['InReview'] + '%2Fstatus')}/content/a.csv", "404"),
        ("two slashes before", f"/{review}/content/a.csv", "404"),
        ("two slashes within", f"{review}//content/a.csv", "404"),
        ("another version of the API", review.replace("v1alpha1", "v1") + "/content/a.csv", "404"),
        ("another kind", review.replace("airlockrequests", "releaserecords") + "/content/a.csv", "404"),
        ("Content for content", f"{review}/Content/a.csv", "404"),
        ("content;x=y", f"{review}/content;x=y/a.csv", "404"),
        ("content without a name", f"{review}/content", "404"),
        ("content of nothing", f"{review}/content/", "422"),
        ("what is not in the table", f"{review}/receipts", "404"),
        ("below the manifest", f"{review}/manifest/x", "404"),
        ("below the release", f"{review}/release/x", "404"),
        ("the request itself", review, "404"),
        ("all requests", f"/v1alpha1/namespaces/{PROJECT}/airlockrequests", "404"),
        ("the root", "/", "404"), ("metrics", "/metrics", "404"), ("debug", "/debug/pprof/", "404"), ("the hint", "/hint", "404"),
        ("the API server's paths", f"/apis/{GROUP}/v1alpha1/namespaces/{PROJECT}/airlockrequests", "404"),
        ("a version that is a path", f"{review}/content/a.csv?version=../../records", "404"),
        ("a query that is none", f"{review}/files?limit=many", "400"),
        ("a cursor that is none", f"{review}/files?continue=%00", "400"),
        ("a round that is none", f"{review}/manifest?since=../1", "400"),
    ):
        gateway.row(label, expected, bob, "GET", target)
    gateway.row("another host's URL", "404", bob, "GET", f"http://169.254.169.254{review}x/content/a.csv")
    listed = json.loads(gateway.call(alice, "GET", f"{draft}/files")[2])
    gateway.table.row("after all that the draft holds what was uploaded", "a.csv", ",".join(file["path"] for file in listed["files"]))


def methods(gateway, cast, requests):
    """Methods that do not exist, on every path."""
    gateway.table.begin("gateway: methods that are none")
    review = base(requests["InReview"])
    for token, who in ((cast.token["alice"], "the submitter"), (cast.token["bob"], "a checker")):
        for rest in ("files", "files/a.csv", "content/a.csv", "manifest", "crate", "plan", "release"):
            fits = {"files/a.csv": ("PUT", "DELETE"), "plan": ("GET",), "release": ("GET",)}.get(rest, ("GET", "HEAD"))
            for method in ("GET", "HEAD", "PUT", "DELETE", "POST", "PATCH", "OPTIONS", "TRACE", "PROPFIND", "COPY", "get"):
                if method not in fits:
                    expected = "405" if method == "HEAD" else "405 MethodNotAllowed"
                    gateway.row(f"{who}: {method} {rest}", expected, token, method, f"{review}/{rest}")
    gateway.row("an override of the method", "405 MethodNotAllowed", cast.token["alice"], "POST", f"{review}/files/a.csv", CONTENT, [("X-HTTP-Method-Override", "PUT")])

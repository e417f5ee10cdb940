"""The API server, as anybody: an admin's connection that impersonates, or a token of one's own."""

import base64
import http.client
import json
import ssl
import sys
import time
import urllib.parse

CONTENT_TYPES = {
    "PATCH": "application/merge-patch+json",
    "JSON": "application/json-patch+json",
    "APPLY": "application/apply-patch+yaml",
}


class Kubernetes:
    """Calls as the current context of a kubeconfig (in JSON, as the driver writes it) and those it impersonates."""

    def __init__(self, kubeconfig):
        self.kubeconfig, config = kubeconfig, json.loads(kubeconfig.read_text())
        context = named(config["contexts"], config["current-context"])["context"]
        cluster = named(config["clusters"], context["cluster"])["cluster"]
        self.tokens = {user["name"]: user["user"]["token"] for user in config["users"]}
        self.admin = self.tokens[context["user"]]
        address = urllib.parse.urlparse(cluster["server"])
        authority = base64.b64decode(cluster["certificate-authority-data"]).decode()
        self.connection = http.client.HTTPSConnection(
            address.hostname, address.port, context=ssl.create_default_context(cadata=authority), timeout=30
        )

    def call(self, who, verb, path, body=None, **query):
        """(status, answer). verb: GET POST PUT DELETE PATCH (merge) JSON (patch) APPLY (server-side)."""
        method = verb if verb in ("GET", "POST", "PUT", "DELETE") else "PATCH"
        if verb == "APPLY":
            query = {"fieldManager": "forge", "force": "true", **query}
        if method == "DELETE" and body is not None and "dryRun" in query:  # a body hides the query
            body = {**body, "dryRun": [query.pop("dryRun")]}
        if query:
            path += ("&" if "?" in path else "?") + urllib.parse.urlencode(query)
        data = body if isinstance(body, bytes) else None if body is None else json.dumps(body).encode()
        for last_try in (False, True):
            try:
                return self.send(who, method, path, CONTENT_TYPES.get(verb, "application/json"), data)
            except (http.client.HTTPException, ConnectionError):
                self.connection.close()
                if last_try:
                    raise

    def send(self, who, method, path, content_type, data):
        connection = self.connection
        connection.putrequest(method, path)
        connection.putheader("Authorization", f"Bearer {who.get('token') or self.admin}")
        connection.putheader("Content-Type", content_type)
        if who.get("user"):
            connection.putheader("Impersonate-User", who["user"].encode())
            for group in who["groups"]:
                connection.putheader("Impersonate-Group", group)
            for key, value in who["extra"].items():
                connection.putheader("Impersonate-Extra-" + urllib.parse.quote(key, safe=""), value)
        if data is not None:
            connection.putheader("Content-Length", str(len(data)))
        connection.endheaders(data)
        answer = connection.getresponse()
        text = answer.read()
        try:
            return answer.status, json.loads(text)
        except ValueError:
            return answer.status, {"message": text.decode(errors="replace")}

    def must(self, verb, path, body=None, who=None, **query):
        """A step of the set-up: it succeeds, or the run ends."""
        status, answer = self.call(who or ADMIN, verb, path, body, **query)
        if status not in (200, 201, 202):
            sys.exit(f"set-up failed: {verb} {path}: {status} {json.dumps(answer)[:1500]}")
        return answer

    def ensure(self, path, body):
        """Create it, or make it so."""
        status, answer = self.call(ADMIN, "POST", path, body)
        if status == 409:
            return self.must("APPLY", f"{path}/{body['metadata']['name']}", body)
        if status not in (200, 201):
            sys.exit(f"set-up failed: POST {path}: {status} {json.dumps(answer)[:1500]}")
        return answer

    def bind(self, name, role, subjects, namespace=None):
        """Give a ClusterRole, in one namespace or everywhere."""
        group = "rbac.authorization.k8s.io"
        scope, kind = (f"/namespaces/{namespace}", "RoleBinding") if namespace else ("", "ClusterRoleBinding")
        self.ensure(
            f"/apis/{group}/v1{scope}/{kind.lower()}s",
            {
                "apiVersion": f"{group}/v1",
                "kind": kind,
                "metadata": {"name": name},
                "roleRef": {"apiGroup": group, "kind": "ClusterRole", "name": role},
                "subjects": subjects,
            },
        )

    def cluster_role(self, name, rules):
        """A ClusterRole of our own."""
        group = "rbac.authorization.k8s.io"
        self.ensure(
            f"/apis/{group}/v1/clusterroles",
            {"apiVersion": f"{group}/v1", "kind": "ClusterRole", "metadata": {"name": name}, "rules": rules},
        )

    def allowed(self, user, groups=(), **attributes):
        """Whether RBAC lets somebody do something: resourceAttributes of a SubjectAccessReview."""
        answer = self.must("POST", "/apis/authorization.k8s.io/v1/subjectaccessreviews", {
            "apiVersion": "authorization.k8s.io/v1", "kind": "SubjectAccessReview",
            "spec": {"user": user, "groups": list(groups), "resourceAttributes": attributes}})
        return answer["status"]["allowed"]

    def account_token(self, namespace, name, audience=None, pod=None, who=None):
        """A token of a service account, perhaps bound to a pod, minted by the admin or somebody else."""
        spec = {"expirationSeconds": 3600}
        if audience:
            spec["audiences"] = [audience]
        if pod:
            spec["boundObjectRef"] = {"apiVersion": "v1", "kind": "Pod", "name": pod["name"], "uid": pod["uid"]}
        made = self.must(
            "POST",
            core("serviceaccounts", name, namespace, "token"),
            {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": spec},
        )
        return made["status"]["token"]


def named(items, name):
    return next(item for item in items if item["name"] == name)


def until(test, seconds=30):
    """Whether the test comes true in time."""
    deadline = time.monotonic() + seconds
    while not (held := test()) and time.monotonic() < deadline:
        time.sleep(0.1)
    return bool(held)


# --- who


def user(name, *groups, **extra):
    """Somebody whom the admin impersonates. `all`: the groups as admission sees them."""
    return {"user": name, "groups": list(groups), "extra": extra, "all": [*groups, "system:authenticated"]}


def account(namespace, name):
    """A service account, impersonated: without what a token carries besides."""
    return user(f"system:serviceaccount:{namespace}:{name}", "system:serviceaccounts", f"system:serviceaccounts:{namespace}")


def group_subject(name):
    return {"apiGroup": "rbac.authorization.k8s.io", "kind": "Group", "name": name}


def user_subject(name):
    return {"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": name}


def account_subject(namespace, name):
    return {"kind": "ServiceAccount", "namespace": namespace, "name": name}


ADMIN = {"user": None, "groups": [], "extra": {}}


# --- where


def core(kind, name=None, namespace=None, sub=None):
    """The path of a core resource."""
    scope = f"/namespaces/{namespace}" if namespace else ""
    return f"/api/v1{scope}/{kind}" + (f"/{name}" if name else "") + (f"/{sub}" if sub else "")

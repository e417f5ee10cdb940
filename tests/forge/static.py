"""Policies that the API server reads from files (examples/static-admission), against its admins."""

import shutil
from pathlib import Path

from attempts import HOME, RELEASE, Attempts
from kubernetes import ADMIN, core, user
from objects import GROUP, REVIEWS

EXAMPLE = Path(__file__).resolve().parents[2] / "examples/static-admission/manifests"
ADMISSION = "/apis/admissionregistration.k8s.io/v1"
CRDS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"


def attack(api, table, folder):
    """Every row; the files come, and go again."""
    table.begin("policies from files: what guards the policies")
    t, there = Attempts(api, table), folder / "static-admission"
    policy, binding = f"{ADMISSION}/validatingadmissionpolicies/{RELEASE}-airlockreviews", f"{ADMISSION}/validatingadmissionpolicybindings/{RELEASE}-airlockreviews"
    loosened = {"spec": {"failurePolicy": "Ignore"}}

    def loosens():
        return api.call(ADMIN, "PATCH", policy, loosened, dryRun="All")[0]

    t.check("without the files an admin loosens a policy", loosens() == 200)
    for file in EXAMPLE.iterdir():
        shutil.copy(file, there / f".{file.name}")
        (there / f".{file.name}").rename(there / file.name)
    try:
        t.wait("the API server takes them up while it runs", lambda: loosens() == 403, 90)
        guarded(t, policy, binding, loosened)
        entered(t)
    finally:
        for file in there.iterdir():
            file.unlink()
    t.wait("and lets go of them when they are gone", lambda: loosens() == 200, 90)


def guarded(t, policy, binding, loosened):
    """Admins, and the group that may."""
    masters, star = ADMIN, user("root", "system:masters")
    installer = user("root", "system:masters", "trevor-installers")
    fill = f"{ADMISSION}/mutatingadmissionpolicies/{RELEASE}-fill-airlockreviews"
    crd = f"{CRDS}/{REVIEWS}.{GROUP}"
    for label, who in (("an admin", masters), ("system:masters", star)):
        for what, verb, place, body in (
            ("loosens a policy", "PATCH", policy, loosened),
            ("loosens a policy by apply", "APPLY", policy, {"apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingAdmissionPolicy", **loosened}),
            ("deletes a policy", "DELETE", policy, None),
            ("audits instead of denying", "PATCH", binding, {"spec": {"validationActions": ["Audit"]}}),
            ("narrows a binding", "PATCH", binding, {"spec": {"matchResources": {"namespaceSelector": {"matchLabels": {"a": "b"}}}}}),
            ("deletes a binding", "DELETE", binding, None),
            ("deletes all bindings", "DELETE", binding.rpartition("/")[0], None),
            ("changes what fills names in", "PATCH", fill, {"spec": {"failurePolicy": "Ignore"}}),
            ("allows our CRDs to be deleted", "PATCH", crd, {"metadata": {"annotations": {f"{GROUP}/allow-deletion": "true"}}}),
            ("changes a CRD", "PATCH", crd, {"spec": {"names": {"shortNames": ["x"]}}}),
            ("mutates reviews by a policy", "POST", f"{ADMISSION}/mutatingadmissionpolicies", mutating([GROUP], [REVIEWS])),
            ("mutates everything by a policy", "POST", f"{ADMISSION}/mutatingadmissionpolicies", mutating(["*"], ["*"])),
            ("mutates reviews by a webhook", "POST", f"{ADMISSION}/mutatingwebhookconfigurations", webhook([GROUP], [REVIEWS])),
            ("mutates everything by a webhook", "POST", f"{ADMISSION}/mutatingwebhookconfigurations", webhook(["*"], ["*"])),
        ):
            t.refused(f"{label} {what}", "403 from a file", who, verb, place, body, dryRun="All")
    t.refused("an admin makes a policy of a file's name", "422", masters, "POST", f"{ADMISSION}/mutatingadmissionpolicies",
              mutating(["apps"], ["deployments"], "x.static.k8s.io"), dryRun="All")
    t.passes("an admin mutates other kinds", masters, "POST", f"{ADMISSION}/mutatingadmissionpolicies", mutating(["apps"], ["deployments"]), dryRun="All")
    t.passes("an installer changes a policy", installer, "PATCH", policy, loosened, dryRun="All")
    t.passes("an installer deletes a binding", installer, "DELETE", binding, dryRun="All")
    t.passes("an installer changes a CRD", installer, "PATCH", crd, {"spec": {"names": {"shortNames": ["x"]}}}, dryRun="All")
    t.passes("an admin applies a policy as it is", masters, "PUT", policy, t.get(policy), dryRun="All")
    t.passes("an admin labels a CRD", masters, "PATCH", crd, {"metadata": {"labels": {"a": "b"}}}, dryRun="All")


def entered(t):
    """The operator's accounts and pods."""
    node = user("system:node:n1", "system:nodes", "system:masters")
    request = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {}}
    for account in (f"{RELEASE}-controller", f"{RELEASE}-gateway"):
        place = core("serviceaccounts", account, HOME, "token")
        t.refused(f"an admin mints a token of {account}", "403 from a file", ADMIN, "POST", place, request)
        t.passes(f"a node mints a token of {account}", node, "POST", place, request, dryRun="All")
    for sub in ("exec?command=id", "attach", "portforward", "proxy/"):
        t.refused(f"an admin enters the controller's pod: {sub}", "403 from a file", ADMIN, "POST", core("pods", "trevor-controller-light", HOME, sub))
    t.passes("an admin mints a token of another account", ADMIN, "POST", core("serviceaccounts", "default", HOME, "token"), request, dryRun="All")


def mutating(groups, resources, name="forge"):
    return {"apiVersion": "admissionregistration.k8s.io/v1", "kind": "MutatingAdmissionPolicy", "metadata": {"name": name}, "spec": {
        "reinvocationPolicy": "Never", "failurePolicy": "Fail", "matchConstraints": {"resourceRules": [
            {"apiGroups": groups, "apiVersions": ["*"], "resources": resources, "operations": ["CREATE"]}]},
        "mutations": [{"patchType": "ApplyConfiguration", "applyConfiguration": {"expression": "Object{}"}}]}}


def webhook(groups, resources):
    return {"apiVersion": "admissionregistration.k8s.io/v1", "kind": "MutatingWebhookConfiguration", "metadata": {"name": "forge"}, "webhooks": [
        {"name": "forge.example.org", "clientConfig": {"url": "https://forge.example.org"}, "sideEffects": "None", "admissionReviewVersions": ["v1"],
         "rules": [{"apiGroups": groups, "apiVersions": ["*"], "resources": resources, "operations": ["CREATE"]}]}]}

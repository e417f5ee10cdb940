"""Helm values as an attack: hostile names of delegates and of service accounts that review.

Each is refused by the chart's schema, or rendered so that the policies name it and nobody
else; what is rendered compiles on the API server, and opens no rule there.
"""

import json
import re
import subprocess
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from attempts import HOME, RELEASE, Attempts
from kubernetes import ADMIN, Kubernetes, group_subject, user
from objects import REQUESTS, REVIEWS, path, req, rev

CHART = Path(__file__).resolve().parents[2] / "charts/trevor"
POLICIES = "/apis/admissionregistration.k8s.io/v1"
REFUSED, EXACT = "refused by the schema", "that name alone"
PROJECT = "forge-values"
HARMLESS = {"delegates": "*/harmless", "reviewing_service_accounts": "system:serviceaccount:a:harmless"}
NAMES = (
    "o'brien", "o''brien", "''", "'", "'] || true || ['", "']||true||['", "'||true||'", "']).exists(d,true)||[''].exists(d,d in['", "'+request.userInfo.username+'",
    'a"b', '"]||true||["', "\\", "\\'", "a\\", "\\u0027]||true||[\\u0027", "\\x27", "a\nb", "a\n  validations: []", "a\r\nb", "a\tb", "a b", " a", "a ", "\n", "${HOME}", "$(id)",
    "`id`", "{{7*7}}", "{{.Values}}", '{{ include "trevor.name" . }}', "{{/*", "*/}}", "{{-", "&anchor", "*anchor", "<<:*a", "!!python/object:x", "%YAML", "#comment", "a#b",
    "---", "...", "|-", ">-", "[]", "{}", "[*]", "{a:b}", "a:b", "null", "true", "~", "0x10", "1e3", "*", "**", "*/*", "a/b", "../x", "//", "a,b", "a;b", "a=b", "%s%n", "%2F",
    "flux‑bot", "flux-bоt", "ﬂux-bot", "flux-bot\u200b", "\u202efdp.x", "a\u00a0b", "a\u2028b", "a\u2029b", "a\u0085b", "a\u0085validations:", "\ufeffa", "\ufffe", "\U0001f600",
    "é", "e\u0301", "a\x00b", "a\x01b", "a\x1bb", "a\x7fb", "a\x80b", "x" * 600, "", "system:masters", "system:anonymous", "system:serviceaccount:kube-system:default",
    "system:serviceaccounts", "SYSTEM:SERVICEACCOUNT:A:B", "kubernetes-admin", "<script>", "&amp;", "a>b", "//comment", "/*", "a?b:c", "has(object.x)", "undefined",
)


def attack(api, table, folder):
    """Every name in every place; then all that are rendered, live."""
    table.begin("Helm values: names of delegates and reviewers")
    chart = Rendering(api, folder)
    tried = {"delegates": [text for name in NAMES for text in (f"*/{name}", name)],
             "reviewing_service_accounts": [text for name in NAMES for text in (f"system:serviceaccount:{PROJECT}:{name}", name)]}
    accepted = {place: [] for place in tried}
    with ThreadPoolExecutor(2) as pool:
        for place, texts in tried.items():
            texts = list(dict.fromkeys(texts))
            refused = chart.refused(place, texts)
            rest = [text for text in texts if text not in refused]
            got = dict.fromkeys(refused, REFUSED) | dict(zip(rest, pool.map(lambda text: chart.judge(place, text), rest)))
            for text in texts:
                shown = json.dumps(text if len(text) < 60 else f"{text[:40]}… ({len(text)})")
                table.row(f"{place}: {shown}", got[text] if got[text] in (REFUSED, EXACT) else f"{REFUSED} or {EXACT}", got[text])
            accepted[place] = [text for text in rest if got[text] == EXACT]
            table.row(f"some {place} were rendered, so that there is something to open", "yes", "yes" if accepted[place] else "no")
    table.row("names were tried", "at least 50", "at least 50" if len(NAMES) >= 50 else str(len(NAMES)))
    live(Attempts(api, table), chart, accepted)


class Rendering:
    """The chart's policies with other values, and what they say."""

    files = ("airlockrequests", "airlockreviews", "fill-airlockrequests")

    def __init__(self, api, folder):
        self.folder, self.connections, self.kubeconfig = folder, threading.local(), api.kubeconfig
        self.harmless = {place: self.applied(self.render({place: [name]})) for place, name in HARMLESS.items()}

    def refused(self, place, names):
        """Those of the names that the schema refuses, by what helm says of all of them."""
        found = set()
        for start in range(0, len(names), 100):  # the schema takes no more of some
            some = names[start : start + 100]
            said = self.helm({place: some}).stderr
            found |= {some[int(index)] for index in re.findall(rf"- at '/identity/{place}/(\d+)':", said)}
        return found

    def render(self, identity):
        """The policies with these names, as YAML by their path; or what helm says against them."""
        done = self.helm(identity)
        return policies_in(done.stdout) if done.returncode == 0 else f"not rendered: {done.stderr[:300]!r}"

    def helm(self, identity):
        files = [f"-s=templates/admission/{name}.yaml" for name in self.files]
        text = json.dumps({"identity": {"delegates": [], "reviewing_service_accounts": [], **identity}})
        text = re.sub(r"(\\ud[89ab]..)(\\ud[c-f]..)", lambda pair: json.loads(f'"{pair.group()}"'), text)  # YAML knows no pairs
        return subprocess.run([self.folder / "bin/helm", "template", RELEASE, CHART, "-n", HOME, "-f", self.folder / "values.yaml", "-f", "-", *files],
                              input=text, capture_output=True, text=True, env={"HOME": str(self.folder / "home"), "PATH": ""})

    def applied(self, documents, **query):
        """The policies as the API server would have them, which compiles them; or what it says against them."""
        if isinstance(documents, str):
            return documents
        if not hasattr(self.connections, "api"):
            self.connections.api = Kubernetes(self.kubeconfig)
        specs = {}
        for place, text in documents.items():
            status, answer = self.connections.api.call(ADMIN, "APPLY", f"{POLICIES}/{place}", text, fieldManager="kubectl", **(query or {"dryRun": "All"}))
            if status != 200:
                return f"the API server refuses it: {status} {answer.get('message', '')[:300]}"
            specs[place] = answer["spec"]
        return specs

    def judge(self, place, name):
        """Whether the policies are those with a harmless name, but for the name."""
        specs = self.applied(self.render({place: [name]}))
        if isinstance(specs, str):
            return specs
        named, rest = lists(place, specs)
        if rest != lists(place, self.harmless[place])[1]:
            return "the policy is another one"
        return EXACT if named and all(one == [name] for one in named) else f"the policies name {named}"

    def as_installed(self):
        """The same policies, as the environment was made with."""
        every = policies_in((self.folder / "chart.yaml").read_text())
        return {place: text for place, text in every.items() if place.partition(f"/{RELEASE}-")[2] in self.files}


def policies_in(text):
    """The admission policies of a stream of YAML, by their path."""
    found = {}
    for document in re.split(r"^---\s*$", text, flags=re.MULTILINE):
        if kind := re.search(r"^kind: (\w+AdmissionPolic)y$", document, re.MULTILINE):
            name = re.search(r"^  name: ([a-z-]+)$", document, re.MULTILINE).group(1)
            found[f"{kind.group(1).lower()}ies/{name}"] = document.encode()
    return found


def lists(place, specs):
    """(every list of names in the policies, the policies without them)."""
    before, found = {"delegates": "exists(d, d in ", "reviewing_service_accounts": "variables.user in "}[place], []

    def walk(value):
        if isinstance(value, dict):
            return {key: walk(inner) for key, inner in value.items()}
        if isinstance(value, list):
            return [walk(inner) for inner in value]
        if isinstance(value, str) and f"{before}[" in value:
            start = value.index(f"{before}[") + len(before)
            names, end = json.JSONDecoder().raw_decode(value, start)
            found.append(names)
            return value[:start] + "NAMES" + value[end:]
        return value

    return found, walk(specs)


def live(t, chart, accepted):
    """With all names that are rendered in force: each is a delegate or reviewer, and nobody else is."""
    api = t.api
    api.ensure("/api/v1/namespaces", {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": PROJECT}})
    for role in ("researcher", "checker"):
        api.bind(f"forge-{role}", f"{RELEASE}-{role}", [group_subject("system:authenticated")], PROJECT)
    delegates = [name.removeprefix("*/") for name in accepted["delegates"] if name.startswith("*/")]
    # Others cannot be sent as a user's name; and RBAC knows the anonymous user by another group.
    delegates = [name for name in delegates if name.isprintable() and len(name) <= 253 and name != "system:anonymous"]
    reviewers = accepted["reviewing_service_accounts"]
    documents = chart.render(accepted)

    def submits(name):
        return user(name), "POST", path(REQUESTS, ns=PROJECT), req("forge", ns=PROJECT, submitter="alice", createdBy=name)

    def reviews(name):
        return user(name), "POST", path(REVIEWS, ns=PROJECT), rev("forge", ns=PROJECT, reviewer=name)

    try:
        specs = chart.applied(documents, force="true")
        t.check("the policies with every name that was rendered are accepted", not isinstance(specs, str), specs)
        t.wait("... and in force", lambda: api.call(*submits(delegates[0]), dryRun="All")[0] == 201 and api.call(*reviews(reviewers[0]), dryRun="All")[0] == 201)
        for name in delegates:
            t.passes(f"{json.dumps(name)} submits as a delegate", *submits(name), dryRun="All")
        for name in reviewers:
            t.passes(f"{json.dumps(name)} reviews", *reviews(name), dryRun="All")
        others = {"mallory", "true", "d", "x", "flux-bot", "harmless"}
        others |= {change for name in delegates for change in (name + "x", "x" + name, name[:-1], name.upper(), name.strip("'"))}
        for name in sorted(others - set(delegates) - {""}):
            t.refused(f"{json.dumps(name)} submits as a delegate", "403 airlockrequests", *submits(name), dryRun="All")
        for name in (f"{reviewers[0]}x", reviewers[0][:-1], "system:serviceaccount:kube-system:other", "system:admin", "system:serviceaccount:a:harmless"):
            t.refused(f"{json.dumps(name)} reviews", "403 airlockreviews", *reviews(name), dryRun="All")
    finally:
        restored = chart.applied(chart.as_installed(), force="true")
        t.check("the policies are as they were", not isinstance(restored, str), restored)
        api.must("DELETE", f"/api/v1/namespaces/{PROJECT}")
    t.wait("... and in force", lambda: api.call(*submits(delegates[0]), dryRun="All")[0] in (403, 404))

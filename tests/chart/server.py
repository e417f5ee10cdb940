#!/usr/bin/env python3
"""Everything that the chart renders, shown to an API server as a dry run: unknown fields, wrong types and pods
that Pod Security `restricted` would refuse are failures. Needs an environment (KUBECONFIG)."""

import os
import subprocess
import sys

import render

NAMESPACE = "trevor-restricted"
# The API server knows them not: they are the Prometheus operator's and cert-manager's.
FOREIGN = ("monitoring.coreos.com/", "cert-manager.io/")
LABELS = {f"pod-security.kubernetes.io/{mode}": "restricted" for mode in ("enforce", "warn")}


def second_release_is_taken():
    """A release besides the one that is there, with nothing of it that helm would trip over by itself."""
    code, out, error = render.helm(
        "install", "second", render.CHART, "-n", NAMESPACE, "-f", render.HERE / "values/smallest.yaml", "--dry-run=server",
        "--set", "crds.install=false", "--kube-context", "admin", "--kubeconfig", os.environ["KUBECONFIG"])
    refused = code != 0 and "one-release-per-cluster" in error
    print(f"chart on the server: a second release is {'refused' if refused else 'not refused: ' + error}")
    return not refused


def main():
    kubectl = render.tools.all_tools()["kubectl"].path

    def run(*arguments, text=None):
        return subprocess.run([kubectl, "--context", "admin", *arguments], input=text, capture_output=True, text=True, env=dict(os.environ))

    failed = 0
    run("create", "namespace", NAMESPACE)
    run("label", "namespace", NAMESPACE, *(f"{name}={value}" for name, value in LABELS.items()))
    run("create", "serviceaccount", "trevor-controller", "-n", NAMESPACE)  # a pod is refused without its account
    try:
        for values in ("nine", "smallest", "everything", "plain"):
            code, out, error = render.template(values, namespace=NAMESPACE)
            if code:
                sys.exit(error)
            # The environment has applied the definitions; kubectl's own check trips over their nulls.
            docs = [doc for doc in render.documents(out)
                    if not doc["apiVersion"].startswith(FOREIGN) and doc["kind"] != "CustomResourceDefinition"]
            stream = render.json.dumps({"apiVersion": "v1", "kind": "List", "items": docs})
            done = run("apply", "--server-side", "--force-conflicts", "--dry-run=server", "--validate=strict", "-f", "-", text=stream)
            said = [line for line in done.stderr.splitlines() if line]
            print(f"chart on the server: {values}: {len(done.stdout.splitlines())} of {len(docs)} taken, {len(said)} complaints")
            if done.returncode or said or len(done.stdout.splitlines()) != len(docs):
                failed += 1
                print("\n".join(said))
        failed += second_release_is_taken()
    finally:
        run("delete", "namespace", NAMESPACE, "--wait=false")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())

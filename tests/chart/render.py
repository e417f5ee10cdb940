"""The chart, rendered by helm into documents."""

import functools
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
CHART = HERE.parents[1] / "charts/trevor"
sys.path.insert(0, str(HERE.parent / "env"))
import tools  # noqa: E402

HELM, PROMTOOL = (tools.all_tools()[name].path for name in ("helm", "promtool"))


def helm(*arguments, text=None):
    """What helm says: (code, standard output, standard error)."""
    with tempfile.TemporaryDirectory() as home:
        done = subprocess.run([HELM, *map(str, arguments)], input=text, capture_output=True, text=True,
                              env={"HOME": home, "PATH": os.environ["PATH"]})
    return done.returncode, done.stdout, done.stderr


def template(values, *more, namespace="trevor-system"):
    """`helm template` with a file of values and more of them: (code, output, error)."""
    changes = [argument for value in more for argument in ("--set-json", value)]
    return helm("template", "trevor", CHART, "-n", namespace, "-f", HERE / "values" / f"{values}.yaml", *changes)


def documents(text):
    """Every document of a stream of YAML."""
    with tempfile.NamedTemporaryFile("w", suffix=".yaml") as file:
        file.write(text)
        file.flush()
        code, out, error = helm("template", "json", HERE / "json", "--set-file", f"text={file.name}")
    if code:
        sys.exit(f"not YAML: {error}")
    return [json.loads(line.removeprefix("# json: ")) for line in out.splitlines() if line.startswith("# json: ")]


@functools.cache
def rendered(values, *more):
    """The documents of a set of values, with changes. Shared: nobody changes them."""
    code, out, error = template(values, *more)
    if code:
        sys.exit(f"helm template -f {values}.yaml {more}: {error}")
    return documents(out)


def find(docs, kind, name):
    found = [doc for doc in docs if doc["kind"] == kind and doc["metadata"]["name"] == name]
    assert len(found) == 1, f"{len(found)} of {kind} {name}"
    return found[0]


def pods(docs):
    """Every pod and template of one: (name, metadata, spec)."""
    for doc in docs:
        if doc["kind"] == "Pod":
            yield doc["metadata"]["name"], doc["metadata"], doc["spec"]
        elif doc["kind"] in ("Deployment", "Job"):
            template_ = doc["spec"]["template"]
            yield doc["metadata"]["name"], template_["metadata"], template_["spec"]

#!/usr/bin/env python3
"""Everything that the chart renders, by kubeconform and strict schemas: those of the API server of an environment
(KUBECONFIG), since no registry has them. A wrong type, a missing or an unknown field is a failure.
"""

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import render

# The API server knows these not: they are the Prometheus operator's and cert-manager's.
FOREIGN = "PodMonitor,PrometheusRule,Certificate"
KIND, DEFINITIONS = "x-kubernetes-group-version-kind", "#/definitions/"


def strict(node):
    """A definition of the API server as a strict schema: no unknown field, and null where a field may be missing."""
    if isinstance(node, list):
        return [strict(one) for one in node]
    if not isinstance(node, dict):
        return node
    if node.get("format") == "int-or-string" or node.get("x-kubernetes-int-or-string"):
        return {"oneOf": [{"type": "string"}, {"type": "integer"}]}
    if isinstance(node.get("$ref"), str):
        return {"$ref": node["$ref"]}
    # A field may be called $ref, as in a definition of definitions.
    made = {key: strict(value) for key, value in node.items() if key != "properties" and not key.startswith("x-kubernetes")}
    if "properties" in node:
        needed = set(node.get("required", []))
        made["properties"] = {name: strict(value) if name in needed else {"anyOf": [strict(value), {"type": "null"}]}
                              for name, value in node["properties"].items()}
        if not node.get("x-kubernetes-preserve-unknown-fields"):
            made.setdefault("additionalProperties", False)
    return made


def write_schemas(openapi, folder):
    """One file for each kind; gives how many."""
    definitions = {}
    for name, node in openapi["definitions"].items():
        definition = strict(node)
        if name.endswith("apimachinery.pkg.api.resource.Quantity"):
            definition = {"oneOf": [{"type": "string"}, {"type": "number"}]}
        if ".JSONSchemaPropsOr" in name or name.endswith(".v1.JSON"):
            definition = {}
        definitions[name] = definition
    count = 0
    for name, node in openapi["definitions"].items():
        for of in node.get(KIND, []):
            # Of the core group kubeconform takes the version for the group.
            file = folder / f"{of['kind'].lower()}-{of['group'] or of['version']}-{of['version']}.json"
            file.write_text(json.dumps({"$ref": f"{DEFINITIONS}{name}", "definitions": needed_by(name, definitions)}))
            count += 1
    return count


def needed_by(name, definitions):
    """A definition, and all that it refers to."""
    found, waiting = {}, [name]
    while waiting:
        name = waiting.pop()
        if name not in found:
            found[name] = definitions[name]
            waiting += [text.removeprefix(DEFINITIONS) for text in references(found[name])]
    return found


def references(node):
    for key, value in node.items() if isinstance(node, dict) else enumerate(node):
        if key == "$ref" and isinstance(value, str):
            yield value
        elif isinstance(value, (dict, list)):
            yield from references(value)


def main():
    tools = render.tools.all_tools()
    if not tools["kubeconform"].ready():
        sys.exit("kubeconform is not installed: make tools")
    done = subprocess.run([tools["kubectl"].path, "--context", "admin", "get", "--raw", "/openapi/v2"], capture_output=True, text=True, env=dict(os.environ))
    if done.returncode:
        sys.exit(f"the API server's schemas: {done.stderr}")
    failed = 0
    with tempfile.TemporaryDirectory() as folder:
        count = write_schemas(json.loads(done.stdout), Path(folder))
        place = folder + "/{{.ResourceKind}}-{{.Group}}-{{.ResourceAPIVersion}}.json"
        for values in ("nine", "smallest", "everything", "plain"):
            code, out, error = render.template(values)
            if code:
                sys.exit(error)
            done = subprocess.run([tools["kubeconform"].path, "-strict", "-summary", "-skip", FOREIGN, "-schema-location", place, "-"],
                                  input=out, capture_output=True, text=True)
            print(f"kubeconform by {count} schemas: {values}: {done.stdout.strip().splitlines()[-1]}")
            if done.returncode:
                failed += 1
                print("\n".join(done.stdout.splitlines()[:30]), done.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())

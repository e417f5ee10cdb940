#!/usr/bin/env python3
"""Writes the table of values in charts/trevor/README.md from values.schema.json and values.yaml.

    readme.py           write it
    readme.py --check   say whether it is as it would be written
"""

import json
import re
import sys
from pathlib import Path

CHART = Path(__file__).resolve().parents[2] / "charts/trevor"
BEGIN, END = "<!-- values: written by tests/chart/readme.py -->", "<!-- end of values -->"


def main():
    schema = json.loads((CHART / "values.schema.json").read_text())
    missing = [path for path, node, _ in walk(schema) if not node.get("description")]
    if missing:
        sys.exit(f"values.schema.json: no description: {', '.join(missing)}")
    readme = CHART / "README.md"
    before = readme.read_text()
    head, _, rest = before.partition(BEGIN)
    after = f"{head}{BEGIN}\n\n{table(schema)}\n{END}{rest.partition(END)[2]}"
    if "--check" in sys.argv[1:]:
        if after != before:
            sys.exit("charts/trevor/README.md differs from values.schema.json: make generate, and commit it")
    else:
        readme.write_text(after)


def walk(node, path="", at=()):
    """Every key below a schema: its dotted path, its schema, and where it stands."""
    for name, inner in node.get("properties", {}).items():
        here = f"{path}.{name}" if path else name
        yield here, inner, (*at, name)
        yield from walk(inner, here, (*at, name))
        if "items" in inner:
            yield from walk(inner["items"], f"{here}[]", (*at, name, None))


def table(schema):
    # What egress and ingress take is the same, and so are the four buckets: told once.
    told = [r"^default_policy\.ingress\.", r"^storage\.(records|staging|release)\.(?!signing)", r"^workloads\.gateway\.(?!credentials|service\b|replicas)"]
    rows = ["| value | type | what it is |", "|---|---|---|"]
    for path, node, _ in walk(schema):
        if any(re.search(pattern, path) for pattern in told):
            continue
        rows.append(f"| `{path}` | {kind(node)} | {cell(node['description'])} |")
    rows.append("")
    rows.append("`storage.release`, `.records` and `.staging` have the keys of `storage.quarantine`, `default_policy.ingress` "
                "those of `.egress`, and `workloads.gateway` those of `.controller` but the spool. Defaults: `values.yaml`.")
    return "\n".join(rows) + "\n"


def kind(node):
    if "enum" in node:
        return cell(", ".join(f"`{value}`" for value in node["enum"]))
    types = node.get("type", "")
    text = " or ".join(types) if isinstance(types, list) else types
    low, high = node.get("minimum"), node.get("maximum")
    if low is not None and high is not None:
        text += f", {low:,}–{high:,}"
    elif low is not None:
        text += f", {low:,} or more"
    return text


def cell(text):
    return text.replace("|", "\\|").replace("\n", " ").replace("<", "&lt;")


if __name__ == "__main__":
    main()

#!/usr/bin/env python3
"""The walls of the house, for `make lint`: what a crate may know, circles, and items that nobody uses.

    tests/walls.py              fails on what is named below
    tests/walls.py --graph      the crates and what each knows, as lines for docs

Cargo refuses a circle between crates. This looks for the rest:
- crates that must not reach a client, a clock or an async runtime, also through another crate;
- circles between the folders of a crate;
- public items of a crate that no other place names;
- documents that comments cite and that documents link to: the file and the heading must exist.
"""

import argparse
import json
import re
import subprocess
import sys
from collections import defaultdict
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parents[1]
CRATES = CHECKOUT / "crates"

# What the walled crates must not reach, by any way.
FORBIDDEN = {
    "trevor-api": ("tokio", "kube-client", "aws-sdk-s3", "hyper", "axum"),
    "trevor-core": ("tokio", "kube-client", "aws-sdk-s3", "hyper", "axum", "futures"),
    "trevor-package": ("kube-client", "aws-sdk-s3", "hyper", "axum"),
    "trevor-client": ("kube-client", "aws-sdk-s3", "axum", "trevor-store", "trevor-gateway", "trevor-controller"),
    "trevor-store": ("kube-client", "axum", "trevor-gateway", "trevor-controller"),
    "trevor-gateway": ("trevor-controller", "trevor-lifecycle"),
}
# Of the core: time and chance are parameters.
IMPURE = re.compile(r"\b(Timestamp|SystemTime|Instant|Zoned)::now\b|\brand::(random|rng|thread_rng)\b|\bstd::(fs|env|process)::|std::net::(Tcp|Udp)|\basync fn\b")


def metadata():
    done = subprocess.run(["cargo", "metadata", "--format-version", "1", "--locked"], cwd=CHECKOUT, capture_output=True, text=True)
    if done.returncode != 0:
        sys.exit(done.stderr)
    return json.loads(done.stdout)


def built_with(name):
    """What a crate is built with where it is built alone: features of one build are those of all its crates."""
    done = subprocess.run(["cargo", "tree", "--locked", "-p", name, "-e", "normal", "--prefix", "none", "-f", "{p}"],
                          cwd=CHECKOUT, capture_output=True, text=True)
    if done.returncode != 0:
        sys.exit(done.stderr)
    return {line.split(" ", 1)[0] for line in done.stdout.splitlines() if line}


def normal_dependencies(known):
    """Package id to those that it needs to be built, without what only tests need."""
    return {node["id"]: [d["pkg"] for d in node["deps"] if any(k["kind"] is None for k in d["dep_kinds"])]
            for node in known["resolve"]["nodes"]}


def reached(start, edges):
    seen, waiting = set(), [start]
    while waiting:
        for other in edges[waiting.pop()]:
            if other not in seen:
                seen.add(other)
                waiting.append(other)
    return seen


def sources(folder):
    return sorted(path for path in folder.rglob("*.rs"))


def without_tests(text):
    """A file up to its tests, without comments."""
    text = re.split(r"^#\[cfg\(test\)\]\n(?:#\[path[^\n]*\n)?mod ", text, maxsplit=1, flags=re.M)[0]
    return re.sub(r"//[^\n]*", "", text)


def is_test(path):
    return path.stem.endswith("tests") or "tests" in path.parts[-3:-1] or path.stem in ("testing", "examples")


def circles(edges):
    """Sets of nodes that reach one another."""
    found = []
    for node in sorted(edges):
        group = {other for other in reached(node, edges) if node in reached(other, edges)}
        if group and group not in found:
            found.append(group)
    return found


def folder_graph(source):
    """Which folder of a crate names which: by `crate::folder`, and by `super` that leaves a folder."""
    folders = {path.name for path in source.iterdir() if path.is_dir()}
    edges = defaultdict(set)
    for path in sources(source):
        inside = path.relative_to(source).parts
        if len(inside) < 2 or is_test(path):
            continue
        text = without_tests(path.read_text())
        named = set(re.findall(r"\bcrate::(\w+)", text))
        depth = len(inside) - (1 if path.name == "mod.rs" else 0)
        named |= set(re.findall(rf"\b(?:super::){{{depth}}}(\w+)", text)) if depth else set()
        edges[inside[0]] |= (named & folders) - {inside[0]}
        for other in named & folders:
            edges.setdefault(other, set())
    return edges


def unused(known):
    """Public items that are named once in all sources: where they are defined."""
    counts, places = defaultdict(int), {}
    item = re.compile(r"^\s*pub (?:async |const )?(?:fn|struct|enum|const|type|trait|static) (\w+)", re.M)
    roots = [CRATES, CHECKOUT / "src", CHECKOUT / "tests/it", CHECKOUT / "benches"]
    for root in roots:
        for path in sources(root):
            text = re.sub(r"//[^\n]*", "", path.read_text())
            for word in re.findall(r"\w+", text):
                counts[word] += 1
            if root == CRATES and not is_test(path):
                for found in item.finditer(text):
                    # A resource's spec is named by what its derive makes of it.
                    if not (path.is_relative_to(CRATES / "api") and found.group(1).endswith("Spec")):
                        places.setdefault(found.group(1), path.relative_to(CHECKOUT))
    return sorted((str(place), name) for name, place in places.items() if counts[name] == 1)


TEXTS = (".rs", ".py", ".md", ".yaml", ".tpl", ".sh", ".json", ".toml", "Makefile")
# A place of a document, from the checkout's root; and documents that are not in the repository.
CITED = re.compile(r"(?<![\w./-])((?:docs|tests|examples|charts|crates)/[\w./-]+\.md(?:#[\w-]+)?)")
ELSEWHERE = re.compile(r"\b(?:DESIGN|CONTRACT|FACTS)\b")
LINK = re.compile(r"\]\(([^)\s]+)\)")


def headings(path):
    """The anchors of a document, as GitHub makes them of its headings."""
    found = defaultdict(int)
    anchors = set()
    for line in re.sub(r"^```.*?^```", "", path.read_text(), flags=re.M | re.S).splitlines():
        if heading := re.match(r"#{1,6} +(.*?)[ #]*$", line):
            text = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading.group(1))
            slug = re.sub(r"[^\w\- ]", "", text.lower()).replace(" ", "-")
            anchors.add(f"{slug}-{found[slug]}" if found[slug] else slug)
            found[slug] += 1
    return anchors


def loose_ends():
    """Citations and links that lead nowhere."""
    files = subprocess.run(["git", "ls-files", "-z"], cwd=CHECKOUT, capture_output=True, text=True, check=True).stdout.split("\0")
    for name in (name for name in files if name.endswith(TEXTS) and name != "tests/walls.py"):
        path = CHECKOUT / name
        if not path.is_file():
            continue
        text = path.read_text()
        yield from (f"{name}: {found.group(0)}: that document is not in the repository" for found in ELSEWHERE.finditer(text))
        if name.endswith(".md"):
            places = [(path if target[0] == "#" else path.parent, target) for target in LINK.findall(text) if ":" not in target]
        else:
            places = [(CHECKOUT, cited) for cited in CITED.findall(text)]
        for base, target in places:
            file, _, anchor = target.partition("#")
            file = base / file if file else base
            if not file.exists():
                yield f"{name}: {target} does not exist"
            elif anchor and anchor not in headings(file):
                yield f"{name}: {target} names a heading that does not exist"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--graph", action="store_true")
    options = parser.parse_args()
    known = metadata()
    names = {package["id"]: package["name"] for package in known["packages"]}
    ids = {name: ident for ident, name in names.items() if name.startswith("trevor")}
    edges = normal_dependencies(known)
    if options.graph:
        for name in sorted(ids):
            print(name, "→", ", ".join(sorted(names[d] for d in edges[ids[name]] if names[d] in ids)) or "none of ours")
        return 0
    problems = []
    for name, forbidden in FORBIDDEN.items():
        beyond = built_with(name)
        problems += [f"{name} reaches {other}, which is behind its wall" for other in forbidden if other in beyond]
    for path in sources(CRATES / "core/src"):
        if not is_test(path):
            for found in IMPURE.finditer(without_tests(path.read_text())):
                problems.append(f"{path.relative_to(CHECKOUT)}: {found.group(0)}: time, chance and IO are not the core's")
    for crate in sorted(CRATES.iterdir()):
        if crate.is_dir():
            problems += [f"crates/{crate.name}: folders in a circle: {', '.join(sorted(group))}"
                         for group in circles(folder_graph(crate / "src"))]
    problems += [f"{place}: {name} is public, and nobody uses it" for place, name in unused(known)]
    problems += loose_ends()
    for problem in problems:
        print(problem)
    print(f"{len(problems)} problems")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())

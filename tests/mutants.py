#!/usr/bin/env python3
"""Mutation testing of the pure core: every change of a rule must break a test.

    make mutants                          all of src/domain
    tests/mutants.py --file quorum.rs     one file of it; other arguments go to cargo-mutants

src/domain and the types of src/api are put into a package of their own, without a
cluster's client, tokio or S3 (that they build like this is checked in passing), so that
a mutant costs seconds. Survivors are in target/mutants/mutants.out/missed.txt; those that
stand are explained in tests/mutants-survivors.txt, and any other fails the run.
"""
import argparse
import re
import shutil
import subprocess
import sys
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parents[1]
CORE = CHECKOUT / "target/mutants/core"
TOOL = CHECKOUT / "target/mutants/tool"
VERSION = "27.1.0"
EXPLAINED = CHECKOUT / "tests/mutants-survivors.txt"
WANTED = 0.95
NEEDS = ("hex", "jiff", "k8s-openapi", "schemars", "serde", "serde_json", "sha2", "thiserror",
         "unicode-normalization", "unicode-properties", "rand")
MANIFEST = """[package]
name = "trevor"
version = "0.1.0"
edition = "2024"

[dependencies]
kube = {{ version = "5", default-features = false, features = ["derive"] }}
{needs}

[dev-dependencies]
proptest = "1"
kube = {{ version = "5", default-features = false, features = ["cel"] }}

[profile.dev]
debug = false

[profile.dev.package."*"]
opt-level = 1

[workspace]
"""


def core():
    """The package of the pure core, anew."""
    shutil.rmtree(CORE, ignore_errors=True)
    (CORE / "src").mkdir(parents=True)
    for folder in ("domain", "api"):
        shutil.copytree(CHECKOUT / "src" / folder, CORE / "src" / folder)
    (CORE / "src/lib.rs").write_text("//! The pure core.\npub mod api;\npub mod domain;\n")
    lines = (CHECKOUT / "Cargo.toml").read_text().splitlines()
    needs = [line for line in lines if (name := re.match(r"([a-z0-9_-]+) = ", line)) and name.group(1) in NEEDS]
    (CORE / "Cargo.toml").write_text(MANIFEST.format(needs="\n".join(needs)))
    shutil.copy(CHECKOUT / "Cargo.lock", CORE / "Cargo.lock")


def tool():
    program = TOOL / "bin/cargo-mutants"
    if not program.exists():
        subprocess.run(["cargo", "install", "--locked", "--root", TOOL, "--version", VERSION, "cargo-mutants"], check=True)
    return program


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--file", default="*.rs", help="a file of src/domain")
    options, more = parser.parse_known_args()
    core()
    out = CORE.parent
    done = subprocess.run([tool(), "mutants", "--dir", CORE, "--output", out, "--file", f"src/domain/{options.file}",
                           "--baseline", "run", "--no-shuffle", "--timeout", "120", *more])
    if done.returncode not in (0, 2):
        sys.exit(done.returncode)
    listed = {name: (out / f"mutants.out/{name}.txt").read_text().splitlines() for name in ("caught", "missed", "timeout")}
    known = {line for line in EXPLAINED.read_text().splitlines() if line and not line.startswith("#")}
    place = re.compile(r"^(\S+?):\d+:\d+: ")
    strangers = [line for line in listed["missed"] if place.sub(r"\1: ", line) not in known]
    caught = len(listed["caught"]) + len(listed["timeout"])
    share = caught / max(1, caught + len(listed["missed"]))
    print(f"{caught} caught, {len(listed['missed'])} missed ({len(strangers)} of them not explained): {share:.1%}")
    for line in strangers:
        print(f"not explained: {line}")
    sys.exit(0 if share >= WANTED and not strangers else 1)


if __name__ == "__main__":
    main()

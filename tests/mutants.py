#!/usr/bin/env python3
"""Mutation testing of the pure core: every change of a rule must break a test.

    make mutants                          all of crates/core
    tests/mutants.py --file quorum.rs     one file of it; other arguments go to cargo-mutants
    tests/mutants.py --place second ...   a run beside another, in target/mutants/second

The core knows no client of a cluster, no tokio and no S3, so that a mutant costs seconds: one
rustc of crates/core alone, and its tests without the few that search at length. Survivors are in target/mutants/core/mutants.out/missed.txt; those that
stand are explained in tests/mutants-survivors.txt, and any other fails the run.
"""
import argparse
import os
import re
import subprocess
import sys
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parents[1]
WORK = CHECKOUT / "target/mutants"
TOOL = WORK / "tool"
VERSION = "27.1.0"
EXPLAINED = CHECKOUT / "tests/mutants-survivors.txt"
WANTED = 0.95
# Tests that search at length; what they would catch, tables must catch too.
SKIPPED = ("no_order_of_events", "in_every_order_of_events", "every_character_folds", "text_is_never_refused",
           "text_of_one_byte", "no_bytes_make_it_panic")
ENVIRONMENT = {"PROPTEST_CASES": "64", "PROPTEST_DISABLE_FAILURE_PERSISTENCE": "true"}


def tool():
    program = TOOL / "bin/cargo-mutants"
    if not program.exists():
        subprocess.run(["cargo", "install", "--locked", "--root", TOOL, "--version", VERSION, "cargo-mutants"], check=True)
    return program


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--file", default="*.rs", help="a file of crates/core")
    parser.add_argument("--place", default="core", help="folder of the run below target/mutants")
    options, more = parser.parse_known_args()
    out = WORK / options.place
    skipped = [word for name in SKIPPED for word in ("--skip", name)]
    done = subprocess.run([tool(), "mutants", "--dir", CHECKOUT, "--output", out, "--file", f"crates/core/src/**/{options.file}",
                           "--package", "trevor-core", "--no-shuffle", "--timeout", "60", *more,
                           "--", "--lib", "--", *skipped],
                          env={**os.environ, **ENVIRONMENT, "CARGO_TARGET_DIR": str(out / "build")})
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

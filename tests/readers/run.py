#!/usr/bin/env python3
"""Packages read by the zip readers that people have: run.py [--all] ZIP ENTRIES BYTES

Each reader has to read every entry to its end, with the right checksum; those programmed here
also say how many entries and bytes there were. `--all` refuses to pass where a reader is missing,
and fetches the two from npm; else those that are missing are named.
"""

import pathlib
import shutil
import subprocess
import sys
import zipfile

HERE = pathlib.Path(__file__).resolve().parent
BUILT = HERE.parent.parent / "target" / "readers"


def ends_well(*command, stdin=None):
    ran = subprocess.run(command, stdin=stdin, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    return "" if ran.returncode == 0 else f"exit {ran.returncode}: {ran.stderr.decode()[-500:]}"


def counts(want, *command):
    ran = subprocess.run(command, capture_output=True, text=True)
    said = ran.stdout.strip()
    return "" if ran.returncode == 0 and said == want else f"{said!r}, not {want!r}: {ran.stderr[-500:]}"


def from_pipe(zip_file, *command):
    cat = subprocess.Popen(["cat", zip_file], stdout=subprocess.PIPE)
    problem = ends_well(*command, stdin=cat.stdout)
    cat.stdout.close()
    cat.wait()
    return problem


def python(zip_file, want):
    with zipfile.ZipFile(zip_file) as archive:
        if bad := archive.testzip():
            return f"{bad} is damaged"
        found = archive.infolist()
        said = f"{len(found)} {sum(entry.file_size for entry in found)}"
        return "" if said == want else f"{said}, not {want}"


def go():
    program = BUILT / "go-reader"
    if not program.exists():
        subprocess.run(["go", "build", "-o", program, HERE / "reader.go"], check=True)
    return program


def npm(may_fetch):
    if not (BUILT / "node_modules" / "yauzl").exists() and may_fetch:
        names = ["yauzl@3.2.0", "unzipper@0.12.3"]
        subprocess.run(["npm", "install", "--silent", "--no-audit", "--no-fund", "--prefix", BUILT, *names], check=True)
    return (BUILT / "node_modules" / "yauzl").exists()


def readers(zip_file, want, every):
    """Name, whether it is here, and what tries it."""
    have = shutil.which
    seven = have("7z") or have("7za") or have("7zz")
    nodes = bool(have("node")) and npm(every and bool(have("npm")))
    node = ["node", HERE / "reader.js", BUILT / "node_modules"]
    java = ["java", "-Xmx256m", HERE / "Reader.java"]
    return [
        ("unzip", have("unzip"), lambda: ends_well("unzip", "-tqq", zip_file)),
        ("7z", seven, lambda: ends_well(seven, "t", "-bd", zip_file)),
        ("bsdtar", have("bsdtar"), lambda: ends_well("bsdtar", "-xOf", zip_file)),
        ("bsdtar, pipe", have("bsdtar"), lambda: from_pipe(zip_file, "bsdtar", "-xOf", "-")),
        ("Python zipfile", True, lambda: python(zip_file, want)),
        ("Java ZipFile", have("java"), lambda: counts(want, *java, "file", zip_file)),
        ("Java ZipInputStream", have("java"), lambda: counts(want, *java, "stream", zip_file)),
        ("Go archive/zip", have("go"), lambda: counts(want, go(), zip_file)),
        ("yauzl", nodes, lambda: counts(want, *node, "yauzl", zip_file)),
        ("unzipper", nodes, lambda: counts(want, *node, "unzipper", zip_file)),
    ]


def main():
    every = "--all" in sys.argv
    zip_file, entries, size = [a for a in sys.argv[1:] if a != "--all"]
    BUILT.mkdir(parents=True, exist_ok=True)
    problems = 0
    for name, is_here, tries in readers(zip_file, f"{entries} {size}", every):
        problem = tries() if is_here else ("it is missing; install it" if every else None)
        problems += bool(problem)
        print(f"{name:20} {'not here' if problem is None else problem or 'reads it'}")
    sys.exit(min(problems, 100))


main()

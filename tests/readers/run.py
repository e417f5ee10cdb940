#!/usr/bin/env python3
"""Packages read by the zip readers that people have: run.py [--all] ZIP ENTRIES BYTES

Each reader has to read every entry to its end, with the right checksum; those programmed here
also say how many entries and bytes there were. `--all` installs the readers that are missing (by
apt-get, which takes root, and npm) and does not pass where one cannot be had; else they are named.
READERS_UNZIP may name other builds of Info-ZIP's unzip, with spaces between.
"""

import os
import pathlib
import shutil
import subprocess
import sys
import time
import zipfile

HERE = pathlib.Path(__file__).resolve().parent
BUILT = HERE.parent.parent / "target" / "readers"


# What to install for a program that is missing.
PACKAGES = {"unzip": "unzip", "7z": "7zip", "bsdtar": "libarchive-tools", "javac": "default-jdk-headless", "node": "nodejs",
            "npm": "npm", "go": "golang-go"}


def install_missing():
    missing = sorted(package for program, package in PACKAGES.items() if not have(program))
    if not missing:
        return
    apt = [["apt-get", "-qq", "update"], ["apt-get", "-qq", "install", "--yes", "--no-install-recommends", *missing]]
    for command in apt:
        try:
            ran = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "DEBIAN_FRONTEND": "noninteractive"})
            problem = ran.stderr[-500:] if ran.returncode else ""
        except OSError as error:
            problem = str(error)
        if problem:
            sys.exit(f"zip readers are missing, and cannot be installed here: install {' '.join(missing)}\n{' '.join(command)}: {problem}")


def have(program):
    if program == "7z":
        return shutil.which("7z") or shutil.which("7zz") or shutil.which("7za")
    return shutil.which(program)


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
        ran = subprocess.run(["npm", "install", "--silent", "--no-audit", "--no-fund", "--prefix", BUILT, *names], capture_output=True, text=True)
        if ran.returncode:
            sys.exit(f"npm cannot install {' '.join(names)}: {ran.stdout[-300:]}{ran.stderr[-500:]}")
    return (BUILT / "node_modules" / "yauzl").exists()


def readers(zip_file, want, every):
    """Name, whether it is here, and what tries it."""
    seven, nodes = have("7z"), bool(have("node")) and npm(every and bool(have("npm")))
    node = ["node", HERE / "reader.js", BUILT / "node_modules"]
    java = ["java", "-Xmx256m", HERE / "Reader.java"]
    others = os.environ.get("READERS_UNZIP", "").split()
    return [
        ("unzip", have("unzip"), lambda: ends_well("unzip", "-tqq", zip_file)),
        *((f"unzip {number + 1} of READERS_UNZIP", True, lambda other=other: ends_well(other, "-tqq", zip_file)) for number, other in enumerate(others)),
        ("7z", seven, lambda: ends_well(seven, "t", "-bd", zip_file)),
        ("bsdtar", have("bsdtar"), lambda: ends_well("bsdtar", "-xOf", zip_file)),
        ("bsdtar, pipe", have("bsdtar"), lambda: from_pipe(zip_file, "bsdtar", "-xOf", "-")),
        ("Python zipfile", True, lambda: python(zip_file, want)),
        ("Java ZipFile", have("javac"), lambda: counts(want, *java, "file", zip_file)),
        ("Java ZipInputStream", have("javac"), lambda: counts(want, *java, "stream", zip_file)),
        ("Go archive/zip", have("go"), lambda: counts(want, go(), zip_file)),
        ("yauzl", nodes, lambda: counts(want, *node, "yauzl", zip_file)),
        ("unzipper", nodes, lambda: counts(want, *node, "unzipper", zip_file)),
    ]


def has_wide_descriptor(zip_file):
    """Whether a file of more than 4 GiB has its sizes behind it, in fields of 8 bytes."""
    with zipfile.ZipFile(zip_file) as archive:
        return any(entry.flag_bits & 8 and entry.file_size > 0xFFFFFFFF for entry in archive.infolist())


def main():
    every = "--all" in sys.argv
    zip_file, entries, size = [a for a in sys.argv[1:] if a != "--all"]
    BUILT.mkdir(parents=True, exist_ok=True)
    if every:
        install_missing()
    problems = 0
    for name, is_here, tries in readers(zip_file, f"{entries} {size}", every):
        if name == "unzipper" and has_wide_descriptor(zip_file):
            print(f"{name:20} cannot: its stream reader (0.12.3) takes every descriptor for one of 4-byte fields")
            continue
        began = time.monotonic()
        problem = tries() if is_here else ("it is missing; install it" if every else None)
        problems += bool(problem)
        print(f"{name:20} {'not here' if problem is None else problem or 'reads it':<12}{time.monotonic() - began:6.1f} s")
    sys.exit(min(problems, 100))


main()

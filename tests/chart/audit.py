#!/usr/bin/env python3
"""checkov on what the chart renders: each finding is explained in findings.md, and each explanation explains one."""

import json
import re
import subprocess
import sys
import tempfile
from collections import defaultdict
from pathlib import Path

import render

EXPLAINED = render.HERE / "findings.md"


def findings(checkov, text):
    """Failed checks of a stream of YAML: id to what it failed on."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "chart.yaml"
        file.write_text(text)
        done = subprocess.run([checkov, "-f", file, "--framework", "kubernetes", "--compact", "--quiet", "--skip-download", "-o", "json"],
                              capture_output=True, text=True)
    report = json.loads(done.stdout)
    if report["summary"]["parsing_errors"] or not report["summary"]["passed"]:
        sys.exit(f"checkov could not read the chart: {report['summary']}")
    found = defaultdict(set)
    for check in report["results"]["failed_checks"]:
        found[f"{check['check_id']} ({check['check_name']})"].add(check["resource"])
    return report["summary"], found


def main():
    checkov = render.tools.ensure_audit()
    explained, seen, failed = set(re.findall(r"^\| (CKV\w+) \|", EXPLAINED.read_text(), re.MULTILINE)), set(), 0
    for values in ("nine", "smallest", "everything", "plain"):
        code, out, error = render.template(values)
        if code:
            sys.exit(error)
        summary, found = findings(checkov, out)
        print(f"checkov {summary['checkov_version']}: {values}: {summary['passed']} passed, {summary['failed']} found, {len(found)} kinds")
        for check, resources in sorted(found.items()):
            seen.add(check.split()[0])
            if check.split()[0] not in explained:
                failed += 1
                print(f"  not explained: {check}: {', '.join(sorted(resources))}")
    for check in sorted(explained - seen):
        failed += 1
        print(f"  explained, and not found: {check}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())

#!/usr/bin/env python3
"""The chart's tests: what is refused, what is rendered, and that it is the same every time; alert rules on series.

Needs helm and promtool (`make tools`) and no cluster.
"""

import subprocess
import sys
import time
import traceback

import alerts
import certificates
import packaging
import pods
import policy
import refusals
import roles
import whole
from render import HERE, PROMTOOL

GROUPS = (whole, refusals, pods, policy, packaging, roles, certificates, alerts)


def main():
    began, failed, count = time.monotonic(), 0, 0
    for group in GROUPS:
        for name, test in vars(group).items():
            if not name.startswith("test_"):
                continue
            count += 1
            try:
                test()
            except (AssertionError, KeyError, IndexError, SystemExit):
                failed += 1
                print(f"FAILED {group.__name__}.{name}:\n{traceback.format_exc(limit=-2)}")
    print(f"chart: {count - failed} passed, {failed} failed in {time.monotonic() - began:.1f} s")
    for arguments in (["check", "rules", alerts.RULES], ["test", "rules", HERE / "alerts_test.yaml"]):
        failed += subprocess.run([PROMTOOL, *arguments]).returncode
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())

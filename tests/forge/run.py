#!/usr/bin/env python3
"""The forging suite: every attempt to get round the review, what should come of it, and what came of it.

    run.py --env DIR admission                  the policies; before the operator runs: `env.py up --no-operator`
    run.py --env DIR --no-fill admission        without MutatingAdmissionPolicies
    run.py --env DIR --without admission        without the chart's bindings, to show that it is they that hold
    run.py --env DIR roles gateway              with the operator: `env.py restart`

The environment is one with TREVOR_CHART_VALUES=tests/forge/values-forge.yaml; `make forge` does all of it.

-q: only what was not expected. --results FILE: the counts, for the sum of `make test`.
"""

import argparse
import json
import sys
import time
from pathlib import Path

import admission
import gateway
import roles
from kubernetes import Kubernetes
from table import Table


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("doors", nargs="+", choices=["admission", "roles", "gateway"])
    parser.add_argument("--env", type=lambda text: Path(text).absolute(), required=True)
    parser.add_argument("--no-fill", action="store_true")
    parser.add_argument("--without", action="store_true")
    parser.add_argument("--results", type=Path)
    parser.add_argument("-q", action="store_true")
    options = parser.parse_args()
    began = time.monotonic()
    api, table = Kubernetes(options.env / "kubeconfig"), Table(options.q)
    if options.without:
        t = admission.attack(api, table, not options.no_fill, without=True)
        print(f"without the bindings {t.through} of {t.denials} refusals get through")
        return 0
    if "admission" in options.doors:
        admission.attack(api, table, not options.no_fill, without=False)
    if "roles" in options.doors:
        roles.attack(api, table)
    if "gateway" in options.doors:
        gateway.attack(api, table, json.loads((options.env / "env.json").read_text()))
    if options.results:
        with options.results.open("a") as out:
            out.write(f"test result: forging. {table.rows - table.unexpected} passed; {table.unexpected} failed\n")
    print(f"\n{table.rows} attempts in {time.monotonic() - began:.0f} s: {table.rows - table.unexpected} as expected, {table.unexpected} unexpected")
    return bool(table.unexpected)


if __name__ == "__main__":
    sys.exit(main())

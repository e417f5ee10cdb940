#!/usr/bin/env python3
"""The forging suite: every attempt to get round the review, what should come of it, and what came of it.

    run.py --env DIR                        every door, in this order; starts the operator on the way
    run.py --env DIR --doors admission      one, or some: admission, values, roles, gateway, storage, static
    run.py --env DIR --doors admission --without    without the chart's bindings: that it is they that hold
    run.py --env DIR --doors admission --no-fill    on a cluster without MutatingAdmissionPolicies

The environment: TREVOR_CHART_VALUES=tests/forge/values-forge.yaml env.py up --no-operator
--static-admission. The operator must
not run when the policies are tried alone: it would act on what is made there. `make forge` does all this.
Needs boto3 (TREVOR_BOTO3_PYTHON). -q: only what was not expected. --results FILE: counts for `make test`.
"""

import argparse
import json
import subprocess
import sys
import time
from pathlib import Path

import admission
import gateway
import roles
import static
import values
from kubernetes import Kubernetes
from table import Table

DOORS = ("admission", "values", "roles", "gateway", "storage", "static")
WITH_OPERATOR = {"roles", "gateway"}
DRIVER = Path(__file__).resolve().parents[1] / "env/env.py"


def main():
    options = arguments()
    began = time.monotonic()
    api, table = Kubernetes(options.env / "kubeconfig"), Table(options.q)
    if options.without:
        t = admission.attack(api, table, not options.no_fill, without=True)
        print(f"without the bindings {t.through} of {t.denials} refusals get through")
        return 0
    early = gateway.early_session(api) if "gateway" in options.doors else None
    if "admission" in options.doors:
        admission.attack(api, table, not options.no_fill, without=False)
    if "values" in options.doors:
        values.attack(api, table, options.env)
    if WITH_OPERATOR & set(options.doors):
        subprocess.run([sys.executable, DRIVER, "restart", "--dir", options.env], check=True)
    if "roles" in options.doors:
        roles.attack(api, table)
    if "gateway" in options.doors:
        gateway.attack(api, table, json.loads((options.env / "env.json").read_text()), early)
    if "storage" in options.doors:
        import storage  # needs boto3, the others do not

        storage.attack(table, options.env)
    if "static" in options.doors:
        static.attack(api, table, options.env)
    good = table.rows - table.unexpected
    if options.results:
        with options.results.open("a") as out:
            out.write(f"test result: forging. {good} passed; {table.unexpected} failed;\n")
    version = api.must("GET", "/version")["gitVersion"]
    print(f"\nKubernetes {version}: {table.rows} attempts in {time.monotonic() - began:.0f} s: {good} as expected, {table.unexpected} unexpected")
    return bool(table.unexpected)


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--env", type=lambda text: Path(text).absolute(), required=True)
    parser.add_argument("--doors", nargs="+", choices=DOORS, default=DOORS)
    parser.add_argument("--no-fill", action="store_true")
    parser.add_argument("--without", action="store_true")
    parser.add_argument("--results", type=Path)
    parser.add_argument("-q", action="store_true")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())

#!/usr/bin/env python3
"""Storage servers besides the one that all other tests run on.

    run.py [--servers a,b] [--stories a,b] [--dir DIR] [--results FILE]

On MinIO with its key management every story of the laboratory is run (tests/crash/workloads.py, and those of stories.py
here), without a fault, with the users and policies of examples/bucket-policies/minio. Each has to end as it does on
SeaweedFS, by the oracles of the laboratory, which are not the product's code. Where a server lacks what trevor needs
(MinIO without key management, versitygw), `trevor check` and both processes have to say so, and store nothing.

Needs TREVOR_BIN, and builds the servers (`tests/env/env.py tools --dialects`).
"""

import argparse
import asyncio
import json
import subprocess
import sys
import time
import traceback
from pathlib import Path

HERE = Path(__file__).resolve().parent
CHECKOUT = HERE.parents[1]
sys.path[:0] = [str(HERE), str(HERE.parent / "crash"), str(HERE.parent / "env")]

import execute
import oracles
import stories
import trials
from workloads import STORIES

REFERENCE, WHOLE, REFUSED = "seaweedfs", ("minio",), ("minio-without-keys", "versitygw")
DRIVER = [sys.executable, CHECKOUT / "tests/env/env.py"]


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--servers", default=",".join((*WHOLE, *REFUSED)))
    parser.add_argument("--stories", default=",".join(STORIES))
    parser.add_argument("--dir", type=Path, default=CHECKOUT / "target/dialects-env")
    parser.add_argument("--results", type=Path)
    return parser.parse_args()


class Run:
    def __init__(self, options):
        self.options, self.rows, self.references = options, [], {}

    def report(self, server, what, problems, began):
        self.rows.append((server, what, problems))
        print(f"{server:<20}{what:<42}{'FAILED' if problems else 'ok':<8}{time.monotonic() - began:6.1f} s", flush=True)
        for problem in problems[:8]:
            print(f"    {problem}", flush=True)

    async def tries(self, server, what, trial):
        """Runs a trial, which gives what is wrong."""
        began = time.monotonic()
        try:
            problems = await trial
        except Exception as error:
            traceback.print_exc(limit=3)
            problems = [f"{type(error).__name__}: {error}"]
        self.report(server, what, problems, began)
        return not problems

    async def in_environment(self, server, use):
        folder = self.options.dir.absolute()
        subprocess.run([*DRIVER, "down", "--dir", folder], check=True)
        try:
            subprocess.run([*DRIVER, "up", "--no-operator", "--storage", server, "--dir", folder], check=True)
            await use(server, folder)
        finally:
            subprocess.run([*DRIVER, "down", "--dir", folder], check=False)

    async def whole(self, server, folder):
        lane = stories.WholeServer(folder, 0, folder / "lane")
        try:
            await lane.up()
            names = [name for name in sorted(STORIES, key=lambda name: STORIES[name].profile) if name in self.options.stories.split(",")]
            for name in names:
                await self.tries(server, name, self.story(server, lane, name))
            if server != REFERENCE:
                for trial in (trials.create_only, trials.content, trials.identities, trials.reading_signer):
                    await self.tries(server, trial.__doc__, trial(lane))
        finally:
            await lane.down()

    async def story(self, server, lane, name):
        seen = json.loads(json.dumps((await execute.reference(lane, name, runs=1))["state"]))
        if server == REFERENCE:
            self.references[name] = seen
            return []
        if name not in self.references:
            return [f"it did not end well on {REFERENCE}"]
        return oracles.difference(self.references[name], seen)

    async def refused(self, server, folder):
        lane = stories.WholeServer(folder, 0, folder / "lane")
        await lane.make_buckets()
        tried = [trials.create_only, trials.check_refuses, trials.controller_refuses, trials.nothing_is_stored]
        if server == "minio-without-keys":
            tried.insert(3, trials.gateway_refuses)
        for trial in tried:
            await self.tries(server, trial.__doc__, trial(lane))

    async def everything(self):
        servers = self.options.servers.split(",")
        if set(servers) & set(WHOLE):
            await self.in_environment(REFERENCE, self.whole)
        for server in servers:
            await self.in_environment(server, self.whole if server in WHOLE else self.refused)


def main():
    options = arguments()
    began, run = time.monotonic(), Run(options)
    asyncio.run(run.everything())
    failed = sum(bool(problems) for _, _, problems in run.rows)
    print(f"\n{len(run.rows) - failed} passed, {failed} failed; {time.monotonic() - began:.0f} s")
    if options.results:
        with open(options.results, "a") as out:
            out.write(f"test result: {'FAILED' if failed else 'ok'}. {len(run.rows) - failed} passed; {failed} failed; storage servers\n")
    return 1 if failed or not run.rows else 0


if __name__ == "__main__":
    sys.exit(main())

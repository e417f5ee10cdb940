#!/usr/bin/env python3
"""The laboratory: every changing call of every story, spoilt in every way; the end must be as without a fault.

    run.py [--seed N] [--plans N] [--stories a,b] [--modes a,b] [--lanes N]   all plans, or so many that the seed picks
    run.py --plan 'small/kill-after/controller quarantine PUT …#1'            one plan, again
    run.py --watches | --clocks | --restored [--plans N]                      watches that lag; wrong clocks; an older etcd
    run.py --storage [--stories …] [--plans N]                                storage that misbehaves, at reading calls too
    run.py --chosen                                                           those of chosen.txt
    run.py --self-test                                                        planted faults are seen

Needs TREVOR_BIN. An environment of its own comes up in --dir and goes down again, unless --env names one that is up.
"""

import argparse
import asyncio
import json
import os
import subprocess
import sys
import time
from collections import Counter, defaultdict
from pathlib import Path

HERE = Path(__file__).resolve().parent
CHECKOUT = HERE.parents[1]
sys.path.insert(0, str(HERE))

import schedules
from plans import Plan, made_from, of_storage
from workloads import STORIES


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", default=os.environ.get("SEED") or str(int(time.time())))
    parser.add_argument("--plan", default=os.environ.get("PLAN") or None)
    parser.add_argument("--plans", type=int)
    parser.add_argument("--stories")
    parser.add_argument("--modes")
    parser.add_argument("--chosen", action="store_true")
    for option, kind in (("--watches", "watch"), ("--clocks", "clock"), ("--restored", "restored")):
        parser.add_argument(option, dest="schedules", action="append_const", const=kind)
    parser.add_argument("--storage", action="store_true")
    parser.add_argument("--self-test", action="store_true")
    parser.add_argument("--lanes", type=int, default=3)
    parser.add_argument("--dir", type=Path, default=CHECKOUT / "target/crash-env")
    parser.add_argument("--env", type=Path)
    parser.add_argument("--out", type=Path, default=CHECKOUT / "target/crash")
    parser.add_argument("--results", type=Path)
    parser.add_argument("--minutes", type=float, help="begin no plan after so many")
    return parser.parse_args()


class Worker:
    """A lane in a process of its own: a line in, a line out."""

    def __init__(self, number, env_folder, out):
        self.number, self.env_folder, self.out = number, env_folder, out

    async def start(self):
        self.child = await asyncio.create_subprocess_exec(
            sys.executable, HERE / "worker.py", str(self.env_folder), str(self.number), str(self.out / f"lane-{self.number}"),
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, limit=1 << 26)
        return await self.ask({"do": "up"})

    async def ask(self, order):
        self.child.stdin.write(json.dumps(order).encode() + b"\n")
        await self.child.stdin.drain()
        line = await self.child.stdout.readline()
        if not line:
            raise RuntimeError(f"lane {self.number} ended: its last words are on standard error")
        return json.loads(line)

    async def stop(self):
        if self.child.returncode is None:
            try:
                await asyncio.wait_for(self.ask({"do": "down"}), 30)
            except (asyncio.TimeoutError, RuntimeError, OSError):
                self.child.kill()
            await self.child.wait()


class Laboratory:
    def __init__(self, options):
        self.options, self.references, self.results = options, {}, []
        if "restored" in (options.schedules or ()) or (options.plan or "").startswith("restored/"):
            options.lanes = 1  # what is restored is the whole cluster's
        self.began = time.monotonic()

    async def up(self, env_folder):
        self.options.out.mkdir(parents=True, exist_ok=True)
        self.workers = [Worker(number, env_folder, self.options.out) for number in range(self.options.lanes)]
        for answer in await asyncio.gather(*(worker.start() for worker in self.workers)):
            if answer.get("error"):
                raise RuntimeError(answer["error"])

    async def down(self):
        await asyncio.gather(*(worker.stop() for worker in self.workers), return_exceptions=True)

    async def each(self, orders, take):
        """Orders to whichever lane is free; those of one profile after another, since a change restarts processes."""
        queue = sorted(orders, key=lambda order: order["profile"])
        shares = defaultdict(list)
        for index, order in enumerate(queue):
            shares[index * len(self.workers) // max(1, len(queue))].append(order)
        pending = [shares[number] for number in range(len(self.workers))]

        async def serve(worker, mine):
            while True:
                source = mine or max(pending, key=len)
                if not source:
                    return
                order = source.pop(0)
                take(order, await worker.ask(order))
        await asyncio.gather(*(serve(worker, pending[number]) for number, worker in enumerate(self.workers)))

    async def make_references(self, stories, runs):
        def take(order, answer):
            if answer.get("error"):
                self.results.append({"plan": f"{order['story']}/no fault", "hits": 1, "kills": 0, "seconds": 0,
                                     "problems": [answer["error"]]})
                say(f"reference {order['story']}: FAILED: {answer['error']}")
                return
            self.references[order["story"]] = answer
            say(f"reference {order['story']}: {len(answer['calls'])} changing calls")
        await self.each([{"do": "reference", "story": story, "profile": STORIES[story].profile, "runs": runs} for story in stories], take)
        (self.options.out / "references.json").write_text(json.dumps(self.references, indent=1))

    def order_of(self, plan):
        until = time.time() + self.options.minutes * 60 if self.options.minutes else None
        if isinstance(plan, Plan):
            return {"do": "plan", "profile": STORIES[plan.story].profile, "plan": str(plan),
                    "known": self.references[plan.story], "until": until}
        return {"do": "schedule", "profile": schedules.of(plan).profile_of(plan), "plan": plan,
                "known": self.references.get(story_of(plan)), "until": until}

    async def run(self, plans):
        log = open(self.options.out / "results.jsonl", "w")
        (self.options.out / "schedule.txt").write_text("".join(f"{plan}\n" for plan in plans))

        def take(order, result):
            if result.get("skipped"):
                return
            self.results.append(result)
            log.write(json.dumps(result) + "\n")
            log.flush()
            if result["problems"]:
                say(f"FAILED {result['plan']} ({result['seconds']} s)")
                for problem in result["problems"][:6]:
                    say(f"    {problem}")
            elif len(self.results) % 50 == 0:
                say(f"{len(self.results)} of {len(plans)} plans, {time.monotonic() - self.began:.0f} s")
        await self.each([self.order_of(plan) for plan in plans if story_of(plan) in (None, *self.references)], take)

    def table(self):
        rows = defaultdict(Counter)
        for result in self.results:
            story, mode, *_ = result["plan"].split("/")
            row = rows["restored" if story == "restored" else f"{story}-{mode}" if story in schedules.KINDS else mode]
            row["plans"] += 1
            row["hit"] += result["hits"] > 0
            row["kills"] += result["kills"]
            row["failed"] += bool(result["problems"])
            row["seconds"] += result["seconds"]
        print(f"\n{'mode':<16}{'plans':>7}{'reached':>9}{'kills':>7}{'failed':>8}{'s each':>8}")
        total = Counter()
        for mode in sorted(rows):
            row = rows[mode]
            total.update(row)
            print(f"{mode:<16}{row['plans']:>7}{row['hit']:>9}{row['kills']:>7}{row['failed']:>8}{row['seconds'] / row['plans']:>8.1f}")
        if total["plans"]:
            print(f"{'all':<16}{total['plans']:>7}{total['hit']:>9}{total['kills']:>7}{total['failed']:>8}"
                  f"{total['seconds'] / total['plans']:>8.1f}")
        print(f"\nseed {self.options.seed}; {time.monotonic() - self.began:.0f} s; stories: {', '.join(sorted(self.references))}")
        for result in self.results:
            if result["problems"]:
                print(f"again: make crash PLAN='{result['plan']}'")
        return total


async def laboratory(options, env_folder):
    lab = Laboratory(options)
    given = [parsed(options.plan)] if options.plan else None
    if options.chosen:
        given = [parsed(line) for line in (HERE / "chosen.txt").read_text().splitlines() if line and not line.startswith("#")]
    if options.schedules:
        given = [line for kind in options.schedules for line in schedules.made_from(kind, options.seed, options.plans)]
    stories = options.stories.split(",") if options.stories else sorted(STORIES)
    if given:
        stories = sorted({story_of(plan) for plan in given} - {None})
    blind = 0
    if options.self_test:
        import selftest
        stories = [selftest.STORY]
    try:
        await lab.up(env_folder)
        say(f"{len(lab.workers)} lanes are up after {time.monotonic() - lab.began:.0f} s")
        await lab.make_references(stories, 1 if given else 2)
        if options.self_test:
            return await selftest.live(lab)
        modes = options.modes.split(",") if options.modes else None
        if options.chosen:
            import selftest
            blind = await selftest.live(lab)
        if options.storage:
            given = of_storage(lab.references, options.seed, options.plans)
        plans = given or made_from(lab.references, options.seed, **({"modes": modes} if modes else {}), at_most=options.plans)
        say(f"{len(plans)} plans")
        await lab.run(plans)
    finally:
        await lab.down()
    total = lab.table()
    if options.results:
        failed = total["failed"]
        with open(options.results, "a") as out:
            out.write(f"test result: {'FAILED' if failed else 'ok'}. {total['plans'] - failed} passed; {failed} failed; the laboratory\n")
    missed = [r["plan"] for r in lab.results if not r["hits"]]
    if given and missed:
        print("not reached:\n  " + "\n  ".join(missed))
    return 1 if blind or total["failed"] or not lab.results or (given and missed) else 0


def parsed(line):
    return line if schedules.of(line) else Plan.parse(line)


def story_of(plan):
    """Whose reference a plan needs; None where it needs none."""
    return plan.story if isinstance(plan, Plan) else schedules.of(plan).story_of(plan)


def say(text):
    print(text, flush=True)


def main():
    options = arguments()
    if "clock" in (options.schedules or ()):
        schedules.clocks.library()  # or it is said at once that it is missing
    if options.self_test or options.chosen:
        import selftest
        selftest.still()
    driver = [sys.executable, CHECKOUT / "tests/env/env.py"]
    if options.env:
        return asyncio.run(laboratory(options, options.env))
    subprocess.run([*driver, "down", "--dir", options.dir], check=True)
    try:
        subprocess.run([*driver, "up", "--no-operator", "--dir", options.dir], check=True)
        return asyncio.run(laboratory(options, options.dir))
    finally:
        subprocess.run([*driver, "down", "--dir", options.dir], check=False)


if __name__ == "__main__":
    sys.exit(main())

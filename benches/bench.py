#!/usr/bin/env python3
"""The benchmarks: trevor against a good S3 client, plain Python and curl, on the same two servers.

    tests/run.sh bench                                  all of it, from a release build
    tests/run.sh bench --only release,python --size-mib 128 --pairs 1

Parts, by letter or name:
    a ceiling   a good client (aws-sdk-s3, parallel ranges) copies the same bytes and reads them back
    b release   our release step, of random data (stored) and of CSV (deflated)
    c python    boto3 and zipfile, in memory, the same job
    d upload    one file through the gateway, and by a pre-signed PUT; both by curl, both encrypted
    e many      10,000 files of one kilobyte in one request
    f calls     S3 calls and API writes for one small release
    g big       a release of four times the size: speed and memory
    h inwards   trevor send against boto3; confirmation, copied by the server and streamed

a, b and c run in turns on the same quarantined objects, each time another one first.

Times are read from outside. The release step lasts from when decision.json is there to
when outcome.json is there: both are asked for every 20 ms. (The times inside the objects
are whole seconds.) Other times end when a watch of the request shows the phase.
Memory is the highest resident size during the job (VmHWM, reset before it).
"""

import argparse
import json
import os
import random
import shutil
import signal
import statistics
import subprocess
import sys
import threading
import time
import urllib.request
from pathlib import Path

import counting
import inwards
import people
import s3

CHECKOUT = Path(__file__).resolve().parents[1]
DRIVER = CHECKOUT / "tests/env/env.py"
ENVIRONMENT = CHECKOUT / "target/bench-env"
OUT = CHECKOUT / "target/bench"
PARTS = {"a": "ceiling", "b": "release", "c": "python", "d": "upload", "e": "many", "f": "calls", "g": "big",
         "h": "inwards"}
FILE_MIB = 64
MIB = 1 << 20
LOOK_EVERY = 0.02
BEGAN = time.monotonic()


def main():
    options = arguments()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    OUT.mkdir(parents=True, exist_ok=True)
    samples = Samples(OUT / "files", options.size_mib)
    ceiling = ceiling_program() if "ceiling" in options.only else None
    bench = None
    try:
        driver("down")
        driver("up")
        bench = Bench(options, samples, ceiling)
        bench.run()
    finally:
        driver("down")
        shutil.rmtree(samples.folder, ignore_errors=True)
        if bench:
            report(bench)


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", type=chosen, default=list(PARTS.values()), help="parts, by letter or name: a,b or upload")
    parser.add_argument("--size-mib", type=int, default=1024, help="size of a release (default 1024)")
    parser.add_argument("--pairs", type=int, help="turns of each comparison (default: 3 of long runs, 5 of short ones)")
    parser.add_argument("--files", type=int, default=10_000, help="files of `many` (default 10,000)")
    parser.add_argument("--workers", type=int, default=4, help="ranges at once of the good client (default 4)")
    return parser.parse_args()


def chosen(text):
    names = [PARTS.get(word, word) for word in text.split(",")]
    if unknown := set(names) - set(PARTS.values()):
        raise argparse.ArgumentTypeError(f"no such part: {', '.join(unknown)}")
    return names


def say(text):
    print(f"{time.monotonic() - BEGAN:7.1f} s  {text}", flush=True)


def driver(command):
    subprocess.run([sys.executable, DRIVER, command, "--dir", ENVIRONMENT], check=True)


def ceiling_program():
    """The good client; built before, by tests/run.sh."""
    say("the good client (cargo bench --no-run)")
    built = subprocess.run(["cargo", "bench", "--locked", "--no-run", "--bench", "ceiling", "--message-format", "json"],
                           cwd=CHECKOUT, check=True, stdout=subprocess.PIPE, text=True).stdout
    found = [message["executable"] for message in map(json.loads, built.splitlines())
             if message.get("executable") and message["target"]["name"] == "ceiling"]
    return found[-1]


class Samples:
    """The files to be uploaded: as many of 64 MiB as make up the size, random or CSV."""

    def __init__(self, folder, size_mib):
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        self.folder = folder
        self.count = max(1, size_mib // FILE_MIB)
        self.bytes = size_mib * MIB // self.count

    def random(self):
        return self.made("random", lambda number: [os.urandom(self.bytes)])

    def csv(self):
        """Rows of a plausible table, in other orders from file to file."""
        def rows():
            chance = random.Random("trevor bench 1")
            return ["%d,%s,%s,%d,%.3f,%.1f\n" % (
                100_000 + n, chance.choice(["north", "south", "east", "west"]), chance.choice("FM"), chance.randint(18, 99),
                chance.gauss(0.3, 0.1), chance.uniform(10, 60)) for n in range(150_000)]

        def content(number):
            turned = table[number * 997 % len(table):] + table[:number * 997 % len(table)]
            block = "".join(turned).encode()
            return [block] * (self.bytes // len(block)) + [block[:self.bytes % len(block)]]

        table = rows()
        return self.made("csv", content)

    def made(self, kind, content):
        """Gives (name in the request, local file) of each."""
        files = [(f"data/{kind}-{number:03}", self.folder / f"{kind}-{number:03}") for number in range(self.count)]
        for number, (_, file) in enumerate(files):
            if not file.exists():
                with open(file, "wb") as out:
                    out.writelines(content(number))
        return files

    def one(self):
        """One random file of the whole size."""
        file = self.folder / "one"
        if not file.exists():
            with open(file, "wb") as out:
                out.writelines(os.urandom(MIB) for _ in range(self.count * self.bytes // MIB))
        return file

    def many(self, count):
        folder = self.folder / "many"
        folder.mkdir()
        files = [(f"data/{number // 100:03}/{number:05}.txt", folder / f"{number:05}") for number in range(count)]
        for _, file in files:
            file.write_bytes(os.urandom(512).hex().encode())
        return files


class Stages(threading.Thread):
    """When the facts of a release came to be there, asked for every 20 ms."""

    def __init__(self, request, buckets):
        super().__init__(daemon=True)
        self.request, self.at, self.stop = request, {}, False
        self.inside, self.outside = s3.S3(buckets["quarantine"]), s3.S3(buckets["release"])
        self.start()

    def run(self):
        self.note("decision", lambda: self.inside.there(self.request.fact("decision")))
        attempt = json.loads(self.note("attempt", lambda: self.inside.get(self.request.fact("attempts/000001"))) or "{}")
        self.note("package", lambda: "key" in attempt and self.outside.there(attempt["key"]))
        self.note("outcome", lambda: self.inside.there(self.request.fact("outcome")))

    def note(self, stage, look):
        while not self.stop:
            if found := look():
                self.at[stage] = time.monotonic()
                return found
            time.sleep(LOOK_EVERY)

    def figures(self):
        """Seconds of the whole step; until the package was stored; and of reading it back."""
        self.join(10)
        self.stop = True
        at = self.at
        return {"seconds": at["outcome"] - at["decision"], "stored_seconds": at["package"] - at["decision"],
                "read_back_seconds": at["outcome"] - at["package"]}


class Bench:
    """The environment, and what was measured in it."""

    def __init__(self, options, samples, ceiling):
        self.options, self.samples, self.ceiling = options, samples, ceiling
        self.load_state()
        self.results, self.requests, self.load = {}, 0, os.getloadavg()[0]
        self.quarantine, self.release = s3.S3(self.buckets["quarantine"]), s3.S3(self.buckets["release"])

    def load_state(self):
        self.state = json.loads((ENVIRONMENT / "env.json").read_text())
        self.buckets = self.state["buckets"]

    def run(self):
        wanted = self.options.only
        if {"ceiling", "release", "python"} & set(wanted):
            self.packages("random", "stored", self.samples.random())
            self.packages("csv", "deflated", self.samples.csv())
        for part in ("upload", "inwards", "many", "big", "calls"):
            if part in wanted:
                getattr(self, part)()

    def pairs(self, usual):
        return self.options.pairs or usual

    # Requests

    def request(self):
        self.requests += 1
        return people.Request(self.state, ENVIRONMENT, f"bench-{self.requests}")

    def in_review(self, files):
        request = self.request()
        seconds = request.upload(files)
        say(f"  {request.name}: {len(files)} files uploaded in {seconds:.1f} s; submitting")
        request.submit()
        return request

    def released(self, request):
        """The figures of one release, from the second approval on."""
        request.approve_first()
        controller = self.state["pids"]["controller"]
        before = resident(controller)
        reset_peak(controller)
        stages = Stages(request, self.buckets)
        request.approve("carol")
        began = time.monotonic()
        done, found = request.watch.released()
        return {**stages.figures(), "approved_to_released_seconds": done - began, "rss_before_mib": before,
                "peak_rss_mib": peak(controller)}

    def forget(self, request):
        """Removes the bytes of a request, and gives their place back."""
        for bucket, prefix in ((self.quarantine, request.files(self.quarantine)),
                               (self.release, self.release.list(f"releases/{people.PROJECT}/{request.uid}/"))):
            for found in prefix:
                bucket.delete(found["key"])
        self.reclaim()

    def reclaim(self):
        """SeaweedFS gives room back when its volumes are vacuumed."""
        for name in ("s3-quarantine", "s3-release"):
            urllib.request.urlopen(f"http://127.0.0.1:{master_port(name)}/vol/vacuum?garbageThreshold=0.1", timeout=120).read()

    # a, b, c

    def packages(self, kind, method, files):
        """The three in turns; the ceiling copies bytes, so it says nothing of deflated data."""
        contestants = [name for name in ("ceiling", "release", "python") if name in self.options.only]
        if method == "deflated":
            contestants = [name for name in contestants if name != "ceiling"]
        if not contestants:
            return
        runs = self.results[kind] = {name: [] for name in contestants}
        for number in range(self.pairs(3)):
            say(f"{kind} data, {self.samples.count} files of {self.samples.bytes / MIB:.0f} MiB, turn {number + 1}: uploading")
            request = self.in_review(files)
            start = number % len(contestants)
            for name in contestants[start:] + contestants[:start]:
                figures = self.released(request) if name == "release" else self.copied(name, request, method)
                say(f"  {name}: {shown(figures)}")
                runs[name].append(figures)
            self.forget(request)

    def copied(self, name, request, method):
        order = {"source": self.buckets["quarantine"], "target": self.buckets["release"],
                 "objects": request.files(self.quarantine), "target_key": f"bench/{name}", "method": method,
                 "part_bytes": 16 * MIB, "workers": self.options.workers}
        program = {"ceiling": [self.ceiling],
                   "python": [self.state["tools"]["boto3_python"], CHECKOUT / "benches/reference.py"]}[name]
        done = subprocess.run(program, input=json.dumps(order), text=True, stdout=subprocess.PIPE, check=True)
        self.release.delete(f"bench/{name}")
        return json.loads(done.stdout)

    # d

    def upload(self):
        file, request, gateway = self.samples.one(), self.request(), self.state["pids"]["gateway"]
        mib = file.stat().st_size / MIB
        encrypted = {"x-amz-server-side-encryption": "AES256"}

        def through_gateway():
            reset_peak(gateway)
            return {"seconds": request.upload([("data/one", file)]), "peak_rss_mib": peak(gateway)}

        def direct():
            url = s3.presign(self.buckets["quarantine"], "PUT", "bench/direct", headers=encrypted)
            seconds = people.curl(["fail", "silent", "show-error", 'header = "Expect:"', f'url = "{url}"',
                                   f'upload-file = "{file}"', 'output = "/dev/null"',
                                   *(f'header = "{name}: {value}"' for name, value in encrypted.items())])
            self.quarantine.delete("bench/direct")
            return {"seconds": seconds}

        ways = [("gateway", through_gateway), ("direct", direct)]
        runs = {name: [] for name, _ in ways}
        for number in range(self.pairs(3 if mib > 512 else 5)):
            say(f"upload of {mib:.0f} MiB, turn {number + 1}")
            for name, way in ways if number % 2 == 0 else ways[::-1]:
                runs[name].append(way())
                say(f"  {name}: {shown(runs[name][-1])}")
        self.results["upload"] = {"mib": mib, **runs}
        self.forget(request)

    # e

    def many(self):
        count = self.options.files
        say(f"{count} files of one kilobyte: uploading, 16 at once")
        request, runs = self.request(), {}
        runs["upload_seconds"] = request.upload(self.samples.many(count), at_once=16)
        say(f"  uploaded in {runs['upload_seconds']:.1f} s ({count / runs['upload_seconds']:.0f} a second); submitting")
        controller = self.state["pids"]["controller"]
        reset_peak(controller)
        runs["submit_to_frozen_seconds"] = request.submit()
        runs["freeze_peak_rss_mib"] = peak(controller)
        say(f"  frozen in {runs['submit_to_frozen_seconds']:.1f} s; approving")
        if len(request.files(self.quarantine)) != count:
            raise RuntimeError("not every file is there")
        runs.update(self.released(request))
        say(f"  {shown(runs)}")
        self.results["many"] = {"files": count, **runs}

    # g

    def big(self):
        files = [(f"{name}-{copy}", file) for copy in range(4) for name, file in self.samples.random()]
        mib = len(files) * self.samples.bytes // MIB
        say(f"one release of {mib} MiB: uploading")
        request = self.in_review(files)
        figures = self.released(request)
        say(f"  {shown(figures)}")
        self.results["big"] = {"mib": mib, **figures}
        self.forget(request)

    # h

    def inwards(self):
        say("one file comes in: sent, and confirmed")
        self.results["inwards"] = inwards.measure(self, ENVIRONMENT, self.pairs(3), say, self.configured)

    def configured(self, change):
        """Starts the operator anew with a changed configuration of the controller."""
        path = ENVIRONMENT / "controller.yaml"
        settings = json.loads(path.read_text())
        change(settings)
        path.write_text(json.dumps(settings, indent=2))
        driver("restart")
        self.load_state()

    # f

    def calls(self):
        """One small release by a controller whose S3 calls pass through counting proxies."""
        say("calls of one small release: the controller is started anew, behind counting proxies")
        proxies = {name: counting.Proxy(self.buckets[name]["endpoint"]) for name in ("quarantine", "release")}
        self.through(proxies)
        try:
            self.results["calls"] = self.counted(proxies)
        finally:
            self.through(None)

    def through(self, proxies):
        def change(settings):
            for name in ("quarantine", "release"):
                place = proxies[name].endpoint if proxies else self.buckets[name]["endpoint"]
                settings["storage"][name]["endpoint"] = place

        self.configured(change)

    def counted(self, proxies):
        small = self.samples.folder / "small"
        small.write_bytes(os.urandom(4096))
        request = self.in_review([(f"data/small-{number}", small) for number in range(3)])
        request.approve_first()
        time.sleep(2)
        admin = people.Kube(ENVIRONMENT, "admin")
        before = counting.api_requests(admin.text("/metrics"))
        request.approve("carol")
        released, _ = request.watch.released()
        time.sleep(1)
        api = counting.api_requests(admin.text("/metrics")) - before
        api["POST", "airlockreviews"] -= 1  # carol's own
        calls = sorted(call for proxy in proxies.values() for call in proxy.calls)
        decided = next(at for at, name, key in calls if key == request.fact("decision") and name == "PutObject")
        during = [(name, counting.subject(key)) for at, name, key in calls if decided <= at <= released]
        writes = [(name, what) for name, what in during if counting.is_write(name)]
        result = {
            "seconds": released - decided,
            "s3": tally(name for name, _ in during),
            "s3_writes": [f"{name} {what}" for name, what in writes],
            "s3_writes_without_ledger": sum(what != "ledger" for _, what in writes),
            "s3_reads": tally(f"{name} {what}" for name, what in during if not counting.is_write(name)),
            "api": {f"{verb} {resource}": int(count) for (verb, resource), count in sorted(api.items())
                    if count > 0 and resource != "leases" and resource},
        }
        result["api_writes"] = sum(count for call, count in result["api"].items()
                                   if call.split()[0] in ("POST", "PUT", "PATCH", "APPLY", "DELETE"))
        say(f"  {result['s3_writes_without_ledger']} S3 writes beside the ledger's, {result['api_writes']} API writes")
        return result


def tally(words):
    counts = {}
    for word in words:
        counts[word] = counts.get(word, 0) + 1
    return dict(sorted(counts.items()))


def master_port(server):
    """From the command line of the environment's process."""
    for entry in Path("/proc").iterdir():
        try:
            if entry.name.isdigit() and f"{ENVIRONMENT}#{server}".encode() in (entry / "environ").read_bytes():
                words = (entry / "cmdline").read_text().split("\0")
                return next(word.partition("=")[2] for word in words if word.startswith("-master.port="))
        except OSError:
            pass
    raise RuntimeError(f"{server} does not run")


def reset_peak(pid):
    Path(f"/proc/{pid}/clear_refs").write_text("5")


def peak(pid):
    return memory(pid, "VmHWM")


def resident(pid):
    return memory(pid, "VmRSS")


def memory(pid, field):
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(field)) / 1024


def shown(figures):
    return ", ".join(f"{name} {value:.2f}" if isinstance(value, float) else f"{name} {value}" for name, value in figures.items())


# The table

class Table:
    def __init__(self):
        self.rows, self.missed = [], 0

    def add(self, what, value, wanted="", reached=None):
        if reached is False:
            self.missed += 1
        verdict = "" if reached is None else "reached" if reached else "MISSED"
        self.rows.append((what, value, wanted, verdict))

    def text(self):
        widths = [max(len(row[column]) for row in self.rows) for column in range(4)]
        return "\n".join("  ".join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip() for row in self.rows)


def spread(values, unit="", digits=2):
    """The median, and between which values it lies."""
    middle = statistics.median(values)
    if len(values) == 1:
        return f"{middle:.{digits}f}{unit}"
    return f"{middle:.{digits}f}{unit} ({min(values):.{digits}f}-{max(values):.{digits}f}, n={len(values)})"


def of(runs, field):
    return [run[field] for run in runs]


def ratios(above, below, field="seconds"):
    """Turn by turn: how much longer the first took than the second."""
    return [one / other for one, other in zip(of(above, field), of(below, field))]


def report(bench):
    table = tabled(bench)
    result = {"time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()), "cpus": os.cpu_count(),
              "load_at_start": bench.load, "size_mib": bench.options.size_mib, "missed": table.missed,
              "results": bench.results, "table": table.rows}
    (OUT / "result.json").write_text(json.dumps(result, indent=1) + "\n")
    (OUT / "table.txt").write_text(table.text() + "\n")
    print(f"\n{table.text()}\n\n{table.missed} figures missed; on {os.cpu_count()} processors, load at the start "
          f"{bench.load:.1f}. All of it: target/bench/result.json")


def tabled(bench):
    table, results = Table(), bench.results
    table.add("WHAT", "MEDIAN (SPREAD)", "WANTED")
    mib = bench.samples.count * bench.samples.bytes // MIB
    for kind, name in (("random", f"{mib} MiB random, stored"), ("csv", f"{mib} MiB CSV, deflated")):
        if kind in results:
            done = {who: runs for who, runs in results[kind].items() if runs}  # a failure may leave some without
            package_rows(table, name, done, {"random": 2, "csv": 8}[kind])
    if "big" in results:
        big_rows(table, results["big"], results.get("random", {}).get("release"))
    if "upload" in results:
        upload_rows(table, results["upload"])
    if "inwards" in results:
        inwards.rows(table, results["inwards"], spread)
    if "many" in results:
        many_rows(table, results["many"])
    if "calls" in results:
        calls_rows(table, results["calls"])
    return table


def package_rows(table, name, runs, hoped):
    for who in runs:
        table.add(f"{name}: {who}", spread(of(runs[who], "seconds"), " s"))
    if "ceiling" in runs:
        table.add("  of which reading back: ceiling", spread(of(runs["ceiling"], "read_back_seconds"), " s"))
    if "release" in runs:
        table.add("  of which reading back: release", spread(of(runs["release"], "read_back_seconds"), " s"))
    if {"ceiling", "release"} <= set(runs):
        found = ratios(runs["ceiling"], runs["release"])
        table.add("  speed of release / ceiling", spread(found), ">= 0.85", statistics.median(found) >= 0.85)
    if {"python", "release"} <= set(runs):
        found = ratios(runs["python"], runs["release"])
        table.add("  speed of release / python", spread(found), f"hoped for: {hoped}")
    if "release" in runs:
        found = of(runs["release"], "peak_rss_mib")
        table.add("  peak RSS: controller", spread(found, " MiB", 0), "<= 96 MiB", max(found) <= 96)
    for who in ("ceiling", "python"):
        if who in runs:
            table.add(f"  peak RSS: {who}", spread(of(runs[who], "peak_rss_mib"), " MiB", 0))


def big_rows(table, big, usual):
    table.add(f"{big['mib']} MiB random: release", f"{big['seconds']:.2f} s ({big['mib'] / big['seconds']:.0f} MiB/s)")
    table.add("  peak RSS: controller", f"{big['peak_rss_mib']:.0f} MiB", "<= 96 MiB", big["peak_rss_mib"] <= 96)
    if usual:
        # What packing adds: other jobs came between, and left something in the process.
        grown = added(big) - max(map(added, usual))
        table.add("  added by packing, more than by a quarter of it", f"{grown:+.0f} MiB", "<= 4 MiB", grown <= 4)


def added(run):
    return run["peak_rss_mib"] - run["rss_before_mib"]


def upload_rows(table, runs):
    for who in ("gateway", "direct"):
        seconds = of(runs[who], "seconds")
        table.add(f"upload of {runs['mib']:.0f} MiB: {who}",
                  f"{spread(seconds, ' s')}, {runs['mib'] / statistics.median(seconds):.0f} MiB/s")
    found = ratios(runs["direct"], runs["gateway"])
    table.add("  speed of gateway / direct", spread(found), ">= 0.90", statistics.median(found) >= 0.9)
    table.add("  peak RSS: gateway", spread(of(runs["gateway"], "peak_rss_mib"), " MiB", 0))


def many_rows(table, many):
    table.add(f"{many['files']} files of 1 KiB: upload", f"{many['upload_seconds']:.1f} s")
    for field, words, most in (("submit_to_frozen_seconds", "submit to frozen", 15),
                               ("approved_to_released_seconds", "approve to Released", 60)):
        table.add(f"  {words}", f"{many[field]:.1f} s", f"<= {most} s", many[field] <= most)
    peak_rss = max(many["freeze_peak_rss_mib"], many["peak_rss_mib"])
    table.add("  peak RSS: controller", f"{peak_rss:.0f} MiB")


def calls_rows(table, calls):
    writes = calls["s3_writes_without_ledger"]
    table.add("one small release: S3 writes, ledger apart", str(writes), "<= 12", writes <= 12)
    table.add("  S3 writes of the ledger", str(len(calls["s3_writes"]) - writes))
    table.add("  S3 reads", str(sum(calls["s3_reads"].values())))
    table.add("  writes to the API server", str(calls["api_writes"]))
    table.add("  decision to Released", f"{calls['seconds']:.2f} s")


if __name__ == "__main__":
    main()

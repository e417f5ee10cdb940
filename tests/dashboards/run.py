#!/usr/bin/env python3
"""`make dashboards`: the pictures of the chart's two dashboards, from a real run.

    tests/run.sh dashboards                  ten minutes of a research environment, and the pictures of them
    tests/run.sh dashboards --seconds 120    shorter, to see that it works
    tests/run.sh dashboards --again          the pictures once more, of the last run

An environment comes up with short retention, a webhook that takes notifications and one that nobody
answers; a Prometheus scrapes controller and gateway; people do what life.py says; for half a minute
quarantine is out of reach. Then every query of every panel is asked for as Grafana asks for it
(board.py), and what came back is drawn (draw.py).
"""

import argparse
import asyncio
import contextlib
import http.server
import json
import shutil
import signal
import subprocess
import sys
import threading
import time
import urllib.request
from pathlib import Path
from urllib.parse import urlsplit

HERE = Path(__file__).resolve().parent
CHECKOUT = HERE.parents[1]
sys.path.insert(0, str(CHECKOUT / "tests/env"))

import board  # noqa: E402
import life  # noqa: E402
import ports  # noqa: E402
import processes  # noqa: E402
import tools  # noqa: E402

DRIVER = CHECKOUT / "tests/env/env.py"
ENVIRONMENT = CHECKOUT / "target/dashboards-env"
OUT = CHECKOUT / "target/dashboards"
PICTURES = CHECKOUT / "docs/dashboards"
BEGAN = time.monotonic()


def say(text):
    print(f"{time.monotonic() - BEGAN:6.1f} s  {text}", flush=True)


def driver(*command):
    subprocess.run([sys.executable, DRIVER, *command, "--dir", ENVIRONMENT], check=True)


class Desk(http.server.BaseHTTPRequestHandler):
    """A webhook's receiver. For a while it takes nothing."""

    away = False

    def do_POST(self):  # noqa: N802: the library's name
        self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(503 if Desk.away else 204)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_):
        pass


class Door:
    """The way to a server, which can be shut."""

    def __init__(self, address):
        self.target, self.shut, self.passing = urlsplit(address), False, set()
        self.loop = asyncio.new_event_loop()
        self.server = self.loop.run_until_complete(asyncio.start_server(self.enter, "127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self.server.sockets[0].getsockname()[1]}"
        threading.Thread(target=self.loop.run_forever, daemon=True).start()

    async def enter(self, reader, writer):
        if self.shut:
            writer.close()
            return
        inner_reader, inner_writer = await asyncio.open_connection(self.target.hostname, self.target.port)
        self.passing |= {writer, inner_writer}
        await asyncio.gather(self.carry(reader, inner_writer), self.carry(inner_reader, writer))
        self.passing -= {writer, inner_writer}

    async def carry(self, reader, writer):
        with contextlib.suppress(OSError):
            while piece := await reader.read(64 * 1024):
                writer.write(piece)
                await writer.drain()
        writer.close()

    def close(self):
        self.shut = True
        self.loop.call_soon_threadsafe(lambda: [writer.close() for writer in self.passing])


def configure(desk, quarantine):
    """What makes ten minutes as eventful as some months."""
    for process in ("controller", "gateway"):
        path = ENVIRONMENT / f"{process}.yaml"
        config = json.loads(path.read_text())
        config["storage"] |= {"quarantine_retention_seconds": 60, "release_retention_seconds": 90, "allow_short_retention": True}
        config["storage"]["quarantine"]["endpoint"] = quarantine
        config["controller"]["retention"] = {"look_seconds": 5}
        config["notifications"] = {
            "allowed_hosts": ["127.0.0.1"], "retry_seconds": 60,
            "channels": [{"name": name, "webhook": {"url": url, "allow_plaintext": True, "allow_unsigned": True}}
                         for name, url in (("desk", desk), ("chat", "http://127.0.0.1:9/"))]}
        path.write_text(json.dumps(config, indent=2))


@contextlib.contextmanager
def prometheus(addresses=None):
    """A Prometheus with what earlier ones stored, which scrapes if it is told what; gives its URL."""
    server, _ = tools.ensure_dashboards()
    OUT.mkdir(parents=True, exist_ok=True)
    processes.stop(OUT)  # what a killed run may have left
    jobs = [{"job_name": name, "scrape_interval": f"{board.SCRAPE}s", "static_configs": [
        # The labels that come with a PodMonitor.
        {"targets": [address], "labels": {"namespace": "trevor-system", "pod": f"trevor-{name}-0", "container": name}}]}
        for name, address in (addresses or {}).items()]
    (OUT / "prometheus.yaml").write_text(json.dumps({"scrape_configs": jobs}))
    held = ports.Ports()
    listen = f"127.0.0.1:{held.new()}"
    running = processes.start(OUT, "prometheus", [
        server, f"--config.file={OUT}/prometheus.yaml", f"--storage.tsdb.path={OUT}/data", f"--web.listen-address={listen}"])
    try:
        processes.wait_until(lambda: answers(f"http://{listen}/-/ready"), OUT, running, "prometheus", 60)
        yield f"http://{listen}"
    finally:
        running.terminate()
        running.wait(30)


def answers(url):
    try:
        return urllib.request.urlopen(url, timeout=2).status == 200
    except OSError:
        return False


def troubles(seconds, door):
    """The desk takes nothing for a while, and later nobody gets to quarantine."""
    time.sleep(0.3 * seconds)
    Desk.away = True
    time.sleep(0.1 * seconds)
    Desk.away = False
    time.sleep(0.22 * seconds)
    say("quarantine is out of reach")
    door.close()
    time.sleep(0.05 * seconds)
    door.shut = False
    say("quarantine is back")


def a_run(seconds):
    """Gives from when to when."""
    shutil.rmtree(OUT / "data", ignore_errors=True)
    receiver = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Desk)
    threading.Thread(target=receiver.serve_forever, daemon=True).start()
    driver("down")
    try:
        driver("up", "--no-operator")
        state = json.loads((ENVIRONMENT / "env.json").read_text())
        door = Door(state["buckets"]["quarantine"]["endpoint"])
        configure(f"http://127.0.0.1:{receiver.server_port}/", door.url)
        driver("restart")
        state = json.loads((ENVIRONMENT / "env.json").read_text())
        admin = life.Kube(ENVIRONMENT, "admin")
        admin.call("POST", f"/apis/{life.GROUP}/airlockpolicies", {
            "apiVersion": life.GROUP, "kind": "AirlockPolicy", "metadata": {"name": "dashboards"},
            "spec": {"namespaces": [life.PROJECT], "egress": {"phaseLimits": {"InReview": 90}}}})
        addresses = {"controller": state["addresses"]["controller"], "gateway": state["addresses"]["gateway_metrics"]}
        with prometheus(addresses):
            time.sleep(2 * board.SCRAPE)
            began = time.time()
            threading.Thread(target=troubles, args=(seconds, door), daemon=True).start()
            for failure in life.live(ENVIRONMENT, state, seconds, say):
                say(f"not as planned: {failure}")
            return began, time.time()
    finally:
        driver("down")


def main():
    options = arguments()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    span = OUT / "span.json"
    _, python = tools.ensure_dashboards()
    if not options.again:
        span.unlink(missing_ok=True)
        began, ended = a_run(options.seconds)
        span.write_text(json.dumps([began, ended]))
    began, ended = json.loads(span.read_text())
    with prometheus() as url:
        boards, problems = board.evaluated(url, began, ended)
    (OUT / "boards.json").write_text(json.dumps(boards))
    for problem in problems:
        say(problem)
    PICTURES.mkdir(exist_ok=True)
    subprocess.run([python, HERE / "draw.py", OUT / "boards.json", PICTURES], check=True)
    for picture in sorted(PICTURES.glob("*.png")):
        say(f"{picture.relative_to(CHECKOUT)}: {picture.stat().st_size / 1000:.0f} kB")
    return 1 if problems else 0


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=int, default=600, help="how long people work (default 600)")
    parser.add_argument("--again", action="store_true", help="no run: the pictures of the last one once more")
    return parser.parse_args()


if __name__ == "__main__":
    try:
        sys.exit(main())
    except tools.Failed as failure:
        sys.exit(f"error: {failure}")

"""The dashboards as an administrator gets them, and what their queries say: variables, time range and
step as in Grafana."""

import json
import math
import re
import subprocess
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path

import tools

CHECKOUT = Path(__file__).resolve().parents[2]
SCRAPE = 5  # seconds between two scrapes
POINTS = 720  # of a panel, as wide as it is drawn


def rendered():
    """Name to dashboard, out of the ConfigMaps that helm makes."""
    helm = tools.ensure()["helm"]
    values = CHECKOUT / "tests/chart/values/everything.yaml"
    done = subprocess.run([helm, "template", "trevor", CHECKOUT / "charts/trevor", "-n", "trevor-system", "-f", values,
                           "--show-only", "templates/monitoring/dashboards.yaml"], capture_output=True, text=True, check=True)
    # `quote` writes a string of JSON.
    found = re.findall(r"^  (\S+)\.json: (\".*\")$", done.stdout, re.MULTILINE)
    return {name: json.loads(json.loads(text)) for name, text in found}


class Prometheus:
    def __init__(self, url):
        self.url = url

    def get(self, path, **parameters):
        try:
            with urllib.request.urlopen(f"{self.url}/api/v1/{path}?{urllib.parse.urlencode(parameters)}", timeout=60) as answer:
                return json.load(answer)["data"]
        except urllib.error.HTTPError as refusal:
            raise tools.Failed(f"{path} {parameters}: {refusal.read().decode(errors='replace')}") from None


def choices(prometheus, variable, began, ended):
    """What a variable can be: `label_values(metric, label)`."""
    metric, label = re.fullmatch(r"label_values\((\w+), (\w+)\)", variable["query"]).groups()
    return prometheus.get(f"label/{label}/values", **{"match[]": metric, "start": began, "end": ended})


def substituted(text, values):
    return re.sub(r"\$\{(\w+)\}|\$(\w+)", lambda found: str(values[found[1] or found[2]]), text)


def interval(span):
    """The step: a round number, no shorter than a scrape."""
    rounds = (1, 2, 5, 10, 15, 20, 30, 60, 120, 300, 600, 900, 1800, 3600)
    return next(step for step in rounds if step >= max(span / POINTS, SCRAPE))


def evaluated(url, began, ended):
    """Every dashboard with its variables, and every target with its series; and what is wrong, in words."""
    prometheus, step, problems, boards = Prometheus(url), interval(ended - began), [], {}
    began, ended = math.floor(began / step) * step, math.floor(ended / step) * step
    for name, dashboard in rendered().items():
        values = {"__interval": f"{step}s", "__rate_interval": f"{max(step + SCRAPE, 4 * SCRAPE)}s",
                  "__range": f"{ended - began}s"}
        shown = []
        for variable in dashboard["templating"]["list"]:
            found = ["Prometheus"] if variable["type"] == "datasource" else choices(prometheus, variable, began, ended)
            values[variable["name"]] = found[0]
            shown.append([variable["label"], found[0]])
        for panel in dashboard["panels"]:
            for target in panel.get("targets", []):
                try:
                    result = prometheus.get("query_range", query=substituted(target["expr"], values), start=began, end=ended, step=step)
                except tools.Failed as failure:
                    result = {"result": []}
                    problems.append(f"{name}: {panel['title']}: {failure}")
                target["series"] = [{"name": legend(target, series["metric"]),
                                     "points": [[at, float(value)] for at, value in series["values"]]}
                                    for series in result["result"]]
                if not target["series"]:
                    problems.append(f"{name}: {panel['title']} ({target.get('legendFormat')}): nothing")
        boards[name] = {**dashboard, "shown": shown, "range": [began, ended], "step": step}
    return boards, problems


def legend(target, labels):
    return re.sub(r"\{\{\s*(\w+)\s*\}\}", lambda found: labels.get(found[1], ""), target.get("legendFormat", ""))

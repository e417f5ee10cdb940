"""Alert rules and dashboards: a runbook for each, and no metric that the operator does not have."""

import json
import re

from render import CHART, HERE, documents, find, rendered

RULES = CHART / "files/alerts.yaml"
REPOSITORY = HERE.parents[1]


def rules():
    return [rule for group in documents(RULES.read_text())[0]["groups"] for rule in group["rules"]]


def test_each_alert_has_a_runbook_and_each_runbook_an_alert():
    names = {rule["alert"] for rule in rules()}
    assert names == {path.stem for path in (REPOSITORY / "docs/runbooks").glob("*.md")}
    rendered_rule = find(rendered("everything"), "PrometheusRule", "trevor")
    for rule in rendered_rule["spec"]["groups"][0]["rules"]:
        assert rule["annotations"]["runbook"] == f"docs/runbooks/{rule['alert']}.md"
        assert rule["annotations"]["summary"] and rule["labels"]["severity"] in ("critical", "warning")
    linked = find(rendered("everything", 'monitoring.prometheus_rule.runbook_url="https://docs.example/r/"'), "PrometheusRule", "trevor")
    assert linked["spec"]["groups"][0]["rules"][0]["annotations"]["runbook_url"] == "https://docs.example/r/TrevorRulesNotLive.md"


def test_each_alert_is_tried_on_series():
    tried = set(re.findall(r"alertname: (\w+)", (HERE / "alerts_test.yaml").read_text()))
    assert {rule["alert"] for rule in rules()} == tried


def test_dashboards_are_json_in_configmaps():
    docs = rendered("everything")
    for name in ("requests", "gateway"):
        board = json.loads(find(docs, "ConfigMap", f"trevor-dashboard-{name}")["data"][f"{name}.json"])
        assert board["panels"] and len({panel["id"] for panel in board["panels"]}) == len(board["panels"])
        assert all(target["expr"] for panel in board["panels"] for target in panel["targets"])


def test_nothing_for_prometheus_unless_asked_for():
    assert not [doc for doc in rendered("smallest") if doc["apiVersion"].startswith("monitoring.coreos.com")]

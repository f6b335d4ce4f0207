"""The monitoring profile: Prometheus finds all replicas, and all queries of dashboard and alerts are valid."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
import yaml

from tests.conftest import ROOT
from tests.docker.stack import PNG, Stack, docker, until

IMAGE = "rosette-test-prometheus"
MONITORING = ROOT / "docker" / "monitoring"
DASHBOARD = json.loads((MONITORING / "dashboards" / "rosette.json").read_text())


@pytest.fixture(scope="module")
def stack(new_stack: Callable[..., Stack]) -> Stack:
    folder = ROOT / "tests" / "docker"
    docker("build", "--quiet", "--file", str(folder / "prometheus.Dockerfile"), "--tag", IMAGE, str(folder))
    stack = new_stack("monitoring", PROMETHEUS_IMAGE=IMAGE)
    stack.up("--scale", "app=2")
    stack.script("monitor.sh", "prometheus")
    return stack


def ask(stack: Stack, path: str, *queries: str) -> list[dict[str, Any]]:
    """Prometheus' answers, asked from within its own network."""
    program = f"""
import json, urllib.error, urllib.parse, urllib.request
answers = []
for query in {queries or ("",)!r}:
    url = 'http://127.0.0.1:9090/api/v1/{path}?' + urllib.parse.urlencode({{'query': query}})
    try: answers.append(json.load(urllib.request.urlopen(url)))
    except urllib.error.HTTPError as error: answers.append({{'query': query}} | json.load(error))
print(json.dumps(answers))
"""
    answers = json.loads(stack.python("prometheus", program))
    assert [each for each in answers if each["status"] != "success"] == []
    return [each["data"] for each in answers]


def test_the_key_is_made_once_and_reads_figures_alone(stack: Stack, png: bytes) -> None:
    key = stack.secret("metrics_key")
    stack.script("monitor.sh", "prometheus")
    assert stack.secret("metrics_key") == key
    with stack.client(key.strip()) as client:
        assert client.post("/predict", content=png, headers=PNG).status_code == 403


def test_every_replica_is_found(stack: Stack) -> None:
    until(lambda: len(ask(stack, "targets")[0]["activeTargets"]) == 2, 30, "two targets")


def test_figures_are_read(stack: Stack) -> None:
    query = 'sum(up{job="rosette"})'
    until(lambda: [each["value"][1] for each in ask(stack, "query", query)[0]["result"]] == ["2"], 300, "two scrapes")


def test_the_alerts_are_loaded(stack: Stack) -> None:
    [group] = ask(stack, "rules")[0]["groups"]
    written = yaml.safe_load((MONITORING / "alerts.yml").read_text())["groups"][0]["rules"]
    assert [rule["name"] for rule in group["rules"]] == [rule["alert"] for rule in written]
    assert [rule["lastError"] for rule in group["rules"] if rule.get("lastError")] == []


def test_every_panel_asks_what_prometheus_understands(stack: Stack) -> None:
    queries = [target["expr"] for panel in DASHBOARD["panels"] for target in panel["targets"]]
    assert len(ask(stack, "query", *queries)) >= len(DASHBOARD["panels"]) > 0


def test_prometheus_finds_no_way_out(stack: Stack) -> None:
    routes = stack.python("prometheus", "print(open('/proc/net/route').read())").splitlines()[1:]
    assert [route for route in routes if route.split()[1] == "00000000"] == []


def test_grafanas_files_fit_each_other() -> None:
    [source] = yaml.safe_load((MONITORING / "datasource.yml").read_text())["datasources"]
    assert {panel["datasource"]["uid"] for panel in DASHBOARD["panels"]} == {source["uid"]}
    compose = yaml.safe_load((ROOT / "docker" / "compose.yaml").read_text())
    mounts = dict(volume.split(":")[:2] for volume in compose["services"]["grafana"]["volumes"])
    [provider] = yaml.safe_load((MONITORING / "provider.yml").read_text())["providers"]
    assert mounts["./monitoring/dashboards"] == provider["options"]["path"]

"""Slides are scored one at a time, with the bits of patches, and go on after a kill."""

from __future__ import annotations

import csv
import io
import json
import os
import random
import re
import signal
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from time import sleep
from typing import Any

import httpx
import numpy as np
import pytest

from app.access.caller import Role
from app.records.filters import first_id
from app.records.slide_runs import SlideRun, SlideRuns
from tests.app.conftest import TESTER, RunningServer, assert_problem
from tests.app.slides.conftest import listed
from tests.conftest import shipped_artifact
from tests.homes import furnish
from tests.installed import rosette
from tests.model_zoo.resealing import with_manifest
from tests.processes import KEY, family, serving
from tests.web.conftest import signed_in

PLAIN = {"rotations": "none", "shifts": "none"}
PRODUCTS = ("cells.csv", "regions.geojson", "heatmap.png", "report.html")


def followed(client: httpx.Client, location: str) -> dict[str, Any]:
    """The run when it has ended."""
    while True:
        run: dict[str, Any] = client.get(location).json()
        if run["state"] not in {"queued", "running"}:
            return run
        sleep(0.05)


@pytest.fixture(scope="module")
def asker(offered: RunningServer) -> Iterator[httpx.Client]:
    """A key of role predict, whose runs others do not see."""
    with offered.new_client(Role.PREDICT) as client:
        yield client


@pytest.fixture(scope="module")
def complete(offered: RunningServer, asker: httpx.Client) -> dict[str, Any]:
    slide_id = listed(offered)["ward 7/Ada Lovelace.svs"]["id"]
    started = asker.post(f"/slides/{slide_id}/scores", json=PLAIN | {"prevalence": 0.2})
    assert started.status_code == 202
    assert started.json()["state"] == "queued"
    run = followed(asker, started.headers["location"])
    assert (run["state"], run["reason"]) == ("complete", "")
    return run


def test_a_run_has_the_cells_of_the_command(
    asker: httpx.Client, complete: dict[str, Any], folder: Path, tmp_path: Path
) -> None:
    assert complete["done"] == complete["total"] == 15 * 12
    assert complete["prevalence"] == 0.2
    assert complete["scope"]["verdict"] in {"in_scope", "out_of_scope", "unknown"}
    slide = folder / "ward 7" / "Ada Lovelace.svs"
    plain = ("--rotations", "none", "--shifts", "none", "--model", shipped_artifact())
    rosette("slide", "score", slide, "--out", tmp_path, *plain)
    [made] = tmp_path.glob("*/cells.csv")
    assert asker.get(f"/runs/{complete['id']}/cells.csv").text == made.read_text()


def test_results_hold_no_name_of_the_file_and_run_nothing(asker: httpx.Client, complete: dict[str, Any]) -> None:
    for name in PRODUCTS:
        response = asker.get(f"/runs/{complete['id']}/{name}")
        assert response.status_code == 200
        assert response.content
        for word in (b"Ada", b"Lovelace", b"ward"):
            assert word not in response.content
    report = asker.get(f"/runs/{complete['id']}/report.html")
    assert report.headers["content-security-policy"].startswith("sandbox; default-src 'none';")
    assert report.headers["content-type"] == "text/html; charset=utf-8"
    regions = asker.get(f"/runs/{complete['id']}/regions.geojson").json()
    assert "research use only" in json.dumps(regions).lower()
    assert complete["slide_id"] in json.dumps(regions)


def test_another_model_of_the_release_scores_where_it_is_asked_for(tmp_path: Path, folder: Path) -> None:
    """The page offers what the API takes; a model that nobody activated is no choice."""
    with RunningServer(tmp_path / "home", None, slides=str(folder), deadline_s=300) as running:
        client, slide = running.client, listed(running)["ward 7/Ada Lovelace.svs"]["id"]
        ids = {each["name"]: each["id"] for each in client.get("/admin/models").json()["models"]}

        def score(**wanted: str) -> httpx.Response:
            return client.post(f"/slides/{slide}/scores", json=PLAIN | wanted)

        run = followed(client, score(model="fast").headers["location"])
        assert (run["state"], run["model"]) == ("complete", ids["fast"])
        cells = client.get(f"/runs/{run['id']}/cells.csv").text
        assert score(model=ids["fast"]).json()["model"] == ids["fast"]
        waiting = score().json()
        assert waiting["model"] == ids["accurate"]
        assert client.post(f"/runs/{waiting['id']}/cancel").status_code == 200
        other = with_manifest(shipped_artifact(name="fast").read_bytes(), version="9.9.9")
        added = client.post("/admin/models", content=other, headers={"Content-Type": "application/octet-stream"})
        assert client.post(f"/admin/models/{ids['balanced']}/retire").status_code == 200
        for wanted in ("balanced", added.json()["id"], "none such"):
            assert_problem(score(model=wanted), 404, "unknown-model")
        with closing(signed_in(running, running.key)) as browser:
            page = browser.get("/ui/slides").text
            cancelled = browser.get(f"/ui/slides/runs/{waiting['id']}").text
        assert "Scored by accurate 0.7" in cancelled
        assert f'name="model" value="{ids["accurate"]}"' in cancelled, "again by the same model"
        choices = page.partition('name="model"')[2].partition("</select>")[0]
        assert re.findall(r'<option value="(\w{64})">', choices) == [ids["accurate"], ids["fast"]]
    plain = ("--rotations", "none", "--shifts", "none", "--model", "fast")
    rosette("slide", "score", folder / "ward 7" / "Ada Lovelace.svs", "--out", tmp_path / "out", *plain)
    [made] = (tmp_path / "out").glob("*/cells.csv")
    assert made.read_text() == cells
    assert "5 cells" in rosette("slide", "verify", made.parent, "--cells", "5", ROSETTE_MODEL="none such")


def test_who_sees_a_run(offered: RunningServer, asker: httpx.Client, complete: dict[str, Any]) -> None:
    run, slide = f"/runs/{complete['id']}", f"/slides/{complete['slide_id']}"
    assert asker.get("/runs").json()["runs"] == [complete]
    assert asker.get(slide).json()["last_run"] == complete
    for role in (Role.READ, Role.REVIEW, Role.ADMIN):
        with offered.new_client(role) as client:
            assert complete in client.get("/runs", params={"slide": complete["slide_id"]}).json()["runs"]
            assert client.get(run).json() == complete
            assert client.get(f"{run}/heatmap.png").status_code == 200
    with offered.new_client(Role.PREDICT) as other:
        assert other.get("/runs").json() == {"runs": [], "next": None}
        assert other.get(slide).json()["last_run"] is None
        for path in (run, *(f"{run}/{name}" for name in PRODUCTS)):
            assert_problem(other.get(path), 404, "unknown-run")
        assert_problem(other.post(f"{run}/cancel"), 404, "unknown-run")
        assert_problem(other.get(f"{slide}/cells/0/0.png", params={"run": complete["id"]}), 404, "unknown-run")


READS = (
    *("/slides", "/slides/{slide}", "/slides/{slide}/thumbnail", "/slides/{slide}/tiles/0/0_0.jpeg"),
    *("/slides/{slide}/cells/0/0.png", "/runs", "/runs/{run}", *(f"/runs/{{run}}/{name}" for name in PRODUCTS)),
)


@pytest.mark.parametrize("role", sorted(Role))
def test_every_route_by_role(offered: RunningServer, complete: dict[str, Any], role: Role) -> None:
    with offered.new_client(role) as client:
        for path in READS:
            answer = client.get(path.format(slide=complete["slide_id"], run=complete["id"]))
            if role is Role.METRICS:
                assert_problem(answer, 403, "forbidden")
            elif role in {Role.PREDICT, Role.PATHOLOGIST} and "{run}" in path:
                assert_problem(answer, 404, "unknown-run")
            else:
                assert answer.status_code == 200, path
        for name in ("probability.dcm", "regions.dcm"):  # which hold the patient's name, and no run of an SVS has
            answer = client.get(f"/runs/{complete['id']}/{name}")
            if role in {Role.READ, Role.REVIEW, Role.ADMIN}:
                assert_problem(answer, 409, "run-state")
            else:
                assert_problem(answer, 403, "forbidden")
        start = client.post(f"/slides/{complete['slide_id']}/scores", json={"rotations": "no"})
        cancel = client.post(f"/runs/{complete['id']}/cancel")
        if role in {Role.PREDICT, Role.PATHOLOGIST, Role.ADMIN}:
            assert_problem(start, 422, "invalid-json")
            assert cancel.status_code == (409 if role is Role.ADMIN else 404)
        else:
            assert_problem(start, 403, "forbidden")
            assert_problem(cancel, 403, "forbidden")


def test_one_runs_while_the_next_waits_and_is_cancelled(offered: RunningServer, complete: dict[str, Any]) -> None:
    client = offered.client
    scores = f"/slides/{complete['slide_id']}/scores"
    first = client.post(scores, json=PLAIN).headers["location"]
    second = client.post(scores, json=PLAIN).headers["location"]
    while client.get(first).json()["state"] == "queued":
        sleep(0.02)
    assert client.get(second).json()["state"] == "queued"
    assert_problem(client.get(f"{second}/cells.csv"), 409, "run-state")
    assert client.post(f"{second}/cancel").json()["state"] == "cancelled"
    assert client.post(f"{first}/cancel").json()["state"] == "cancelled"
    for run in (first, second):
        assert_problem(client.post(f"{run}/cancel"), 409, "run-state")
        assert_problem(client.get(f"{run}/report.html"), 409, "run-state")
    third = followed(client, client.post(scores, json=PLAIN).headers["location"])
    assert third["state"] == "complete"  # the cancelled ones have made room
    told = client.get("/admin/audit", params={"limit": 200}).json()["entries"]
    actions = [(entry["action"], entry["subject"]) for entry in told]
    for run in (first, second):
        assert ("slide.run", run.removeprefix("/runs/")) in actions
        assert ("slide.cancel", run.removeprefix("/runs/")) in actions
    figures = client.get("/metrics").text
    assert 'rosette_slide_runs_total{state="complete"}' in figures
    assert "rosette_slide_cells_total" in figures


def test_a_process_that_is_killed_goes_on(offered: RunningServer, complete: dict[str, Any]) -> None:
    scores = f"/slides/{complete['slide_id']}/scores"
    location = offered.client.post(scores, json=PLAIN).headers["location"]
    while not (scoring := [pid for pid in family(os.getpid()) if "scoring_child" in _command(pid)]):
        sleep(0.02)
    os.kill(scoring[0], signal.SIGKILL)
    assert followed(offered.client, location)["state"] == "complete"


def _command(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_text()
    except OSError:
        return ""


def test_a_real_slide_over_a_kill_of_the_server_has_the_bits_of_predict(
    shared: Path, tmp_path: Path, artifact_path: Path
) -> None:
    folder = shared / "slides"
    if not (folder / "CMU-1-Small-Region.svs").exists():
        pytest.skip(f"no slide in {folder}")
    furnish(tmp_path, artifact_path)
    settings = {"ROSETTE_SLIDES": str(folder), "ROSETTE_ADMIN_KEY": KEY, "ROSETTE_DEADLINE_S": "300"}
    headers = {"Authorization": f"Bearer {KEY}"}
    with serving(tmp_path, artifact_path, **settings) as server:
        with httpx.Client(base_url=server.wait_until_it_listens(), headers=headers, timeout=300) as client:
            slides = client.get("/slides").json()["slides"]
            [slide] = [each["id"] for each in slides if each["name"] == "CMU-1-Small-Region.svs"]
            run = client.post(f"/slides/{slide}/scores", json=PLAIN).headers["location"]
            while (before := client.get(run).json())["total"] == 0:
                assert before["state"] in {"queued", "running"}
            assert before["state"] == "running"
        os.kill(server.process.pid, signal.SIGKILL)
    with (
        serving(tmp_path, artifact_path, **settings) as server,
        httpx.Client(base_url=server.wait_until_it_listens(), headers=headers, timeout=300) as client,
    ):
        after = followed(client, run)
        assert after["state"] == "complete"
        assert after["started_at"] == before["started_at"]
        assert after["scope"]["verdict"] == "out_of_scope"  # it is skin
        rows = list(csv.DictReader(io.StringIO(client.get(f"{run}/cells.csv").text)))
        assert len(rows) == after["total"]
        scored = [row for row in rows if row["state"] == "scored"]
        assert len(scored) > 500
        for row in random.Random(7).sample(scored, 20):
            cell = client.get(f"/slides/{slide}/cells/{row['column']}/{row['row']}.png")
            answer = client.post(
                "/predict", content=cell.content, headers={"Content-Type": "image/png"}, params={"rotations": "none"}
            ).json()
            logits = [np.float32(float.fromhex(row[name])) for name in ("logit_0", "logit_1")]
            assert np.float32(answer["logits"]).tobytes() == np.array(logits).tobytes()
            assert answer["probability"] == float(row["probability"])


def test_old_runs_are_deleted_with_their_files(tmp_path: Path, artifact_path: Path) -> None:
    folder = tmp_path / "offered"
    folder.mkdir()
    settings: dict[str, Any] = {"slides": str(folder), "admin_key": KEY}
    home = tmp_path / "home"
    with RunningServer(home, artifact_path, **settings) as running:
        runs = SlideRuns(running.services.database, running.services.audit)
        place = running.services.slides._workplace.name
        now = datetime.now(UTC)
        old, young = (first_id(now - timedelta(days=days)) for days in (9, 1))
        for run_id in (old, young):
            assert runs.add(_made(run_id, now), place, TESTER, 10)
            (home / "slides" / "runs" / run_id).mkdir(parents=True)
        (home / "slides" / "runs" / "nobody's").mkdir()
    with RunningServer(home, artifact_path, **settings, retention_days=7) as running:
        while (home / "slides" / "runs" / "nobody's").exists():
            sleep(0.02)
        assert [run["id"] for run in running.client.get("/runs").json()["runs"]] == [young]
        assert [path.name for path in (home / "slides" / "runs").iterdir()] == [young]
        entries = running.client.get("/admin/audit").json()["entries"]
        [told] = [entry for entry in entries if entry["action"] == "slide.retention"]
        assert json.loads(told["after"])["deleted"] == 1


def _made(run_id: str, at: datetime) -> SlideRun:
    return SlideRun(
        id=run_id,
        slide_id="0" * 32,
        state="failed",
        model="0" * 64,
        key_id="nobody",
        prevalence=0.1,
        rotations="none",
        shifts="none",
        done=0,
        total=0,
        reason="A test made it.",
        created_at=at,
        started_at=None,
        finished_at=at,
        scope=None,
    )

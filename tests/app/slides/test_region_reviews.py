"""People's verdicts on regions: stored beside the run, in the audit trail, deleted with the run."""

from __future__ import annotations

import json
import re
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from uuid import uuid4

import pytest
from markupsafe import escape
from sqlalchemy import Engine, update

from app.access.caller import Role
from app.records.audit import AuditTrail
from app.records.database import transaction
from app.records.migrations import migrate
from app.records.region_reviews import RegionReviews
from app.records.slide_runs import SlideRuns
from app.records.tables import slide_runs
from tests.app.conftest import TESTER, RunningServer, assert_problem
from tests.app.slides.conftest import listed
from tests.app.slides.test_run_rows import new_run
from tests.slides.synthetic import run_folder
from tests.web.conftest import signed_in

DRAWING = ["..9#....", "..99..8#", "......88"]


def test_rows_on_both_databases(database: Engine) -> None:
    migrate(database)
    audit = AuditTrail(database)
    runs, reviews = SlideRuns(database, audit), RegionReviews(database, audit)
    run = new_run()
    assert runs.add(run, "here", TESTER, 9)
    assert reviews.add(run.id, 1, 0.9, "agree", "", TESTER) is None
    assert runs.change(run.id, state="complete")
    first = reviews.add(run.id, 2, 0.9, "disagree", "ink", TESTER)
    second = reviews.add(run.id, 2, 0.9, "unsure", "", TESTER)
    assert reviews.of(run.id) == [first, second]
    assert reviews.of(str(uuid4())) == []
    assert runs.delete_before("ffffffff", "here", 1) == [run.id]
    assert reviews.of(run.id) == []
    assert audit.verify().broken is None


@pytest.fixture
def run_id(offered: RunningServer) -> str:
    """A complete run with two regions, as the process that scores leaves it."""
    slides = offered.services.slides
    runs = SlideRuns(offered.services.database, offered.services.audit)
    slide_id = listed(offered)["ward 7/Ada Lovelace.svs"]["id"]
    run = replace(new_run(), slide_id=slide_id, state="complete")  # one that waits would be scored
    assert runs.add(run, slides._workplace.name, TESTER, 100)
    folder = run_folder(slides._workplace.make(run.id) / "slide-00000000", DRAWING)
    _write(folder)
    scope = {"verdict": "unknown", "cells": 3, "figures": [], "reference": "r", "text": "Too few cells."}
    with transaction(offered.services.database) as connection:
        ended = {"scope": json.dumps(scope), "finished_at": datetime.now(UTC)}
        connection.execute(update(slide_runs).where(slide_runs.c.id == run.id).values(**ended))
    return run.id


def _write(folder: Path) -> None:
    from slides.products import write
    from slides.regions import Rule

    write(folder, Rule(min_area_mm2=0.0))


def test_verdicts_are_added_and_told(offered: RunningServer, run_id: str) -> None:
    run = f"/runs/{run_id}"
    with offered.new_client(Role.REVIEW) as client:
        before = client.get(f"{run}/regions.geojson").content
        assert len(json.loads(before)["features"]) == 2
        assert client.get(f"{run}/reviews").json() == {"reviews": []}
        for region, verdict in ((1, "agree"), (2, "disagree"), (2, "unsure")):
            response = client.post(f"{run}/regions/{region}/reviews", json={"verdict": verdict, "note": "seen"})
            assert response.status_code == 201, response.text
        given = client.get(f"{run}/reviews").json()["reviews"]
        assert [(each["region"], each["verdict"]) for each in given] == [(1, "agree"), (2, "disagree"), (2, "unsure")]
        assert client.get(f"{run}/regions.geojson").content == before
        assert_problem(client.post(f"{run}/regions/3/reviews", json={"verdict": "agree"}), 404, "unknown-part")
        assert_problem(client.post(f"{run}/regions/1/reviews", json={"verdict": "perhaps"}), 422, "invalid-json")
        assert client.post(f"{run}/regions/0/reviews", json={"verdict": "agree"}).status_code == 422
        other = f"/runs/{uuid4()}"
        assert_problem(client.post(f"{other}/regions/1/reviews", json={"verdict": "agree"}), 404, "unknown-run")
        assert_problem(client.get(f"{other}/reviews"), 404, "unknown-run")
    entries = offered.client.get("/admin/audit", params={"limit": 200}).json()["entries"]
    told = [json.loads(each["after"]) for each in entries if each["action"] == "slide.review"]
    assert [(each["region"], each["verdict"]) for each in reversed(told)] == [
        (1, "agree"),
        (2, "disagree"),
        (2, "unsure"),
    ]
    assert 0 < told[0]["probability"] <= 1
    for role in (Role.PREDICT, Role.READ, Role.METRICS):
        with offered.new_client(role) as client:
            answer = client.post(f"{run}/regions/1/reviews", json={"verdict": "agree"})
            assert_problem(answer, 403, "forbidden")
            assert_problem(client.get(f"{run}/reviews"), 403, "forbidden")


def test_the_page_stores_a_verdict_of_a_reviewer(offered: RunningServer, run_id: str) -> None:
    page = f"/ui/slides/runs/{run_id}"
    with closing(signed_in(offered, offered.new_key(Role.REVIEW))) as client:
        shown = client.get(page, params={"map": "shown"}).text
        assert shown.count('class="judging"') == 2
        token = re.findall(r'data-csrf="([^"]+)"', shown)[0]
        form = {"csrf": token, "verdict": "disagree"}
        stored = client.post(f"{page}/regions/2/review", data=form)
        assert stored.json()["verdict"] == "disagree"
        assert client.post(f"{page}/regions/2/review", data=form | {"verdict": ""}).status_code == 422
        assert client.post(f"{page}/regions/2/review", data=form | {"csrf": "x"}).status_code == 403
        assert client.post(f"{page}/regions/9/review", data=form).status_code == 404
        again = client.get(page, params={"map": "shown"}).text
        assert again.count('<span class="verdict disagree">') == 1
        assert str(escape(stored.json()["reviewer"])) in again
    with closing(signed_in(offered, offered.new_key(Role.READ))) as client:
        assert "judging" not in client.get(page, params={"map": "shown"}).text


def test_a_pathologist_judges_regions_of_own_runs(offered: RunningServer, run_id: str) -> None:
    page = f"/ui/slides/runs/{run_id}"
    made = offered.services.keys.add(Role.PATHOLOGIST, "Dr. Own", TESTER)
    form = {"csrf": "", "verdict": "agree"}
    with closing(signed_in(offered, made.key)) as client:
        assert client.get(page, params={"map": "shown"}).status_code == 404
        with transaction(offered.services.database) as connection:
            connection.execute(update(slide_runs).where(slide_runs.c.id == run_id).values(key_id=made.id))
        shown = client.get(page, params={"map": "shown"}).text
        assert shown.count('class="judging"') == 2
        form["csrf"] = re.findall(r'data-csrf="([^"]+)"', shown)[0]
        assert client.post(f"{page}/regions/1/review", data=form).json()["verdict"] == "agree"

"""Acceptance tests on people's verdicts: the rule, the rows that are read, and the command, API and page."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import Engine, update

from app.access.caller import Role
from app.diagnosis.example import EXAMPLE
from app.records.agreement import Agreement, Month
from app.records.audit import Actor, AuditTrail
from app.records.database import transaction
from app.records.entry import insert_new
from app.records.migrations import migrate
from app.records.region_reviews import RegionReviews
from app.records.reviews import Reviews
from app.records.slide_runs import SlideRuns
from app.records.tables import slide_runs
from app.slides.workplace import Workplace
from app.verdict_test import VerdictTest
from model_zoo.acceptance import AcceptanceReport, Outcome, SiteFigure
from model_zoo.artifact import parse
from model_zoo.manifest import Manifest
from model_zoo.orbit import Rotations
from model_zoo.slide_scope import slide_reference
from model_zoo.verdict_acceptance import judge_verdicts, rule_on_verdicts, verdict_scope
from model_zoo.verdict_figures import DrawnAnswer, JudgedRegion, answer_figures, region_figures
from tests.app.conftest import TESTER, RunningServer, answer_of, assert_problem, database, entry_of, postgres, sqlite
from tests.app.slides.test_run_rows import new_run
from tests.installed import rosette
from tests.slides.synthetic import run_folder
from tests.web.conftest import signed_in

__all__ = ["database", "postgres", "sqlite"]

ANNE, BEN = Actor("Anne (1)"), Actor("Ben (2)")
DRAWING = ["..9#....", "..99..8#", "......88"]
Change = Callable[[list[DrawnAnswer]], Sequence[DrawnAnswer]]


@pytest.fixture(scope="module")
def manifest(artifact_path: Path) -> Manifest:
    return parse(artifact_path.read_bytes())[1]


def drawn(number: int) -> DrawnAnswer:
    """Of every 20 answers 6 are positive and 10 negative, a 17th of them wrong; 4 are left to a person."""
    decision = "positive" if number % 20 < 6 else "negative" if number % 20 < 16 else "review"
    return DrawnAnswer(
        patch=f"{number:064x}",
        group=f"slide {number % 23}",
        named=True,
        basis="orbit",
        decision=decision,
        probability={"positive": 0.93, "negative": 0.07, "review": 0.5}[decision],
        max_deviation=0.02,
        stain_distance=1.0,
        verdict=None if decision == "review" else "disagree" if number % 17 == 0 else "agree",
    )


def outcome_of(answers: Sequence[DrawnAnswer], manifest: Manifest) -> tuple[Outcome, list[bool]]:
    scope = verdict_scope(answers, manifest, slide_reference())
    rule = rule_on_verdicts(manifest, "orbit")
    outcome, checks = judge_verdicts(rule, answers, answer_figures(answers, manifest), scope)
    return outcome, [check.passed for check in checks]


def swapped(answer: DrawnAnswer) -> DrawnAnswer:
    other = {"agree": "disagree", "disagree": "agree"}
    return replace(answer, verdict=other.get(answer.verdict or ""))


@pytest.mark.parametrize(
    ("change", "outcome", "unmet"),
    [
        (lambda answers: answers, "passed", []),
        (lambda answers: [swapped(each) for each in answers], "failed", [6, 7, 8, 9]),
        (lambda answers: answers[:100], "no_outcome", [0, 6, 7]),
        (lambda answers: [replace(each, verdict=None) for each in answers[:40]] + answers[40:], "no_outcome", [1]),
        (lambda answers: [replace(each, named=each.patch[-1] != "1") for each in answers], "no_outcome", [2]),
        (lambda answers: [replace(each, group="one slide") for each in answers], "no_outcome", [2]),
        (lambda answers: [replace(each, stain_distance=4.0) for each in answers], "out_of_scope", [3]),
        (lambda answers: answers + [replace(each, decision="review") for each in answers], "failed", [5]),
    ],
)
def test_the_rule(manifest: Manifest, change: Change, outcome: Outcome, unmet: list[int]) -> None:
    found, met = outcome_of(change([drawn(number) for number in range(240)]), manifest)
    assert (found, [number for number, passed in enumerate(met) if not passed]) == (outcome, unmet)


def test_a_model_with_a_stain_reference_of_its_own_has_no_outcome(manifest: Manifest) -> None:
    """Its recorded stain distances cannot be compared with the bound: it did not fail."""
    quality = manifest.quality.model_copy(update={"stain_mean": (0.4, 0.6, 0.4)})
    found, met = outcome_of([drawn(number) for number in range(240)], manifest.model_copy(update={"quality": quality}))
    assert (found, [number for number, passed in enumerate(met) if not passed]) == ("no_outcome", [3])


def test_the_limits_are_known_before_a_verdict_is_read(manifest: Manifest) -> None:
    accuracy = next(m for m in manifest.metrics if (m.name, m.split, m.basis) == ("accuracy", "test", "single"))
    limits = {each.figure: each.limit for each in rule_on_verdicts(manifest, "single").criteria}
    assert limits["mean of sensitivity and specificity"] == accuracy.value
    assert limits["specificity"] == pytest.approx(accuracy.value - 0.1)
    assert "states no accuracy" in rule_on_verdicts(manifest.model_copy(update={"metrics": ()})).fault


def figure(figures: Sequence[SiteFigure], name: str) -> SiteFigure:
    return next(each for each in figures if each.name.startswith(name))


def test_errors_on_few_slides_widen_the_intervals(manifest: Manifest) -> None:
    spread = [drawn(number) for number in range(240)]
    wrong = {each.patch for each in spread if each.verdict == "disagree"}
    together = [replace(each, group="bad" if each.patch in wrong else each.group) for each in spread]
    for name in ("sensitivity", "specificity", "mean of"):
        alone, clustered = (figure(answer_figures(each, manifest), name) for each in (spread, together))
        assert alone.value == clustered.value
        assert clustered.high - clustered.low > alone.high - alone.low


def test_regions_give_figures_among_the_judged_ones_by_slide() -> None:
    regions = [
        JudgedRegion(f"{number % 5}", cells=10 + number, largest=0.5 + number / 100, confirmed=number >= 12)
        for number in range(40)
    ]
    regions += [JudgedRegion("9", 500, 0.99, None)]
    found = region_figures(regions)
    share = figure(found, "share of judged regions that")
    assert (share.n, share.value) == (40, 0.7)
    assert share.low < 0.56
    assert share.high > 0.81
    cells = figure(found, "share of judged regions' cells")
    assert cells.value == pytest.approx(sum(range(22, 50)) / sum(range(10, 50)))
    assert figure(found, "AUC").value == 1
    assert len(region_figures(regions[10:14])) == 2
    assert region_figures(regions[40:]) == ()


def recorded(database: Engine, model: str, manifest: Manifest, count: int) -> list[UUID]:
    """Answers of the last hours with the decisions of :func:`drawn`, of 20 slides."""
    about = {"name": manifest.name, "version": manifest.version, "sha256": model}
    now = datetime.now(UTC)
    answers = []
    for number in range(count):
        like = drawn(number)
        changes: dict[str, Any] = {"decision": like.decision, "probability": like.probability, "model": about}
        changes["patch"] = EXAMPLE["patch"] | {"sha256": like.patch}
        answers.append(answer_of(now - timedelta(minutes=number), slide_id=f"slide {number % 23}", **changes))
    with transaction(database) as connection:
        insert_new(connection, [entry_of(answer, Rotations.NONE, "key") for answer in answers])
    return [answer.id for answer in answers]


def judged(database: Engine, model: str, manifest: Manifest, count: int) -> None:
    """So many answers, drawn at random and judged as :func:`drawn` says."""
    audit = AuditTrail(database)
    ids = recorded(database, model, manifest, count)
    now = Month.of(datetime.now(UTC))
    agreement, reviews = Agreement(database, audit), Reviews(database, audit)
    taken = [*agreement.draw(now, model, 500, ANNE), *agreement.draw(now.plus(-1), model, 500, ANNE)]
    assert len(taken) == count
    for number, answer_id in enumerate(ids):
        if verdict := drawn(number).verdict:
            reviews.add(answer_id, "agree" if verdict == "agree" else "disagree", "", ANNE)


def judged_run(database: Engine, home: Path, model: str, verdict: str = "in_scope", slide: str = "a") -> str:
    """A complete run with two regions, of which the first is confirmed by one of three people."""
    from slides.products import write
    from slides.regions import Rule

    audit, workplace = AuditTrail(database), Workplace(home)
    runs, reviews = SlideRuns(database, audit), RegionReviews(database, audit)
    run = replace(new_run(slide), model=model, state="complete")  # one that waits would be scored
    assert runs.add(run, workplace.name, TESTER, 9)
    write(run_folder(workplace.make(run.id) / "slide-00000000", DRAWING), Rule(min_area_mm2=0.0))
    scope = {"verdict": verdict, "cells": 3, "figures": [], "reference": "r", "text": "."}
    with transaction(database) as connection:
        connection.execute(update(slide_runs).where(slide_runs.c.id == run.id).values(scope=json.dumps(scope)))
    reviews.add(run.id, 1, 0.9, "disagree", "", ANNE)
    reviews.add(run.id, 1, 0.9, "agree", "", ANNE)
    reviews.add(run.id, 2, 0.9, "agree", "", ANNE)
    reviews.add(run.id, 2, 0.9, "disagree", "", BEN)
    return run.id


def test_rows_of_both_databases(database: Engine, tmp_path: Path, manifest: Manifest) -> None:
    migrate(database)
    model, now = "ab" * 32, datetime.now(UTC)
    test = VerdictTest.of(database, AuditTrail(database), tmp_path)
    with pytest.raises(ValueError, match="nobody has judged an answer"):
        test.report(manifest, model, 30, now)
    judged(database, model, manifest, 40)
    recorded(database, model, manifest, 3)  # not drawn
    first = judged_run(database, tmp_path, model)
    judged_run(database, tmp_path, model, "out_of_scope", "b")
    Workplace(tmp_path).remove(judged_run(database, tmp_path, model, slide="c"))
    judged_run(database, tmp_path, "cd" * 32, slide="d")

    report = test.report(manifest, model, 30, now, "Ward 7")
    data = report.data
    assert (report.outcome, report.kind, report.basis, report.site) == ("no_outcome", "verdicts", "single", "Ward 7")
    assert (data.patches, data.positive, data.negative, data.left, data.unjudged) == (40, 12, 20, 8, 0)
    regions = report.regions
    assert regions is not None
    assert (regions.slides, regions.regions, regions.confirmed, regions.denied, regions.open) == (1, 2, 1, 0, 1)
    assert (regions.out_of_scope, regions.unread) == (1, 1)
    assert test.report(manifest, model, 30, now, "Ward 7") == report

    RegionReviews(database, AuditTrail(database)).add(first, 2, 0.9, "disagree", "", ANNE)
    again = test.report(manifest, model, 30, now).regions
    assert again is not None
    assert (again.denied, again.open, again.sha256 == regions.sha256) == (1, 0, False)
    with pytest.raises(ValueError, match="nobody has judged"):
        test.report(manifest, model, 1, now + timedelta(days=3))


def test_the_command_the_api_and_the_page(
    tmp_path: Path, artifact_path: Path, manifest: Manifest, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = tmp_path / "home"
    monkeypatch.setenv("ROSETTE_HOME", str(home))
    monkeypatch.setenv("ROSETTE_MODEL", str(artifact_path))
    with RunningServer(home, artifact_path) as server:
        client, database = server.client, server.services.database
        model = client.get("/admin/models").json()["active"]
        verdicts = "/admin/acceptance/verdicts"
        assert (
            "nobody has judged"
            in assert_problem(client.post(verdicts, json={}), 409, "no-verdict-test")["detail"].lower()
        )
        judged_run(database, home, model)
        only_regions = client.post(verdicts, json={"site": "A"})
        assert (only_regions.status_code, only_regions.json()["outcome"]) == (201, "no_outcome")
        entry = server.services.registry.find(model)
        assert server.services.acceptances.last(entry.id) is None

        judged(database, model, manifest, 240)
        made = client.post(verdicts, json={"model": model, "days": 30, "site": "Ward 7"}).json()
        report = AcceptanceReport.model_validate(made["report"])
        assert (report.outcome, report.data.patches) == ("passed", 240)
        assert client.get(f"/admin/models/{model}").json()["acceptance"]["id"] == made["id"]
        [row, _] = client.get("/admin/audit", params={"action": "model.acceptance"}).json()["entries"]
        assert json.loads(row["after"])["acceptance"] == made["id"]

        said = rosette("acceptance", "--verdicts", "--days", "30", "--site", "Ward 7", "--html", tmp_path / "it.html")
        assert said.index("The rule, stated before a verdict is read") < said.index("240 answers drawn at random")
        assert "Passed: all 10 conditions are met" in said
        assert "confirmed: 1, denied: 0, open: 1" in said
        assert "Among the judged regions of slides" in (tmp_path / "it.html").read_text()
        listed = client.get("/admin/acceptance").json()["acceptance_tests"]
        assert [each["kind"] for each in listed] == ["verdicts"] * 3
        newest = listed[0]["id"]
        by_command = AcceptanceReport.model_validate(client.get(f"/admin/acceptance/{newest}").json()["report"])
        days = {"data": {"source"}}  # another day may have begun
        assert by_command.model_dump(exclude=days) == report.model_dump(exclude=days)
        assert "Among the judged regions" in rosette("acceptances", "show", newest)

        both = rosette("acceptance", tmp_path, "--verdicts", code=2)
        assert "give either FOLDER or CSV" in " ".join(both.split())

        with closing(signed_in(server, server.key)) as admin:
            page = admin.get("/acceptance").text
            [token] = set(re.findall(r'name="csrf" value="([^"]+)"', page))
            path = f"/acceptance/verdicts?model={model}"
            form = {"csrf": token, "days": "30", "site": "Ward 7"}
            stored = admin.post(path, data=form)
            assert stored.status_code == 303
            shown = admin.get(stored.headers["location"]).text
            assert "240: 73 positive" in shown
            assert "no outcome" in admin.get("/acceptance").text
            assert admin.post(path, data=form | {"csrf": "x"}).status_code == 403
            assert "whole number" in admin.post(path, data=form | {"days": "0"}).text
            wrong = admin.post(path, data=form | {"site": "a\x07"})
            assert (wrong.status_code, "shorten it" in wrong.text) == (409, True)

        for wrong_json in ({"days": 0}, {"model": "x"}, {"more": 1}, {"site": "A" * 121}):
            assert_problem(client.post(verdicts, json=wrong_json), 422, "invalid-json")
        assert_problem(client.post(verdicts, json={"model": "0" * 64}), 404, "unknown-model")
        for role in (Role.READ, Role.REVIEW, Role.PATHOLOGIST):
            with server.new_client(role) as other:
                assert_problem(other.post(verdicts, json={}), 403, "forbidden")

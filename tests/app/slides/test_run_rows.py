"""The rows of runs, on both databases."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import Engine, event
from uuid_utils.compat import uuid7

from app.records.audit import AuditTrail
from app.records.database import open_database
from app.records.filters import first_id
from app.records.migrations import migrate
from app.records.slide_runs import SlideRun, SlideRuns
from tests.app.conftest import TESTER

MOMENT = datetime(2026, 1, 1, tzinfo=UTC)
SCOPE = {"verdict": "unknown", "cells": 3, "figures": [], "reference": "r", "text": "Zu wenige Zellen, µm."}


@pytest.fixture
def runs(database: Engine) -> SlideRuns:
    migrate(database)
    return SlideRuns(database, AuditTrail(database))


def new_run(slide: str = "a", key: str = "k") -> SlideRun:
    return SlideRun(
        id=str(uuid7()),
        slide_id=slide * 32,
        state="queued",
        model="0" * 64,
        key_id=key,
        prevalence=0.1,
        rotations="auto",
        shifts="none",
        done=0,
        total=0,
        reason="",
        created_at=MOMENT,
        started_at=None,
        finished_at=None,
        scope=None,
    )


def test_a_run_goes_through_its_states(runs: SlideRuns, database: Engine) -> None:
    run = new_run()
    assert runs.add(run, "here", TESTER, most=1)
    assert not runs.add(new_run(), "here", TESTER, most=1)
    assert runs.add(new_run(), "elsewhere", TESTER, most=1)
    assert runs.find(run.id) == run
    assert runs.next("here") == run
    assert runs.change(run.id, state="running", started_at=MOMENT, done=3, total=9)
    ended: dict[str, Any] = {
        "state": "complete",
        "done": 9,
        "scope": SCOPE,
        "finished_at": MOMENT + timedelta(seconds=1),
    }
    assert runs.change(run.id, **ended)
    expected = replace(run, **ended, total=9, started_at=MOMENT)
    assert runs.find(run.id) == expected
    assert runs.next("here") is None
    assert not runs.change(run.id, state="failed")
    assert not runs.cancel(run.id, TESTER)
    assert runs.find(run.id) == expected
    assert AuditTrail(database).verify().broken is None


def test_a_run_that_ends_while_it_is_cancelled_stays_complete(postgres: Engine) -> None:
    migrate(postgres)
    runs, run = SlideRuns(postgres, AuditTrail(postgres)), new_run()
    assert runs.add(run, "here", TESTER, most=1)
    other = open_database(postgres.url.render_as_string(hide_password=False))

    def complete(_: Any, __: Any, statement: str, *___: Any) -> None:
        if statement.startswith("SELECT slide_runs.state"):
            SlideRuns(other, AuditTrail(other)).change(run.id, state="complete", scope=SCOPE)

    event.listen(postgres, "after_cursor_execute", complete)
    try:
        assert not runs.cancel(run.id, TESTER)
    finally:
        event.remove(postgres, "after_cursor_execute", complete)
        other.dispose()
    found = runs.find(run.id)
    assert found is not None
    assert found.state == "complete"
    assert [row.action for row in AuditTrail(postgres).page(9).entries] == ["slide.run"]


def test_one_that_has_begun_goes_before_older_ones(runs: SlideRuns) -> None:
    first, second = new_run(), new_run()
    for run in (first, second):
        assert runs.add(run, "here", TESTER, most=5)
    assert runs.change(second.id, state="running")
    found = runs.next("here")
    assert found is not None
    assert found.id == second.id
    assert runs.cancel(second.id, TESTER)
    assert runs.next("here") == first


def test_pages_and_the_last_of_each_slide(runs: SlideRuns) -> None:
    made = [new_run("a", "k"), new_run("b", "k"), new_run("a", "other"), new_run("a", "k")]
    for run in made:
        assert runs.add(run, "here", TESTER, most=5)
    first, second, third, fourth = made
    assert runs.page(2, None, None, None) == [fourth, third]
    assert runs.page(2, third.id, None, None) == [second, first]
    assert runs.page(9, None, "a" * 32, "k") == [fourth, first]
    assert runs.last(["a" * 32, "b" * 32], None) == {"a" * 32: fourth, "b" * 32: second}
    assert runs.last(["a" * 32], "other") == {"a" * 32: third}
    assert runs.find(third.id, "k") is None


def test_the_secret_is_made_once(runs: SlideRuns, database: Engine) -> None:
    secret = runs.secret()
    assert len(secret) == 32
    assert SlideRuns(database, AuditTrail(database)).secret() == secret


def test_only_old_runs_that_have_ended_are_deleted(runs: SlideRuns) -> None:
    old = replace(new_run(), id=first_id(MOMENT))
    waiting = replace(new_run(), id=first_id(MOMENT + timedelta(seconds=1)))
    for run in (old, waiting, new_run()):
        assert runs.add(run, "here", TESTER, most=5)
    assert runs.cancel(old.id, TESTER)
    assert runs.delete_before(first_id(MOMENT + timedelta(days=1)), "elsewhere", 7) == []
    assert runs.delete_before(first_id(MOMENT + timedelta(days=1)), "here", 7) == [old.id]
    assert runs.known("here") >= {waiting.id}
    assert old.id not in runs.known("here")

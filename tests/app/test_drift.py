"""Drift: recent answers compared with the reference of the artifact."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import typer
from sqlalchemy import Engine, insert
from typer.testing import CliRunner

from app.access.caller import Role
from app.commands.drift import drift
from app.problems import RecordsUnavailable
from app.records.drift import FRESH_S, Drift, ModelDrift, WindowDrift
from app.records.migrations import migrate
from app.records.tables import models, predictions
from model_zoo.artifact import parse
from model_zoo.drift import FigureDrift, compare, psi
from model_zoo.manifest import Bins, Manifest, Reference
from model_zoo.orbit import Rotations
from tests.app.conftest import Clock, RunningServer, answer_of, assert_problem, row_of

NOW = datetime(2026, 5, 1, 12, tzinfo=UTC)
DAY = timedelta(days=1)
MODEL = "b7e08fce" * 8
TENTHS = Bins(edges=tuple(n / 10 for n in range(1, 10)), counts=(100,) * 10)
REFERENCE = Reference(probability=TENTHS, max_deviation=TENTHS, stain_distance=TENTHS)
PNG = {"Content-Type": "image/png"}


@pytest.fixture
def manifest(artifact_path: Path) -> Manifest:
    return parse(artifact_path.read_bytes())[1]


def add_model(engine: Engine, manifest: Manifest, reference: Reference | None, model_id: str = MODEL) -> None:
    text = manifest.model_copy(update={"reference": reference}).model_dump_json()
    entry: dict[str, Any] = {column.name: "-" for column in models.columns if not column.nullable}
    entry |= {"id": model_id, "size": 0, "data": b"", "uploaded_at": NOW, "manifest": text}
    with engine.begin() as connection:
        connection.execute(insert(models), entry)


def add(engine: Engine, moment: datetime, number: int, values: Callable[[int], dict[str, Any]]) -> None:
    """Predictions about this moment; ``values`` gives the columns of each that differ from the example's."""
    rows = [
        row_of(answer_of(moment + timedelta(milliseconds=place)), Rotations.FULL, "key") | values(place)
        for place in range(number)
    ]
    with engine.begin() as connection:
        connection.execute(insert(predictions), rows)


def spread(place: int) -> dict[str, Any]:
    """Values that fall into the ten bins by turns."""
    value = (place % 10) / 10 + 0.05
    return {"probability": value, "max_deviation": value, "stain_distance": value}


def figures_of(window: WindowDrift) -> dict[str, FigureDrift]:
    return {figure.figure: figure for figure in window.figures}


def windows_of(engine: Engine) -> dict[str, WindowDrift]:
    [model] = Drift(engine).measure(NOW).models
    return {window.window: window for window in model.windows}


def test_the_index_is_the_sum_over_the_smoothed_bins() -> None:
    """By hand: p = (4.5, 0.5, 5.5) / 10.5 and q = (0.5, 2.5, 1.5) / 4.5."""
    p, q = np.array([4.5, 0.5, 5.5]) / 10.5, np.array([0.5, 2.5, 1.5]) / 4.5
    assert psi([4, 0, 5], [0, 2, 1]) == pytest.approx(float(np.sum((q - p) * np.log(q / p))), rel=1e-12)
    assert psi([10, 20, 30], [10, 20, 30]) == 0.0


def test_the_expected_index_is_what_draws_without_drift_give() -> None:
    rng, expected = np.random.default_rng(0), 9 * (1 / 300 + 1 / 1000)
    reference, live = (rng.multinomial(n, [0.1] * 10, size=2000).tolist() for n in (1000, 300))
    drawn = [psi(each, other) for each, other in zip(reference, live, strict=True)]
    assert np.mean(drawn) == pytest.approx(expected, rel=0.05)
    stated = compare("probability", Bins(edges=TENTHS.edges, counts=tuple(reference[0])), live[0]).expected
    assert stated == pytest.approx(expected)


@pytest.mark.parametrize(
    ("counts", "verdict"),
    [
        ([30] * 10, "stable"),
        ([45] * 5 + [15] * 5, "shifted"),
        ([42] * 5 + [20] * 5, "moderate"),
        ([19] * 10, "too_few"),
        ([0] * 10, "too_few"),
    ],
)
def test_verdicts(counts: list[int], verdict: str) -> None:
    found = compare("probability", TENTHS, counts)
    assert found.verdict == verdict
    assert (found.psi is None) == (sum(counts) == 0)


def test_each_prediction_counts_in_its_windows_and_bins(database: Engine, manifest: Manifest) -> None:
    migrate(database)
    add_model(database, manifest, REFERENCE)
    add(database, NOW - 8 * DAY, 30, lambda _: {"probability": 0.95})
    add(database, NOW - 3 * DAY, 300, lambda _: {"probability": 0.95, "max_deviation": 0.95, "stain_distance": 4.0})
    add(database, NOW - DAY / 2, 300, spread)
    add(database, NOW + DAY, 30, lambda _: {"probability": 0.95})
    windows = windows_of(database)
    assert [(name, window.predictions) for name, window in windows.items()] == [("day", 300), ("week", 600)]
    assert windows["week"].since == NOW - 7 * DAY
    for figure in windows["day"].figures:
        assert figure.verdict == "stable"
        assert figure.psi == pytest.approx(0.0)
        assert figure.shares == [0.1] * 10
    for figure in windows["week"].figures:
        assert figure.verdict == "shifted"
        assert figure.shares == [0.05] * 9 + [0.55]
        assert (figure.predictions, figure.reference) == (600, 1000)


def test_what_equals_an_edge_lies_above_it(database: Engine, manifest: Manifest) -> None:
    migrate(database)
    add_model(database, manifest, REFERENCE)
    add(database, NOW - DAY / 2, 1, lambda _: {"probability": 0.1, "max_deviation": 0.0, "stain_distance": 0.9})
    shares = {name: each.shares for name, each in figures_of(windows_of(database)["day"]).items()}
    expected = {"probability": 1, "max_deviation": 0, "stain_distance": 9}
    assert {name: share.index(1.0) for name, share in shares.items() if share} == expected


def test_what_is_not_known_is_not_compared(database: Engine, manifest: Manifest) -> None:
    """Not assessable counts for the stain alone, a partly known orbit not for the deviation, glass for nothing."""
    migrate(database)
    add_model(database, manifest, REFERENCE)
    refused = {"probability": None, "label": None, "decision": "not_assessable", "assessable": False}
    add(database, NOW - DAY / 2, 7, spread)
    add(database, NOW - DAY / 3, 5, lambda _: refused | {"stain_distance": 9.0})
    add(database, NOW - DAY / 4, 3, lambda _: refused | {"stain_distance": None})
    add(database, NOW - DAY / 5, 2, lambda _: {"consistent": None})
    day = windows_of(database)["day"]
    assert (day.predictions, day.not_assessable) == (17, 8)
    counted = {name: figure.predictions for name, figure in figures_of(day).items()}
    assert counted == {"probability": 9, "max_deviation": 7, "stain_distance": 14}


def test_an_artifact_without_a_reference_says_so(database: Engine, manifest: Manifest) -> None:
    migrate(database)
    add_model(database, manifest, None)
    add(database, NOW - DAY / 2, 3, spread)
    for figure in windows_of(database)["day"].figures:
        assert (figure.predictions, figure.verdict, figure.psi) == (3, "no_reference", None)
        assert figure.meaning == "the artifact has no reference"


def test_models_are_kept_apart_and_silent_ones_left_out(database: Engine, manifest: Manifest) -> None:
    migrate(database)
    for model_id in (MODEL, "a" * 64, "c" * 64):
        add_model(database, manifest, REFERENCE, model_id)
    add(database, NOW - DAY / 2, 4, spread)
    add(database, NOW - 2 * DAY, 2, lambda _: {"model_sha256": "a" * 64})
    add(database, NOW - 9 * DAY, 2, lambda _: {"model_sha256": "c" * 64})

    def numbers(model: ModelDrift) -> list[int]:
        return [window.predictions for window in model.windows]

    assert {model.sha256: numbers(model) for model in Drift(database).measure(NOW).models} == {
        MODEL: [4, 4],
        "a" * 64: [0, 2],
    }


def test_a_report_is_kept_for_a_minute(sqlite: Engine, clock: Clock) -> None:
    migrate(sqlite)
    kept = Drift(sqlite, clock)
    first = kept.latest()
    clock.now += FRESH_S - 1
    assert kept.latest() is first
    clock.now += 1
    assert kept.latest() is not first


def test_a_failing_database_is_a_problem(empty_sqlite: Engine) -> None:
    with pytest.raises(RecordsUnavailable):
        Drift(empty_sqlite).latest()


def test_sqlite_reads_an_index_alone(sqlite: Engine, manifest: Manifest) -> None:
    """The table's rows, with the whole answers in them, are never read."""
    migrate(sqlite)
    add_model(sqlite, manifest, REFERENCE)
    add(sqlite, NOW - DAY / 2, 1, spread)
    said: list[str] = []
    with sqlite.connect() as connection:
        connection.connection.driver_connection.set_trace_callback(said.append)  # type: ignore[union-attr]
    Drift(sqlite).measure(NOW)
    counts = [text for text in said if "count(" in text]
    assert len(counts) == 2
    with sqlite.connect() as connection:
        for text in counts:
            [plan] = [each.detail for each in connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {text}")]
            assert "USING COVERING INDEX ix_predictions_model_sha256_id (model_sha256=? AND id>? AND id<?)" in plan


def test_over_http(tmp_path: Path, artifact_path: Path, png: bytes) -> None:
    with RunningServer(tmp_path, artifact_path) as running:
        answer = running.client.post("/predict", content=png, headers=PNG).json()
        for role in (Role.READ, Role.REVIEW, Role.METRICS):
            with running.new_client(role) as client:
                assert client.get("/drift").status_code == 200
        with running.new_client(Role.PREDICT) as client:
            assert_problem(client.get("/drift"), 403, "forbidden")
        assert_problem(running.client.get("/drift?window=day"), 422, "invalid-parameter")
        [model] = running.client.get("/drift").json()["models"]
        assert all(model[key] == answer["model"][key] for key in ("name", "version", "sha256"))
        assert model["basis"] == answer["basis"]
        for window in model["windows"]:
            assert (window["predictions"], window["not_assessable"]) == (1, 0)
            for figure in window["figures"]:
                assert figure["verdict"] == "too_few"
                assert "1 of the 200 predictions that it takes" in figure["meaning"]
                assert sum(figure["shares"]) == 1.0


def test_the_command(tmp_path: Path, artifact_path: Path, png: bytes) -> None:
    application = typer.Typer()
    application.command()(drift)
    environment = {"ROSETTE_HOME": str(tmp_path), "COLUMNS": "200"}
    empty = CliRunner().invoke(application, [], env=environment)
    assert (empty.exit_code, empty.stdout) == (0, "No model of this database has answered within the last week.\n")
    with RunningServer(tmp_path, artifact_path) as running:
        running.client.post("/predict", content=png, headers=PNG)
    shown = CliRunner().invoke(application, [], env=environment)
    assert shown.exit_code == 0, shown.output
    assert shown.stdout.count("max deviation") == 2
    assert shown.stdout.count("too few") >= 6
    assert "0 of 1" in shown.stdout

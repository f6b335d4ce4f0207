"""Acceptance tests by the installed command, and how pages, API and activation show them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from sqlalchemy import Engine

from app.problems import UnknownAcceptance
from app.records.acceptances import Acceptances
from app.records.audit import AuditTrail
from app.records.migrations import migrate
from model_zoo.acceptance import AcceptanceReport, Criterion, SiteFigure, SiteScope, judge, rule_for
from model_zoo.artifact import parse
from model_zoo.synthetic import synthetic_patch
from tests.app.acceptance.conftest import write_csv
from tests.app.conftest import TESTER, RunningServer, assert_problem, database, encoded, postgres, sqlite
from tests.app.registry.conftest import accurate, fast, id_of, upload
from tests.conftest import shipped_artifact
from tests.homes import furnish
from tests.installed import in_process, rosette

__all__ = ["accurate", "database", "fast", "postgres", "sqlite"]


def of(report: Path) -> AcceptanceReport:
    return AcceptanceReport.model_validate_json(report.read_bytes())


def found(report: AcceptanceReport, name: str) -> SiteFigure:
    return next(figure for figure in report.figures if figure.name == name)


def test_a_site_like_the_training_patches_passes_and_pages_and_activation_show_it(
    tmp_path: Path, site: Path, artifact_path: Path, fast: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ROSETTE_HOME", str(tmp_path / "home"))
    furnish(tmp_path / "home", artifact_path, shipped_artifact(name="fast"))
    with RunningServer(tmp_path / "home", artifact_path) as server:
        client = server.client
        other = upload(client, fast).json()["id"]
        said = rosette(
            *("acceptance", site, "--site", "St. <b>Elsewhere</b>"),
            *("--json", tmp_path / "report.json", "--html", tmp_path / "report.html"),
        )
        report = of(tmp_path / "report.json")
        assert (report.outcome, report.scope.verdict) == ("passed", "in_scope")
        assert (report.data.patches, report.data.positive + report.data.negative) == (300, 300)
        print(said)
        assert said.index("The rule, stated before a patch is read") < said.index("300 patches")
        assert all(rule in said for rule in report.rule)
        assert {"sensitivity", "specificity", "auc", "ece"} <= {figure.name for figure in report.figures}
        assert all(figure.low <= figure.value <= figure.high for figure in report.figures)
        html = (tmp_path / "report.html").read_text()
        assert "St. &lt;b&gt;Elsewhere&lt;/b&gt;" in html
        assert "<script" not in html

        [listed] = client.get("/admin/acceptance").json()["acceptance_tests"]
        assert (listed["outcome"], listed["model_sha256"]) == ("passed", report.model.sha256)
        detail = client.get(f"/admin/acceptance/{listed['id']}").json()
        assert AcceptanceReport.model_validate(detail["report"]) == report
        assert client.get(f"/admin/models/{report.model.sha256}").json()["acceptance"] == listed
        [row] = [row for row in client.get("/admin/audit").json()["entries"] if row["action"] == "model.acceptance"]
        assert (row["subject"], row["who"][:6]) == (report.model.sha256, "shell:")

        activated = client.post(f"/admin/models/{other}/activate").json()
        assert any("no acceptance test" in warning for warning in activated["warnings"])
        back = client.post(f"/admin/models/{report.model.sha256}/activate").json()
        assert not any("acceptance" in warning for warning in back["warnings"])
        assert "Warning: There is no acceptance test" in rosette("models", "activate", other)


def test_swapped_labels_fail(tmp_path: Path, swapped: Path, artifact_path: Path) -> None:
    file = tmp_path / "report.json"
    said = rosette("acceptance", swapped, "--model", artifact_path, "--no-record", "--json", file, code=1)
    assert "Failed: " in said
    report = of(file)
    assert report.outcome == "failed"
    assert found(report, "auc").high < 0.2
    assert {check.passed for check in report.checks if check.text.startswith(("sens", "spec", "AUC", "mean"))} == {
        False
    }


def test_skin_is_out_of_scope(tmp_path: Path, skin: Path, artifact_path: Path) -> None:
    file = tmp_path / "report.json"
    said = rosette("acceptance", skin, "--model", artifact_path, "--no-record", "--json", file, code=1)
    assert "Refused as out of scope" in said
    assert of(file).outcome == "out_of_scope"


@pytest.fixture
def labelled(tmp_path: Path) -> Path:
    """120 rows, of one tumour and one normal patch."""
    for label, kind in (("0", "normal"), ("1", "tumour")):
        (tmp_path / f"{label}.png").write_bytes(encoded(synthetic_patch(kind, 1)))  # type: ignore[arg-type]
    for number in range(60):
        for label in "01":
            (tmp_path / f"{label}-{number}.png").hardlink_to(tmp_path / f"{label}.png")
    return write_csv(
        tmp_path / "labels.csv", [(f"{label}-{number}.png", label) for label in "01" for number in range(60)]
    )


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        (
            [("0-1.png", "0"), ("1-1.png", "1")],
            "the number of patches is 2 (1 negative, 1 positive), expected 100 to",
        ),
        ([("0-1.png", "stroma")], "labels.csv line 2: the label is 'stroma'"),
        ([("0-1.png", "0"), ("0-1.png", "1")], "0-1.png is listed twice"),
        ([("", "1")], "labels.csv line 2 names no file"),
        ([(f"{n % 2}-{n // 2}.png", str(n % 2)) for n in range(120)], "rosette: the same pixels are in the patches "),
        (
            [(f"missing-{n}.png", str(n % 2)) for n in range(120)],
            "line 2 names the file 'missing-0.png', ",
        ),
    ],
)
def test_bad_lists_are_refused_and_nothing_is_recorded(
    tmp_path: Path,
    labelled: Path,
    artifact_path: Path,
    rows: list[tuple[str, str]],
    said: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    write_csv(labelled, rows)
    home = tmp_path / "home"
    monkeypatch.setenv("ROSETTE_HOME", str(home))
    done = in_process("acceptance", labelled, "--model", artifact_path)
    assert done.exit_code == 1
    assert said in done.output
    assert not home.exists()


def test_a_folder_without_classes_says_how_to_name_them(tmp_path: Path, artifact_path: Path) -> None:
    (tmp_path / "stroma").mkdir()
    said = rosette("acceptance", tmp_path, "--model", artifact_path, "--no-record", code=1)
    assert "holds stroma, expected one folder for each of the two labels" in " ".join(said.split())


def a_report(**changes: object) -> AcceptanceReport:
    figure = SiteFigure(name="auc", n=200, value=0.9, low=0.85, high=0.95, method="a test")
    counts = {"positive": 100, "negative": 100, "not_assessable": 0, "refused": 0}
    example = {
        "site": "A",
        "model": {"name": "accurate", "version": "1.0.0", "sha256": "ab" * 32},
        "data": {"source": "x", "sha256": "cd" * 32, "patches": 200} | counts,
        "basis": "single",
        "outcome": "passed",
        "rule": ("a",),
        "checks": (),
        "scope": {"verdict": "in_scope", "patches": 200},
        "figures": (figure,),
        "drift": (),
    }
    return AcceptanceReport.model_validate(example | changes)


def test_tests_are_recorded_with_their_audit_row_in_both_databases(database: Engine) -> None:
    migrate(database)
    trail = AuditTrail(database)
    tests = Acceptances(database, trail)
    first, second = tests.add(a_report(), TESTER), tests.add(a_report(outcome="failed"), TESTER)
    assert tests.listing() == [second, first]
    assert tests.last("ab" * 32) == second
    assert tests.last("ef" * 32) is None
    assert tests.find(first.id) == (first, a_report())
    rows = trail.page(10).entries
    assert [json.loads(row.after or "")["outcome"] for row in rows] == ["failed", "passed"]
    for unknown in ("x", "0" * 8 + "-0000-7000-8000-" + "0" * 12):
        with pytest.raises(UnknownAcceptance):
            tests.find(unknown)


def test_the_rule_uses_the_stated_sensitivity_and_otherwise_the_accuracy(artifact_path: Path) -> None:
    shipped = parse(artifact_path.read_bytes())[1]
    without = tuple(each for each in shipped.metrics if each.name not in {"sensitivity", "specificity"})
    manifest = shipped.model_copy(update={"metrics": without})
    by_accuracy = {each.figure: each for each in rule_for(manifest).criteria}
    accuracy = next(m for m in manifest.metrics if (m.name, m.split, m.basis) == ("accuracy", "test", "orbit"))
    assert by_accuracy["mean of sensitivity and specificity"].limit == pytest.approx(accuracy.value - 0.1)
    assert by_accuracy["sensitivity"].limit == pytest.approx(accuracy.value - 0.2)
    stated = tuple(accuracy.model_copy(update={"name": name}) for name in ("sensitivity", "specificity"))
    richer = manifest.model_copy(update={"metrics": (*manifest.metrics, *stated)})
    by_itself = {each.figure: each for each in rule_for(richer).criteria}
    assert "mean of sensitivity and specificity" not in by_itself
    assert by_itself["specificity"].limit == pytest.approx(accuracy.value - 0.1)
    assert "states neither" in rule_for(manifest.model_copy(update={"metrics": ()})).fault


def test_a_figure_that_could_not_be_measured_is_not_met(artifact_path: Path) -> None:
    rule = rule_for(parse(artifact_path.read_bytes())[1])
    outcome, checks = judge(rule, [], SiteScope(verdict="in_scope", patches=200))
    assert outcome == "failed"
    assert [check.found for check in checks[1:]] == ["not measured"] * len(rule.criteria)
    assert Criterion(figure="ece", side="at_most", of="low", limit=0.1).holds(0.1, 0.4)
    assert not Criterion(figure="auc", side="at_least", of="low", limit=0.8).holds(0.79, 0.99)


def test_unknown_tests_and_other_roles(server: RunningServer) -> None:
    assert_problem(server.client.get("/admin/acceptance/none"), 404, "unknown-acceptance")
    assert_problem(server.client.get("/admin/acceptance?x=1"), 422, "invalid-parameter")
    assert id_of(b"") not in server.client.get("/admin/acceptance").text

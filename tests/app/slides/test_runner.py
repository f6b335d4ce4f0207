"""What the thread that scores does when something fails."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from sqlalchemy import Engine

from app.problems import RecordsUnavailable
from app.records.audit import AuditTrail
from app.records.database import open_database
from app.records.migrations import migrate
from app.records.retention import Retention
from app.records.slide_runs import SlideRuns
from app.registry.registry import Registry
from app.signatures import TrustedKeys
from app.slides.catalogue import Catalogue
from app.slides.descriptions import Descriptions
from app.slides.figures import SlideFigures
from app.slides.runner import Runner
from app.slides.viewer import SlideProcesses
from app.slides.workplace import Workplace
from tests.app.conftest import TESTER
from tests.app.slides.test_run_rows import new_run


@pytest.fixture
def away(tmp_path: Path) -> Engine:
    """A database that cannot be reached."""
    return open_database(f"sqlite:///{tmp_path}/away/rosette.db")


def test_a_run_waits_while_the_models_cannot_be_read(sqlite: Engine, away: Engine, tmp_path: Path) -> None:
    migrate(sqlite)
    (tmp_path / "offered").mkdir()
    (tmp_path / "offered" / "a.svs").touch()
    audit, workplace, processes = AuditTrail(sqlite), Workplace(tmp_path), SlideProcesses()
    runs = SlideRuns(sqlite, audit)
    kept = Descriptions(tmp_path / "descriptions.json")
    catalogue = Catalogue([tmp_path / "offered"], runs.secret, processes, lambda: None, kept)
    [slide] = catalogue.files()
    run = replace(new_run(), slide_id=slide.id)
    assert runs.add(run, workplace.name, TESTER, most=1)
    scored = workplace.make(run.id) / "scored before"
    scored.touch()

    def runner(models: Engine) -> Runner:
        registry = Registry(models, AuditTrail(models), TrustedKeys.parse(""))
        return Runner(
            runs, registry, catalogue, workplace, processes, SlideFigures(), Retention(sqlite, audit, None), None
        )

    with pytest.raises(RecordsUnavailable):
        runner(away)._step()
    assert runs.find(run.id) == run
    assert scored.exists()
    runner(sqlite)._step()  # the model is unknown there: that does not pass
    ended = runs.find(run.id)
    assert ended is not None
    assert (ended.state, ended.reason[:25]) == ("failed", "The model cannot be used:")
    assert not scored.exists()

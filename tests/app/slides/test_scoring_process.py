"""The process that scores: what it does with a chunk that ended the processes before it."""

from __future__ import annotations

from pathlib import Path

import pytest

from app.slides.folders import find_slides
from app.slides.scoring import TRIED_FILE, Order, Progress, StoppedError, score
from slides.cells import State, read_run
from tests.slides.made import tissue, write_svs


@pytest.fixture
def order(tmp_path: Path, artifact_path: Path) -> Order:
    (tmp_path / "offered").mkdir()
    (tmp_path / "work").mkdir()
    write_svs(tmp_path / "offered" / "a.svs", tissue(["tn"]), 0.97)
    [file] = find_slides([tmp_path / "offered"], b"a secret")
    return Order(file, tmp_path / "work", "none", "none", 0.1, artifact_path.read_bytes())


@pytest.mark.parametrize(("deaths", "state"), [(2, State.SCORED), (3, State.HOLE)])
def test_a_chunk_that_ended_three_processes_is_a_hole(order: Order, deaths: int, state: State) -> None:
    (order.work / TRIED_FILE).write_text(f"{deaths} 0 0")
    progress = score(order, Progress(), lambda _: True)
    assert progress.done == progress.total == 18
    [folder] = [path for path in order.work.iterdir() if path.is_dir()]
    run, cells = read_run(folder)
    assert run.slide.name == order.file.id
    assert run.scope is not None
    assert cells.where(state).any()
    if state is State.HOLE:
        assert not cells.where(State.SCORED).any()
        assert set(cells.reason.values()) == {"crashed"}


def test_a_chunk_is_not_to_blame_where_the_server_stopped(order: Order) -> None:
    (order.work / TRIED_FILE).write_text("2 0 0")
    write_svs(order.file.root / order.file.relative, tissue(["tn" * 8] * 8), 0.97)
    with pytest.raises(StoppedError):
        score(order, Progress(), lambda _: False)
    assert not (order.work / TRIED_FILE).exists()

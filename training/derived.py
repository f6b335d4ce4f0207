"""Run folders that are made from another run folder."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from training.data import Patches
from training.recipe import Run

CURVE = "metrics.csv"


def source_of(folder: Path, run: Path, train: Patches) -> Run:
    """The settings of the run from which ``folder`` is to be made.

    Raises:
        ValueError: if ``folder`` exists, or the run was trained on other data.
        FileNotFoundError: if ``run`` is not a run folder.
    """
    if folder.exists():
        raise ValueError(f"{folder} exists already: name a new folder")
    if not (run / "run.json").exists():
        raise FileNotFoundError(f"{run} is no run folder: it has no run.json")
    settings = Run.read(run)
    if settings.data_sha256 != train.sha256:
        raise ValueError(
            f"{run} was trained on other data: hash {settings.data_sha256[:12]}, and these have {train.sha256[:12]}"
        )
    return settings


@contextmanager
def made_whole(folder: Path) -> Iterator[Path]:
    """A folder to write into, which becomes ``folder`` if no error is raised, and else is removed."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(dir=folder.parent) as temporary:
        part = Path(temporary) / "run"
        part.mkdir()
        yield part
        part.rename(folder)

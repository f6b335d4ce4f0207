"""Why a complete run lacks a file."""

from __future__ import annotations

from importlib.util import find_spec

from app.problems import DicomNotInstalled, Problem, RunState, UnknownRun
from app.slides.entries import DICOM, Product


def absent(name: Product) -> Problem:
    """What a caller is told who asks for a file that is not there."""
    if name not in DICOM:
        return UnknownRun(f"The run's {name} is not on this server: ask the one that scored the slide.")
    if find_spec("highdicom") is None:
        return DicomNotInstalled()
    return RunState(
        f"The run has no {name}: only runs of DICOM slides with all required attributes have one. For others, use "
        "`rosette slide score` and `rosette slide export --to dicom`, which also says what a DICOM slide lacks."
    )

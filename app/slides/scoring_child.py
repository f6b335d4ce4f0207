"""The process that scores one slide: opens the model, gives up its rights, then scores into the run's folder.

    python -I -m app.slides.scoring_child

On standard input comes one message: which slide, which folder, which measures, and the artifact. On standard output it
tells ``confined``, ``total`` (cells), ``done`` (further cells), and at the end ``finished`` or ``refused``.
"""

from __future__ import annotations

import fcntl
import os
import sys
from collections.abc import Iterable, Iterator
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path

from app.inference.frames import Header, read
from app.memory import use_few_arenas
from app.registry.sandbox import SandboxUnavailable
from app.slides.child import admit, tell
from app.slides.confine import Bounds, confine
from app.slides.scoring import TRIED_FILE
from model_zoo.network import Network, check_golden_cases
from slides.dicom import SUFFIX
from slides.errors import SlideError
from slides.grid import Chunk
from slides.opened import Model, open_slide
from slides.pool import MOST_DEATHS, Job, Pool, Task, hole
from slides.products import Map, write_of
from slides.raster import Raster
from slides.reader import Reader
from slides.regions import Rule
from slides.run import Heard, score_slide
from slides.runfile import read_runfile, write_atomically, write_runfile
from slides.score import CellArray, Measures, Scorer, SlideRotations, SlideShifts

MEMORY_BYTES = 4 * 2**30
FILE_BYTES = 4 * 2**30
CPU_SECONDS = 7 * 24 * 3600
NICENESS = 10


def main() -> None:
    message = read(sys.stdin.buffer)
    assert message is not None
    wanted, [data] = message
    _stand_back()
    use_few_arenas()
    path, readable = admit(wanted)
    work = Path(wanted["work"])
    _wait_for_the_one_before(work)
    model = Model(data, Network(data))
    check_golden_cases(model.network)
    _ = model.dense_pass  # opened before rights are given up
    if _writes_dicom(path):
        import slides.export.dicom  # noqa: F401
    try:
        confine(
            readable,
            os.open(work, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC),
            Bounds(MEMORY_BYTES, CPU_SECONDS, FILE_BYTES),
        )
    except SandboxUnavailable as error:
        tell({"unconfined": str(error)})
        os._exit(0)
    tell({"confined": True})
    try:
        _score(path, work, model, wanted)
        tell({"finished": True})
    except (ValueError, OSError, MemoryError) as error:
        tell({"refused": str(error) or "the slide needs too much memory"})
    os._exit(0)  # the interpreter's own end would need rights


class Here(Pool):
    """Scores in this process; a chunk that killed it three times is a hole.

    Args:
        model: answers.
        tried: file that names the chunk that is scored, and how often that was begun.
    """

    def __init__(self, model: Model, tried: Path) -> None:
        self._opened = model
        self._tried = tried

    def close(self) -> None:
        """Nothing was started."""

    def score(self, job: Job, tasks: Iterable[Task]) -> Iterator[tuple[Chunk, CellArray]]:
        before, times = self._last()
        with Reader(job.slide) as reader:
            scorer = Scorer(Raster(reader, job.plan), self._opened, job.measures)
            for task in tasks:
                name = f"{task.chunk.column} {task.chunk.row}"
                again = times if name == before else 0
                if again >= MOST_DEATHS:
                    yield task.chunk, hole(task)
                    continue
                self._tried.write_text(f"{again + 1} {name}", encoding="ascii")
                yield task.chunk, scorer.score(task.chunk, task.candidates)

    def _last(self) -> tuple[str, int]:
        with suppress(OSError, ValueError):
            times, _, name = self._tried.read_text(encoding="ascii").partition(" ")
            return name, int(times)
        return "", 0


def _score(path: Path, work: Path, model: Model, wanted: Header) -> None:
    measures = Measures(SlideRotations(wanted["rotations"]), SlideShifts(wanted["shifts"]))
    heard = Heard(lambda _: None, lambda cells: tell({"total": cells}), lambda cells: tell({"done": cells}))
    with open_slide(path, model.manifest, None) as opened:
        folder, cells = score_slide(path, work, opened, model, measures, Here(model, work / TRIED_FILE), heard)
    run = read_runfile(folder)
    # Names of files are for few; what a run leaves is for all who may see the run.
    run = run.model_copy(update={"slide": run.slide.model_copy(update={"name": wanted["slide"]})})
    write_runfile(folder, run)
    try:
        made = write_of(folder, run, cells, Rule(prevalence=wanted["prevalence"]))
        if _writes_dicom(path):
            _write_dicom(path, folder, made)
    except OSError as error:
        raise SlideError(f"the results cannot be written: {error}") from error


def _writes_dicom(path: Path) -> bool:
    return path.suffix.lower() == SUFFIX and find_spec("highdicom") is not None


def _write_dicom(path: Path, folder: Path, made: Map) -> None:
    """A slide without the attributes that this needs has been scored all the same."""
    from slides.export.dicom import dicom_files
    from slides.export.dicom_source import read_source

    with suppress(SlideError):
        files = dicom_files(read_source(path, made.run), made.run, made.cells, made.regions, made.rule)
        for name, content in files.items():
            write_atomically(folder / name, content)


def _wait_for_the_one_before(work: Path) -> None:
    """A server that was killed took its process along, but the kernel may need a while to end it."""
    for lock in work.glob("*/.lock"):
        with lock.open("w") as file:
            fcntl.flock(file, fcntl.LOCK_EX)


def _stand_back() -> None:
    """Let live patches go before: a tenth of a core that they want as well, not nothing, so that a run ends."""
    os.nice(NICENESS)
    with suppress(AttributeError, PermissionError):  # not on this system, or not in this container
        os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))


if __name__ == "__main__":
    main()

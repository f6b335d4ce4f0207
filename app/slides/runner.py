"""Scores the slides that wait, one at a time; goes on after a restart; deletes runs that are kept no longer."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from time import monotonic

from app.problems import Problem, RecordsUnavailable
from app.records.clock import ClockJumpedError
from app.records.filters import first_id
from app.records.retention import Retention
from app.records.slide_runs import SlideRun, SlideRuns
from app.registry.registry import Registry
from app.registry.sandbox import SandboxUnavailable
from app.slides.catalogue import Catalogue
from app.slides.figures import SlideFigures
from app.slides.scoring import Order, Progress, ScoringDiedError, ScoringFailedError, StoppedError, score
from app.slides.viewer import SlideProcesses
from app.slides.workplace import Workplace
from model_zoo.opening import ModelError

LOOK_S = 2.0
RETRY_S = 5.0
HOUR_S = 3600.0
MOST_DEATHS = 4  # without a chunk in between; the process itself gives up a chunk after three

log = logging.getLogger("rosette.slides")


class Runner:
    """A thread that scores what waits.

    Args:
        runs: the rows.
        registry: has the models.
        catalogue: has the slides.
        workplace: where the runs' files are.
        processes: have slides open; idle ones are ended now and then.
        figures: count.
        retention: keeps the clock.
        days: for which runs are kept; None for ever.
    """

    def __init__(
        self,
        runs: SlideRuns,
        registry: Registry,
        catalogue: Catalogue,
        workplace: Workplace,
        processes: SlideProcesses,
        figures: SlideFigures,
        retention: Retention,
        days: int | None,
    ) -> None:
        self._runs = runs
        self._registry = registry
        self._catalogue = catalogue
        self._workplace = workplace
        self._processes = processes
        self._figures = figures
        self._retention = retention
        self._days = days
        self._wake = threading.Event()
        self._stop = False
        self._cleaned_at = -HOUR_S
        self._thread = threading.Thread(target=self._run, name="slides-runner", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """End the thread; a run that is under way goes on at the next start."""
        self._stop = True
        self._wake.set()
        if self._thread.is_alive():
            self._thread.join()

    def wake(self) -> None:
        """Have it look for a run now."""
        self._wake.set()

    def _run(self) -> None:
        while not self._stop:
            self._wake.clear()
            pause = LOOK_S
            try:
                if self._workplace.claim():
                    pause = self._step()
            except Problem as problem:
                log.warning("slides cannot be scored now: %s", problem.detail)
                pause = RETRY_S
            except Exception:  # a bug must not end all scoring
                log.exception("a slide could not be scored")
                pause = RETRY_S
            self._processes.close_idle()
            if pause:
                self._wake.wait(pause)
        self._workplace.release()

    def _step(self) -> float:
        """Score what is next; gives the seconds until it is worth looking again."""
        if monotonic() - self._cleaned_at >= HOUR_S:
            self._clean()
            self._cleaned_at = monotonic()
        run = self._runs.next(self._workplace.name)
        if run is None:
            return LOOK_S
        self._figures.began()
        try:
            self._score(run)
        finally:
            self._figures.paused()
        return 0.0

    def _score(self, run: SlideRun) -> None:
        file = self._catalogue.find(run.slide_id)
        if file is None or file.refused:
            self._end(run, "the slide is gone, or ROSETTE_SLIDES no longer names its folder")
            return
        try:
            _, model = self._registry.checked_data(run.model)
        except RecordsUnavailable:  # for a while: the run waits, and keeps what it has scored
            raise
        except (ModelError, Problem) as error:
            self._end(run, f"the model cannot be used: {error}")
            return
        if not self._runs.change(run.id, state="running", started_at=run.started_at or datetime.now(UTC)):
            return
        work = self._workplace.make(run.id)
        order = Order(file, work, run.rotations, run.shifts, run.prevalence, model)
        try:
            self._complete(run, self._scored(order, _Watch(self, run)))
        except StoppedError:
            if not self._stop:
                self._figures.ended("cancelled")
                self._workplace.remove(run.id)
        except (ScoringFailedError, ScoringDiedError, SandboxUnavailable) as error:
            self._end(run, str(error))

    def _scored(self, order: Order, watch: Callable[[Progress], bool]) -> Progress:
        """Score, and begin again where the process died, unless that leads nowhere."""
        deaths, best = 0, 0
        while True:
            progress = Progress()
            try:
                return score(order, progress, watch)
            except ScoringDiedError as error:
                deaths = deaths + 1 if progress.done <= best else 1
                best = max(best, progress.done)
                log.warning("the process that scores %s %s", order.file.id, error)
                if deaths >= MOST_DEATHS:
                    raise ScoringDiedError(
                        f"the process that scores the slide {error}, {deaths} times: the file may be damaged"
                    ) from error

    def _complete(self, run: SlideRun, progress: Progress) -> None:
        from slides.runfile import RunError, read_runfile  # the server runs without what slides need

        try:
            [folder] = self._workplace.results(run.id)
            scope = read_runfile(folder).scope
        except (RunError, ValueError) as error:
            self._end(run, f"its results are not as they should be: {error}")
            return
        if scope is None:
            self._end(run, "its scope was not checked")
            return
        ended = {"state": "complete", "done": progress.total, "total": progress.total}
        if self._runs.change(run.id, **ended, scope=scope.model_dump(mode="json"), finished_at=datetime.now(UTC)):
            self._figures.ended("complete")
            log.info("scored the slide %s: %s cells, %s", run.slide_id, progress.total, scope.verdict)
        else:
            self._workplace.remove(run.id)

    def _end(self, run: SlideRun, reason: str) -> None:
        reason = reason[:1].upper() + reason[1:] + ("" if reason.endswith(".") else ".")
        if self._runs.change(run.id, state="failed", reason=reason, finished_at=datetime.now(UTC)):
            self._figures.ended("failed")
            log.warning("the slide %s was not scored: %s", run.slide_id, reason)
        self._workplace.remove(run.id)

    def _clean(self) -> None:
        """Delete runs that are too old, and files of runs that are in no row."""
        if self._days is not None:
            try:
                now = self._retention.check_clock()
            except ClockJumpedError as error:
                log.error("Old runs of slides are not deleted: %s", error)
                return
            too_old = first_id(now - timedelta(days=self._days))
            while deleted := self._runs.delete_before(too_old, self._workplace.name, self._days):
                for run_id in deleted:
                    self._workplace.remove(run_id)
                log.info("%s runs of slides were deleted: they were older than they are kept", len(deleted))
        self._workplace.remove_all_but(self._runs.known(self._workplace.name))


class _Watch:
    """Tells the row how far a run is, and whether it shall go on."""

    def __init__(self, runner: Runner, run: SlideRun) -> None:
        self._runner = runner
        self._run = run
        self._said = (run.done, run.total)
        self._counted = run.done

    def __call__(self, progress: Progress) -> bool:
        runner = self._runner
        if runner._stop:
            return False
        if progress.done > self._counted:
            runner._figures.scored(progress.done - self._counted)
            self._counted = progress.done
        try:
            if (progress.done, progress.total) == self._said:
                run = runner._runs.find(self._run.id)
                return run is not None and run.state == "running"
            self._said = progress.done, progress.total
            return runner._runs.change(self._run.id, done=progress.done, total=progress.total)
        except Problem:  # the database is away: scoring needs none
            return True

"""Slides and their runs, as routes and pages ask for them."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from uuid_utils.compat import uuid7

from app.access.caller import Caller, Role
from app.inference.frames import Message
from app.problems import (
    Busy,
    RunState,
    SlideRefused,
    SlidesNotInstalled,
    UnknownModel,
    UnknownPart,
    UnknownRun,
    UnknownSlide,
)
from app.records.models import ModelEntry
from app.records.retention import Retention
from app.records.slide_runs import SlideRun, SlideRuns
from app.registry.registry import Registry
from app.registry.sandbox import SandboxUnavailable
from app.registry.serving import Serving
from app.settings import Settings
from app.slides.absent import absent
from app.slides.cache import PictureCache
from app.slides.catalogue import Catalogue
from app.slides.descriptions import Description, Descriptions
from app.slides.entries import MEDIA_TYPES, DeepZoom, Measured, Product, SlideEntry
from app.slides.figures import SlideFigures
from app.slides.folders import SlideFile
from app.slides.runner import Runner
from app.slides.viewer import ReaderDiedError, SlideProcesses, SlideRefusedError
from app.slides.workplace import Workplace
from app.threads import Threads

THREADS = 3  # fewer than there are processes: none is ended while it is asked
LIST_WAIT_S = 5.0
CACHE_BYTES = 2**26
MAX_THUMBNAIL = 1024
MOST_UNFINISHED = 20
_JPEG, _PNG = b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n"


class SlideService:
    """What is offered of the configured folders. Every method but :meth:`start` and :meth:`stop` blocks: call it in
    :attr:`work`.

    Methods raise RecordsUnavailable when the database fails, and SlidesNotInstalled without the extra.

    Attributes:
        work: threads for these methods.
        figures: for the metrics.

    Args:
        settings: of the server.
        runs: the rows of runs.
        registry: the models.
        serving: which model answers.
        retention: keeps the clock.
    """

    def __init__(
        self, settings: Settings, runs: SlideRuns, registry: Registry, serving: Serving, retention: Retention
    ) -> None:
        self._runs = runs
        self._registry = registry
        self._workplace = Workplace(settings.home)
        self._serving = serving
        self._processes = SlideProcesses()
        self._cache = PictureCache(CACHE_BYTES)
        self.work = Threads(THREADS, settings.queue, settings.deadline_s, name="slides")
        self.installed = find_spec("openslide") is not None
        self.catalogue = Catalogue(
            settings.slide_folders if self.installed else (),
            runs.secret,
            self._processes,
            self._scale,
            Descriptions(settings.home / "slides" / "descriptions.json"),
        )
        self.figures = SlideFigures()
        self._runner = Runner(
            runs,
            registry,
            self.catalogue,
            self._workplace,
            self._processes,
            self.figures,
            retention,
            settings.retention_days,
        )

    def start(self) -> None:
        self.work.start()
        self.catalogue.start()
        if self.installed:
            self._runner.start()

    def stop(self) -> None:
        """End the threads and all processes that have slides open."""
        self._runner.stop()
        self.catalogue.stop()
        self._processes.close()
        self.work.stop()
        self.catalogue.join()

    def unavailable(self) -> str:
        """Why no slide is offered, in a sentence; empty if slides are."""
        self._check_installed()
        return self.catalogue.unavailable()

    def list(self, caller: Caller, wait_s: float = LIST_WAIT_S) -> list[SlideEntry]:
        """The slides, by folder and path; at most ``wait_s`` seconds are waited for those not opened yet."""
        self._check_installed()
        files = self.catalogue.files()
        self.catalogue.wait(files, wait_s)
        last = self._runs.last([file.id for file in files], _own_key(caller))
        found = [self._entry(file, self.catalogue.described(file), last.get(file.id), caller) for file in files]
        return found if not self.catalogue.unavailable() else []

    def entry(self, slide_id: str, caller: Caller) -> SlideEntry:
        """One slide, which is opened if need be.

        Raises:
            UnknownSlide: if there is none.
        """
        file = self._file(slide_id)
        found = self.catalogue.describe(file)
        return self._entry(file, found, self._runs.last([slide_id], _own_key(caller)).get(slide_id), caller)

    def thumbnail(self, slide_id: str, max_px: int = MAX_THUMBNAIL) -> bytes:
        """JPEG of all that was scanned, at most so many pixels across and down.

        Raises:
            UnknownSlide, SlideRefused: if there is none, or it cannot be read.
        """
        return self._picture(slide_id, _JPEG, SlideRefused, "thumbnail", longest=min(max_px, MAX_THUMBNAIL))

    def deep_zoom(self, slide_id: str) -> DeepZoom:
        """The geometry of the slide's tiles.

        Raises:
            UnknownSlide, SlideRefused: if there is none, or it cannot be read.
        """
        found = self._readable(self._file(slide_id))
        x, y, width, height = found.bounds
        return DeepZoom(width, height, x, y, found.levels)

    def tile(self, slide_id: str, level: int, column: int, row: int) -> bytes:
        """JPEG of one tile; what cannot be read is grey.

        Raises:
            UnknownSlide, SlideRefused, UnknownPart: if there is none, or it cannot be read.
        """
        return self._picture(slide_id, _JPEG, UnknownPart, "tile", level=level, column=column, row=row)

    def patch_answer(self, slide_id: str, run_id: str | None, column: int, row: int) -> bytes:
        """PNG of a cell's 96×96 patch, as the run scored it, fit for ``POST /predict``.

        Args:
            run_id: whose model's scale counts; None for the model that serves.

        Raises:
            NoModel: if none serves.
            UnknownSlide, UnknownRun, SlideRefused, UnknownPart: if there is none, or it cannot be read.
        """
        if run_id is None:
            scale = self._serving.model.manifest.input.microns_per_pixel
        else:
            if (run := self._runs.find(run_id)) is None or run.slide_id != slide_id:
                raise UnknownRun(f"There is no run {run_id} of this slide.")
            scale = json.loads(self._registry.find(run.model).manifest)["input"]["microns_per_pixel"]
        return self._picture(slide_id, _PNG, UnknownPart, "patch", model_mpp=scale, column=column, row=row)

    def models(self) -> Sequence[ModelEntry]:
        """The models that may score: the one that serves, then the others of this release that are not retired.

        Raises:
            NoModel: if none serves.
        """
        serving = self._serving.model.sha256
        entries, _ = self._registry.listing()
        own = {each.id for each in entries if self._registry.is_own(each.id) and each.retired_at is None}
        return sorted((each for each in entries if each.id in own | {serving}), key=lambda each: each.id != serving)

    def start_run(
        self, slide_id: str, caller: Caller, prevalence: float, rotations: Measured, shifts: Measured, model: str = ""
    ) -> SlideRun:
        """Have a slide scored; it waits until the runs before it have ended.

        Args:
            model: name or SHA-256 of one of :meth:`models`, of which the first of that name counts; empty: the one
                that serves.
            prevalence: share of the slide's cells that hold metastasis where it is used.
            rotations: of which cells the turns are measured: ``none``, ``auto`` (from the review band up), ``full``.
            shifts: of which cells the shifts are measured: ``none``, ``auto``, ``report``.

        Raises:
            NoModel: if none serves.
            UnknownModel: if the model may not score.
            UnknownSlide, SlideRefused: if there is none, or it cannot be scored.
            Busy: if too many runs wait.
        """
        found = self._readable(self._file(slide_id))
        if found.reason:
            raise SlideRefused(_sentence(found.reason))
        run = SlideRun(
            id=str(uuid7()),
            slide_id=slide_id,
            state="queued",
            model=self._model(model),
            key_id=caller.key_id,
            prevalence=prevalence,
            rotations=rotations,
            shifts=shifts,
            done=0,
            total=0,
            reason="",
            created_at=datetime.now(UTC),
            started_at=None,
            finished_at=None,
            scope=None,
        )
        if not self._runs.add(run, self._workplace.name, caller.actor, MOST_UNFINISHED):
            raise Busy(f"{MOST_UNFINISHED} runs wait or are under way: wait until one has ended, or cancel one.")
        self._runner.wake()
        return run

    def _model(self, wanted: str) -> str:
        if not wanted:
            return self._serving.model.sha256
        allowed = self.models()
        for each in allowed:
            if wanted in {each.id, each.name}:
                return each.id
        names = ", ".join(f"{each.name} {each.version} ({each.id[:12]})" for each in allowed)
        raise UnknownModel(
            f"No model that may score slides has this name or SHA-256. The one that serves may, and those that the "
            f"server registered at its start: {names}."
        )

    def run(self, run_id: str, caller: Caller) -> SlideRun:
        """A run.

        Raises:
            UnknownRun: if there is none that the caller may see.
        """
        run = self._runs.find(run_id, _own_key(caller))
        if run is None:
            raise UnknownRun(f"There is no run {run_id} that this key may see.")
        return run

    def runs(
        self, caller: Caller, limit: int = 50, before: str | None = None, slide_id: str | None = None
    ) -> Sequence[SlideRun]:
        """At most ``limit`` runs that the caller may see, with ids below ``before``, newest first."""
        return self._runs.page(limit, before, slide_id, _own_key(caller))

    def cancel(self, run_id: str, caller: Caller) -> SlideRun:
        """Cancel a run that has not ended; what it has scored is dropped.

        Raises:
            UnknownRun: if there is none that the caller may see.
            RunState: if it has ended.
        """
        run = self.run(run_id, caller)
        if not self._runs.cancel(run_id, caller.actor):
            raise RunState(f"The run has ended ({self.run(run_id, caller).state}): there is nothing to cancel.")
        return replace(run, state="cancelled", finished_at=datetime.now(UTC))

    def product(self, run_id: str, caller: Caller, name: Product) -> Path:
        """The file of a complete run; what media type it has stands in ``entries.MEDIA_TYPES``.

        Raises:
            UnknownRun: if there is none that the caller may see, or its files are on another server.
            RunState: if it is not complete: nothing is shown before the slide's scope was checked; or the file is
                of DICOM slides alone, and the slide is none.
            DicomNotInstalled: if the file is DICOM, and the server cannot write it.
        """
        run = self.run(run_id, caller)
        if run.state != "complete" or run.scope is None:
            raise RunState(f"The run is {run.state}: it has no {name}; only complete runs have.")
        file = self._workplace.product(run_id, name)
        if file is None:
            raise absent(name)
        return file

    def products(self, run_id: str) -> Sequence[Product]:
        """The files that a run has here."""
        return [name for name in MEDIA_TYPES if self._workplace.product(run_id, name) is not None]

    def _picture(
        self, slide_id: str, magic: bytes, refused: type[UnknownPart | SlideRefused], *what: str, **how: Any
    ) -> bytes:
        file = self._file(slide_id)
        self._readable(file)
        version = file.version()
        key = (slide_id, version, *what, *how.values())
        if (picture := self._cache.get(key)) is not None:
            return picture
        if version is None:
            raise UnknownSlide("The file of the slide is gone: read the list of slides again.")
        attached = self._asked(partial(self._processes.ask, file, version, *what, **how), refused)
        if len(attached) != 1 or not attached[0].startswith(magic):
            raise SlideRefused("The process that reads the slide gave no picture: the file may be damaged.")
        self._cache.put(key, attached[0])
        return attached[0]

    def _asked(self, ask: Callable[[], Message], refused: type[UnknownPart | SlideRefused]) -> Sequence[bytes]:
        try:
            return ask()[1]
        except ReaderDiedError as error:
            raise SlideRefused(_sentence(error)) from error
        except SlideRefusedError as error:
            raise refused(_sentence(error)) from error
        except SandboxUnavailable as error:
            raise UnknownSlide(_sentence(error)) from error

    def _readable(self, file: SlideFile) -> Description:
        found = self.catalogue.describe(file)
        if isinstance(found, str):
            raise SlideRefused(_sentence(found))
        return found

    def _file(self, slide_id: str) -> SlideFile:
        self._check_installed()
        file = self.catalogue.find(slide_id)
        if file is None or (file.version() is None and not file.refused):
            raise UnknownSlide(
                self.catalogue.unavailable() or "No slide has this id: read the list of slides, GET /slides."
            )
        return file

    def _entry(
        self, file: SlideFile, found: Description | str | None, last: SlideRun | None, caller: Caller
    ) -> SlideEntry:
        name = file.name if _own_key(caller) is None else None
        if found is None:
            return SlideEntry(file.id, name, "waiting", "it has not been opened yet", last_run=last)
        if isinstance(found, str):
            return SlideEntry(file.id, name, "refused", found, last_run=last)
        return SlideEntry(
            file.id,
            name,
            "refused" if found.reason else "ready",
            found.reason,
            found.width,
            found.height,
            found.microns_per_pixel,
            found.vendor,
            last,
        )

    def _scale(self) -> float | None:
        model = self._serving.state.model
        return model.manifest.input.microns_per_pixel if model is not None else None

    def _check_installed(self) -> None:
        if not self.installed:
            raise SlidesNotInstalled


def _own_key(caller: Caller) -> str | None:
    """Confine a key of role predict or pathologist to its own runs; it sees no names of files, either."""
    return caller.key_id if caller.role in {Role.PREDICT, Role.PATHOLOGIST} else None


def _sentence(error: object) -> str:
    text = str(error)
    return text[:1].upper() + text[1:] + ("" if text.endswith(".") else ".")

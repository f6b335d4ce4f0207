"""The slides that are offered, and what each says of itself; a thread opens those that nobody has opened yet."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import inf
from pathlib import Path
from time import monotonic

from pydantic import ValidationError

from app.problems import Problem
from app.registry.sandbox import SandboxUnavailable
from app.slides import landlock
from app.slides.descriptions import Description, Descriptions, Kept
from app.slides.folders import SlideFile, find_slides
from app.slides.viewer import ReaderDiedError, SlideProcesses, SlideRefusedError, shown

FRESH_S = 5.0
RETRY_S = 60.0
KEEP_EVERY = 50  # slides that are opened

log = logging.getLogger("rosette.slides")


@dataclass(frozen=True)
class _Known:
    version: tuple[int, ...]
    scale: float | None
    found: Description | str
    until: float


class Catalogue:
    """Slides by their ids.

    Args:
        roots: the configured folders.
        secret: gives the secret behind the ids.
        processes: open slides.
        scale: gives the microns per pixel that the serving model expects, None if there is none.
        kept: what slides said of themselves before a restart.
    """

    def __init__(
        self,
        roots: Sequence[Path],
        secret: Callable[[], bytes],
        processes: SlideProcesses,
        scale: Callable[[], float | None],
        kept: Descriptions,
    ) -> None:
        self._roots = roots
        self._secret = secret
        self._processes = processes
        self._scale = scale
        self._kept = kept
        self._opened = 0
        self._files: dict[str, SlideFile] = {}
        self._walked_at = -FRESH_S
        self._known: dict[str, _Known] = {}
        self._lock = threading.Lock()
        self._changed = threading.Condition()
        self._wanted = threading.Event()
        self._stop = False
        self._unconfined = ""
        self._thread = threading.Thread(target=self._run, name="slides-catalogue", daemon=True)

    def start(self) -> None:
        if self._roots:
            self._thread.start()

    def stop(self) -> None:
        self._stop = True
        self._wanted.set()

    def join(self) -> None:
        if self._thread.is_alive():
            self._thread.join()

    def unavailable(self) -> str:
        """Why no slide is offered; empty if slides are."""
        if not self._roots:
            return "No folder of slides is configured: set ROSETTE_SLIDES to the folders, separated by colons."
        if not self._unconfined:
            try:
                landlock.abi()
            except SandboxUnavailable as error:
                self._unconfined = str(error)
        if self._unconfined:
            why = f"this machine cannot take those away: {self._unconfined}"
            return f"Slides are opened only by processes without rights, and {why}."
        missing = [str(root) for root in self._roots if not root.is_dir()]
        if len(missing) == len(self._roots):
            return "None of the folders of ROSETTE_SLIDES is there: mount or make them, or correct the setting."
        return ""

    def files(self) -> list[SlideFile]:
        """The slides that are there now, or were five seconds ago."""
        if self.unavailable():
            return []
        with self._lock:
            if monotonic() - self._walked_at >= FRESH_S:
                self._files = {file.id: file for file in find_slides(self._roots, self._secret())}
                self._walked_at = monotonic()
                for gone in self._known.keys() - self._files.keys():
                    del self._known[gone]
            return list(self._files.values())

    def find(self, slide_id: str) -> SlideFile | None:
        """The slide of an id."""
        if (file := self._files.get(slide_id)) is None or self.unavailable():
            file = next((file for file in self.files() if file.id == slide_id), None)
        return file

    def described(self, file: SlideFile) -> Description | str | None:
        """What the slide says of itself, or why it cannot be opened; None if that is not known yet."""
        if file.refused:
            return file.refused
        version, scale = file.version(), self._scale()
        if version is None:
            return "the file is gone"
        known = self._known.get(file.id)
        if known and (known.version, known.scale) == (version, scale) and monotonic() < known.until:
            return known.found
        return None

    def describe(self, file: SlideFile) -> Description | str:
        """The same, opening the slide if need be."""
        if (known := self.described(file)) is not None:
            return known
        version, scale = file.version(), self._scale()
        if version is None:
            return "the file is gone"
        until = inf
        found: Description | str
        try:
            header, _ = self._processes.ask(file, version, "describe", model_mpp=scale)
            found = Description.model_validate(header)
        except ReaderDiedError as error:
            found, until = str(error), monotonic() + RETRY_S
        except SlideRefusedError as error:
            found = str(error)
        except ValidationError:
            found = "what the file says of itself makes no sense: it is damaged"
        except SandboxUnavailable as error:
            log.error("slides are not offered: %s", error)
            self._unconfined = str(error)
            return str(error)
        if isinstance(found, Description):
            found = found.model_copy(update={"reason": shown(found.reason), "vendor": shown(found.vendor)})
        self._known[file.id] = _Known(version, scale, found, until)
        self._opened += 1
        with self._changed:
            self._changed.notify_all()
        return found

    def wait(self, files: Sequence[SlideFile], seconds: float) -> None:
        """Have the thread open what nobody has opened yet, and wait until it has, or the time is over."""
        self._wanted.set()
        deadline = monotonic() + seconds
        with self._changed:
            while any(self.described(file) is None for file in files) and not self._unconfined:
                if not self._changed.wait(max(0.0, min(1.0, deadline - monotonic()))) and monotonic() >= deadline:
                    return

    def _keep(self) -> None:
        known = {
            slide: Kept(version=list(each.version), scale=each.scale, found=each.found)
            for slide, each in list(self._known.items())
            if each.until == inf
        }
        self._opened = 0
        self._kept.write(known)

    def _run(self) -> None:
        for slide, each in self._kept.read().items():
            self._known.setdefault(slide, _Known(tuple(each.version), each.scale, each.found, inf))
        while not self._stop:
            self._wanted.wait()
            self._wanted.clear()
            try:
                for file in self.files():
                    if self._stop:
                        return
                    self.describe(file)
                    if self._opened >= KEEP_EVERY:
                        self._keep()
                if self._opened:
                    self._keep()
            except Problem as problem:  # the database is away: whoever asks next sets it off again
                log.warning("slides cannot be looked for: %s", problem.detail)
            except OSError as error:
                log.warning("slides cannot be looked for: %s", error)

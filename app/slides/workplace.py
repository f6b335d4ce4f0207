"""The folder of the runs' files, below the data folder; one server process at a time scores in it."""

from __future__ import annotations

import fcntl
import os
import secrets
import shutil
from collections.abc import Set
from pathlib import Path

from app.slides.entries import Product

_NAME_BYTES = 16


class Workplace:
    """Folders of runs.

    Args:
        home: the data folder.
    """

    def __init__(self, home: Path) -> None:
        self._folder = home / "slides"
        self._lock: int | None = None

    @property
    def name(self) -> str:
        """What tells this folder from those of other servers of the same database; made once."""
        file = self._folder / "place"
        try:
            return file.read_text(encoding="ascii").strip()
        except FileNotFoundError:
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        draft = self._folder / f".place.{secrets.token_hex(4)}"
        draft.write_text(secrets.token_hex(_NAME_BYTES) + "\n", encoding="ascii")
        try:
            os.link(draft, file)
        except FileExistsError:
            pass  # another process of this server was faster
        finally:
            draft.unlink()
        return file.read_text(encoding="ascii").strip()

    def folder(self, run_id: str) -> Path:
        """Where a run's files are, or will be."""
        return self._folder / "runs" / run_id

    def product(self, run_id: str, name: Product) -> Path | None:
        """A file that a complete run has made; None if it is not there."""
        for folder in self.results(run_id):
            file = folder / name
            if file.is_file() and not file.is_symlink():
                return file
        return None

    def results(self, run_id: str) -> list[Path]:
        """The folder that ``slides.run`` makes within the run's, if it has begun."""
        folder = self.folder(run_id)
        if not folder.is_dir():
            return []
        return [each for each in folder.iterdir() if each.is_dir() and not each.is_symlink()]

    def make(self, run_id: str) -> Path:
        folder = self.folder(run_id)
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        return folder

    def remove(self, run_id: str) -> None:
        shutil.rmtree(self.folder(run_id), ignore_errors=True)

    def remove_all_but(self, known: Set[str]) -> None:
        """Remove the folders of runs that nobody knows: a kill came between a deletion and its clean-up."""
        folder = self._folder / "runs"
        for each in folder.iterdir() if folder.is_dir() else ():
            if each.name not in known:
                shutil.rmtree(each, ignore_errors=True)

    def claim(self) -> bool:
        """Become the one process that scores here; whether that is so. Lasts until :meth:`release` or the end."""
        if self._lock is not None:
            return True
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(self._folder / ".scoring", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            return False
        self._lock = descriptor
        return True

    def release(self) -> None:
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

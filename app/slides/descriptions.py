"""What slides say of themselves, kept over a restart: an archive's slides need not all be opened again."""

from __future__ import annotations

import logging
import secrets
from collections.abc import Mapping
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, ValidationError

MAX_BYTES = 2**26

log = logging.getLogger("rosette.slides")


class Description(BaseModel):
    """What a slide's process found; all of it is bounded, since nothing that a slide says is trusted.

    Attributes:
        bounds: left, top, width, height of what was scanned, in level-0 pixels.
        levels: of Deep Zoom.
        reason: why it cannot be scored; empty if it can.
    """

    model_config = ConfigDict(frozen=True, strict=True, extra="forbid", allow_inf_nan=False)

    width: int = Field(ge=1, lt=2**31)
    height: int = Field(ge=1, lt=2**31)
    bounds: list[int] = Field(min_length=4, max_length=4)
    levels: int = Field(ge=1, le=32)
    vendor: str = Field(max_length=100)
    microns_per_pixel: float | None = Field(default=None, gt=0, le=100)
    reason: str = Field(default="", max_length=1000)


class Kept(BaseModel):
    """A slide's description, or why it cannot be opened.

    Attributes:
        version: of the file, as :meth:`app.slides.folders.SlideFile.version` gives it.
        scale: microns per pixel that the model expected.
    """

    model_config = ConfigDict(frozen=True, strict=True, extra="forbid", allow_inf_nan=False)

    version: list[int]
    scale: float | None
    found: Description | str


class _File(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)

    reader: str
    slides: dict[str, Kept]


class Descriptions:
    """A file of descriptions by the slides' ids; those of another version of OpenSlide are not used.

    Args:
        path: of the file; its folder is made.
    """

    def __init__(self, path: Path) -> None:
        self._path = path

    def read(self) -> dict[str, Kept]:
        """What was kept; nothing if the file is missing or damaged."""
        try:
            with self._path.open("rb") as stream:
                file = _File.model_validate_json(stream.read(MAX_BYTES))
        except FileNotFoundError:
            return {}
        except (OSError, ValidationError) as error:
            log.warning("the slides are opened again, since %s cannot be read: %s", self._path, type(error).__name__)
            return {}
        return file.slides if file.reader == _reader() else {}

    def write(self, slides: Mapping[str, Kept]) -> None:
        """Keep these, whole or not at all; a disk that is full costs time after the next restart, and no more."""
        content = _File(reader=_reader(), slides=dict(slides)).model_dump_json().encode()
        draft = self._path.with_name(f".{self._path.name}.{secrets.token_hex(4)}")
        try:
            self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            draft.write_bytes(content)
            draft.replace(self._path)
        except OSError as error:
            log.warning("descriptions of slides are not kept: %s", error)
            with suppress(OSError):
                draft.unlink(missing_ok=True)


def _reader() -> str:
    try:
        return f"{version('openslide-bin')} {version('openslide-python')}"
    except PackageNotFoundError:
        return ""

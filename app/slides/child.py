"""The process that opens one slide: gives up its rights, then answers what it is asked about it.

    python -I -m app.slides.child

On standard input come messages as ``app.inference.frames`` writes them: first which slide (``root``, ``relative``,
``beside``), then questions (``do`` and its arguments). Each has one answer on standard output: ``refused`` or
``failed`` says why there is nothing else. The first answer says whether the process is confined, before the slide is
opened.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import openslide  # noqa: F401  # it and the next open slides, when no library can be loaded any more
import tifffile  # noqa: F401
from PIL import Image

from app.inference.frames import Header, frame, read
from app.registry.sandbox import SandboxUnavailable
from app.slides.confine import Bounds, confine
from app.slides.landlock import open_below
from app.slides.picture import Picture
from slides.errors import SlideError
from slides.scale import scale_of

MEMORY_BYTES = 1536 * 2**20
CPU_SECONDS = 600

Answer = tuple[Header, Sequence[bytes]]


def main() -> None:
    message = read(sys.stdin.buffer)
    assert message is not None
    path, readable = admit(message[0])
    Image.preinit()
    try:
        confine(readable, None, Bounds(MEMORY_BYTES, CPU_SECONDS))
    except SandboxUnavailable as error:
        tell({"unconfined": str(error)})
        os._exit(0)
    try:
        picture = Picture(path)
    except (SlideError, OSError, MemoryError) as error:
        tell({"refused": str(error) or "the slide needs too much memory"})
        os._exit(0)
    tell({"opened": True})
    while (message := read(sys.stdin.buffer)) is not None:
        tell(*_answer(picture, message[0]))
    os._exit(0)  # the interpreter's own end would need rights


def admit(wanted: Header) -> tuple[Path, list[int]]:
    """The slide's path without links, and descriptors of all that belongs to it.

    Raises:
        SystemExit: if it is gone or leads out of its folder; the answer was told.
    """
    try:
        parts = [wanted["relative"], *([wanted["beside"]] if wanted["beside"] is not None else [])]
        readable = [open_below(wanted["root"], part) for part in parts]
    except OSError as error:
        tell({"refused": f"the file cannot be opened: {error.strerror}"})
        raise SystemExit(0) from error
    return Path(f"/proc/self/fd/{readable[0]}").readlink(), readable


def tell(header: Header, attachments: Sequence[bytes] = ()) -> None:
    """Write one message to standard output."""
    data = memoryview(frame(header, attachments))
    while data:
        data = data[os.write(1, data) :]


def _answer(picture: Picture, wanted: Header) -> Answer:
    try:
        return _ACTIONS[wanted.pop("do")](picture, **wanted)
    except SlideError as error:
        return {"refused": str(error)}, []
    except MemoryError:
        return {"refused": "the slide needs too much memory"}, []
    except Exception as error:  # said to the server's log, and the process goes on
        return {"failed": f"{type(error).__name__}: {error}"}, []


def _describe(picture: Picture, model_mpp: float | None) -> Answer:
    level, bounds = picture.reader.levels[0], picture.bounds
    found: dict[str, Any] = {"width": level.width, "height": level.height, "vendor": picture.reader.vendor}
    found |= {"bounds": [bounds.x, bounds.y, bounds.width, bounds.height], "levels": picture.levels}
    try:
        found["microns_per_pixel"] = scale_of(picture.reader.properties).microns_per_pixel
        if model_mpp is not None:
            picture.plan(model_mpp)
    except SlideError as error:
        found["reason"] = str(error)
    return found, []


_ACTIONS: dict[str, Callable[..., Answer]] = {
    "describe": _describe,
    "thumbnail": lambda picture, longest: ({}, [picture.thumbnail(longest)]),
    "tile": lambda picture, level, column, row: ({}, [picture.tile(level, column, row)]),
    "patch": lambda picture, model_mpp, column, row: ({}, [picture.patch(model_mpp, column, row)]),
}


if __name__ == "__main__":
    main()

"""A patch that comes as its pixels and not as an image file."""

from __future__ import annotations

from collections.abc import Sequence
from io import BytesIO

import numpy as np
from PIL import Image

from model_zoo.turns import SIDE, Patch

PIXEL_BYTES = SIDE * SIDE * 3


class RawPixels(bytes):
    """The RGB bytes of a patch, uint8 [96, 96, 3] in C order; goes wherever an image file's bytes go."""

    __slots__ = ()

    def array(self) -> Patch:
        """The pixels, uint8 [96, 96, 3]."""
        return np.frombuffer(self, np.uint8).reshape(SIDE, SIDE, 3)


def as_files(patches: Sequence[bytes]) -> list[bytes]:
    """Patches as image files: raw pixels become PNG, files stay as they are."""
    return [_png(each) if isinstance(each, RawPixels) else each for each in patches]


def _png(raw: RawPixels) -> bytes:
    stream = BytesIO()
    Image.fromarray(raw.array()).save(stream, "PNG")
    return stream.getvalue()

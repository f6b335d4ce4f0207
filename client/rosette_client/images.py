"""Patches as image files."""

from __future__ import annotations

from io import BytesIO
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from PIL import Image as Pillow

if TYPE_CHECKING:
    import numpy as np

    Array: TypeAlias = np.ndarray[Any, np.dtype[np.uint8]]

Image: TypeAlias = "str | PathLike[str] | bytes | Pillow.Image | Array"

SHAPE = (96, 96, 3)


def encoded(image: Image) -> bytes:
    """The bytes of an image file: files as they are, pixels as PNG.

    Raises:
        OSError: if the file cannot be read.
        ValueError: if an array is not uint8 [96, 96, 3].
    """
    if isinstance(image, bytes):
        return image
    if isinstance(image, str | PathLike):
        return Path(image).read_bytes()
    if not isinstance(image, Pillow.Image):
        if image.shape != SHAPE or image.dtype != "uint8":
            raise ValueError(
                f"The array is {image.dtype} {list(image.shape)}, expected uint8 {list(SHAPE)} in RGB: cut a patch of "
                "96×96 pixels from the slide at the model's scale."
            )
        image = Pillow.fromarray(image)
    stream = BytesIO()
    image.save(stream, "PNG")
    return stream.getvalue()

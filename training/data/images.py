"""Decoding of image files into patches."""

from __future__ import annotations

import io
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image, UnidentifiedImageError

from training.data.content import fault_of
from training.data.patches import PATCH_PX, DataError

Pixels = npt.NDArray[np.uint8]
AT_A_TIME = 64  # to hand a thread a single image takes as long as to decode it


def blank(count: int) -> Pixels:
    """An uninitialized array for this number of patches, uint8 [N, 96, 96, 3]."""
    return np.empty((count, PATCH_PX, PATCH_PX, 3), np.uint8)


def decode_into(images: Pixels, encoded: Sequence[bytes | Path], origins: Sequence[str]) -> None:
    """Decode images, by their bytes or files, into ``images``, uint8 [N, 96, 96, 3].

    Raises:
        DataError: if one cannot be decoded or is not a single 96×96 image in opaque RGB, naming it.
    """

    def decode(begin: int) -> None:
        for row in range(begin, min(begin + AT_A_TIME, len(encoded))):
            images[row] = _decode(encoded[row], origins[row])

    with ThreadPoolExecutor() as pool:
        for _ in pool.map(decode, range(0, len(encoded), AT_A_TIME)):
            pass


def _decode(encoded: bytes | Path, origin: str) -> Pixels:
    if isinstance(encoded, Path):
        try:
            encoded = encoded.read_bytes()
        except FileNotFoundError as error:
            raise DataError(f"{origin} is listed but missing: restore the file or remove its row") from error
    try:
        with Image.open(io.BytesIO(encoded)) as image:
            wrong = _wrong_form(image)
            pixels = None if wrong else np.asarray(image)
    except Exception as error:  # Pillow's decoders raise various exceptions
        found = fault_of(encoded[:512], "image") if isinstance(error, UnidentifiedImageError) else None
        raise DataError(f"{origin} {found or f'cannot be decoded ({error}): replace or remove it'}") from error
    if pixels is None:
        raise DataError(f"{origin} {wrong}")
    if pixels.shape[2] == 4:
        if (pixels[:, :, 3] != 255).any():
            raise DataError(f"{origin} is transparent in places: composite it onto white and save it as RGB")
        pixels = pixels[:, :, :3]
    return pixels


def _wrong_form(image: Image.Image) -> str | None:
    """The error in an image by its header, to follow its name in a message; or None."""
    if image.mode not in {"RGB", "RGBA"}:
        return f"is {image.mode}, expected RGB with 8 bits a channel: convert it"
    if image.size != (PATCH_PX, PATCH_PX):
        return (
            f"is {image.width}×{image.height} px, expected {PATCH_PX}×{PATCH_PX}: "
            "cut patches of that size at about 0.97 microns per pixel"
        )
    if getattr(image, "n_frames", 1) != 1:
        return f"holds {getattr(image, 'n_frames', 1)} images, expected one: split it"
    return None

"""Slide files made for tests, of synthetic tissue."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
from PIL import Image

from model_zoo.synthetic import Kind, synthetic_patch
from model_zoo.turns import SIDE
from slides.reader import Pixels

GLASS = 244


def tissue(drawing: Sequence[str], scale: float = 1.0) -> Pixels:
    """uint8 [h, w, 3]: a patch of 96 px for each character (t tumour, n normal, . glass, p pen), enlarged."""
    kinds: dict[str, Kind] = {"t": "tumour", "n": "normal"}
    rows = []
    for row, line in enumerate(drawing):
        patches = []
        for column, character in enumerate(line):
            if character in kinds:
                patches.append(synthetic_patch(kinds[character], 100 * row + column))
            else:
                ink = (GLASS, GLASS, GLASS) if character == "." else (20, 90, 40)
                patches.append(np.full((SIDE, SIDE, 3), ink, np.uint8))
        rows.append(np.concatenate(patches, axis=1))
    image = Image.fromarray(np.concatenate(rows))
    size = (round(image.width * scale), round(image.height * scale))
    return np.array(image.resize(size, Image.Resampling.BICUBIC))


def write_svs(
    path: Path,
    pixels: Pixels,
    mpp: float | None = 0.485,
    levels: Sequence[int] = (),
    compression: str = "jpeg",
    power: bool = True,
) -> Path:
    """A tiled TIFF as an Aperio scanner describes it.

    Args:
        mpp: microns per pixel; None to state none.
        levels: how many pixels of the first level, across and down, make one of each further level.
        power: whether it names its objective.
    """
    facts = "|AppMag = 20" * power + (f"|MPP = {mpp:.4f}" if mpp is not None else "")
    description = f"Aperio Image Library v11.2.1\n{pixels.shape[1]}x{pixels.shape[0]} (256x256) JPEG/RGB Q=90{facts}"
    options: dict[str, Any] = {"tile": (256, 256), "photometric": "rgb", "metadata": None, "compression": compression}
    if compression == "jpeg":
        options["compressionargs"] = {"level": 95}
    with tifffile.TiffWriter(path) as file:
        file.write(pixels, description=description, **options)
        for level in levels:
            file.write(_smaller(pixels, level), description=description, subfiletype=1, **options)
    return path


def write_tiff(path: Path, pixels: Pixels, dots_per_centimetre: float | None) -> Path:
    """A generic tiled TIFF, without compression."""
    resolution: dict[str, Any] = {}
    if dots_per_centimetre is not None:
        resolution = {"resolution": (dots_per_centimetre,) * 2, "resolutionunit": "CENTIMETER"}
    tifffile.imwrite(path, pixels, tile=(256, 256), photometric="rgb", metadata=None, **resolution)
    return path


def spoil_tile(path: Path, page: int, tile: int) -> None:
    """Overwrite a compressed tile with what no decoder takes."""
    with tifffile.TiffFile(path) as file:
        offset, length = file.pages[page].dataoffsets[tile], file.pages[page].databytecounts[tile]
    with path.open("r+b") as stream:
        stream.seek(offset)
        stream.write(b"\xff" * length)


def _smaller(pixels: Pixels, factor: int) -> Pixels:
    image = Image.fromarray(pixels[: len(pixels) // factor * factor, : pixels.shape[1] // factor * factor])
    return np.array(image.reduce(factor))

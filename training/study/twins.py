"""Patches that a data folder has both as JPEG and lossless."""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import sha1
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from model_zoo.turns import Patch
from training.data import Patches

LOSSLESS = "lossless.parquet"
SPLITS = ("train", "valid")  # never test
COLUMNS = ("image", "label", "id", "encoding")


class NoTwinsError(ValueError):
    """The data folder has no patches in both encodings."""


@dataclass(frozen=True)
class Twins:
    """The same patches twice.

    Attributes:
        jpeg: as in the train or valid split.
        lossless: uint8 [N, 96, 96, 3].
        split: ``"train"`` or ``"valid"``, [N].
        encoding: encoding of the JPEG as stated in the split's file, [N].
    """

    jpeg: Patches
    lossless: Patch
    split: npt.NDArray[np.str_]
    encoding: npt.NDArray[np.str_]


def twins(folder: Path) -> Twins:
    """The train and valid rows of ``lossless.parquet`` with the splits' rows of the same ids; test is not read.

    There, ``encoding`` names the split; an id is the SHA-1 of the lossless pixels.

    Raises:
        NoTwinsError: if the file is missing, or its rows cannot be matched one to one.
    """
    if not (folder / LOSSLESS).exists():
        raise NoTwinsError(f"the data folder has no {LOSSLESS}")
    lossless = {row["id"]: row for row in _rows(folder / LOSSLESS, "encoding", SPLITS)}
    if not lossless:
        raise NoTwinsError(f"{LOSSLESS} has no rows whose encoding is {' or '.join(SPLITS)}")
    pixels = {name: decode(row["image"]["bytes"]) for name, row in lossless.items()}
    if strangers := [name for name, image in pixels.items() if _id(image) != name]:
        raise NoTwinsError(f"{len(strangers)} ids of {LOSSLESS} are not the SHA-1 of their pixels: {strangers[0]!r}")
    files = [(split, file) for split in SPLITS for file in sorted(folder.glob(f"{split}*.parquet"))]
    found = [(split, row) for split, file in files for row in _rows(file, "id", tuple(lossless))]
    expected = {(name, row["encoding"], row["label"]) for name, row in lossless.items()}
    matched = expected & {(row["id"], split, row["label"]) for split, row in found}
    if len(found) != len(lossless) or matched != expected:
        raise NoTwinsError(
            f"{len(matched)} of {len(lossless)} rows of {LOSSLESS} have a row of the same id and label in their split, "
            f"which has {len(found)} rows with these ids: expected one for each"
        )
    images = np.stack([decode(row["image"]["bytes"]) for _, row in found])
    labels = np.array([row["label"] for _, row in found], np.int64)
    return Twins(
        jpeg=Patches(images, labels, f"{LOSSLESS}: {len(found)} twins"),
        lossless=np.stack([pixels[row["id"]] for _, row in found]),
        split=np.array([split for split, _ in found]),
        encoding=np.array([row["encoding"] for _, row in found]),
    )


def decode(encoded: bytes) -> Patch:
    """Decode an image's bytes to uint8 [H, W, 3]."""
    with Image.open(BytesIO(encoded)) as image:
        return np.asarray(image.convert("RGB"))


def _id(image: Patch) -> str:
    return sha1(image.tobytes(), usedforsecurity=False).hexdigest()


def _rows(file: Path, column: str, values: tuple[str, ...]) -> list[dict[str, Any]]:
    """The rows whose ``column`` is one of ``values``."""
    import pyarrow.parquet as pq

    if missing := set(COLUMNS) - set(pq.read_schema(file).names):
        raise NoTwinsError(f"{file.name} has no column {', '.join(sorted(missing))}")
    rows: list[dict[str, Any]] = pq.read_table(
        file, columns=list(COLUMNS), filters=[(column, "in", values)]
    ).to_pylist()
    return rows

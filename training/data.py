"""Labelled patches from the official PCam HDF5 files, Parquet shards or image folders.

The three layouts that a data folder may have:

- ``camelyonpatch_level_2_split_train_x.h5`` and ``…_y.h5`` (also ``valid``, ``test``): the official files;
- ``train*.parquet``, ``valid*.parquet``, ``test*.parquet`` with columns ``image`` (a struct with ``bytes``)
  and ``label``: Hugging Face's layout;
- ``train/0/*.png``, ``train/1/*.png`` and so on: folders of images, named by their label.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt
from PIL import Image

from training.mobilenetv2 import PATCH_PX

SplitName = Literal["train", "valid", "test"]
IMAGE_SUFFIXES = {".png", ".jpg", ".jpeg", ".tif", ".tiff"}


class DataError(ValueError):
    """The data folder does not hold what was asked of it."""


@dataclass(frozen=True)
class Patches:
    """Patches in memory.

    Attributes:
        images: uint8 [N, 96, 96, 3], RGB.
        labels: int64 [N], 1 where the centre 32×32 px hold tumour.
        source: what was read, with the number of patches and a hash of their pixels and labels.
    """

    images: npt.NDArray[np.uint8]
    labels: npt.NDArray[np.int64]
    source: str

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: npt.NDArray[np.bool_] | npt.NDArray[np.int64] | slice) -> Patches:
        return Patches(self.images[index], self.labels[index], self.source)

    @cached_property
    def sha256(self) -> str:
        """Hash over all pixels and labels, in order."""
        digest = hashlib.sha256(np.ascontiguousarray(self.images).data)
        digest.update(np.ascontiguousarray(self.labels).data)
        return digest.hexdigest()


def load(folder: Path, split: SplitName) -> Patches:
    """Read one split of a data folder in whichever of the three layouts it has.

    Raises:
        DataError: if the folder holds no such split, or an image cannot be decoded or is not 96×96 RGB.
    """
    for read in (_read_hdf5, _read_parquet, _read_folders):
        patches = read(folder, split)
        if patches is not None:
            return patches
    raise DataError(
        f"{folder} holds no {split!r} split: expected *_{split}_x.h5 with its _y.h5, {split}*.parquet, "
        f"or folders {split}/0 and {split}/1 with images"
    )


def in_calibrating_half(valid: Patches) -> npt.NDArray[np.bool_]:
    """Which validation patches are for calibrating, by a hash of their pixels, [N]; the others are for choosing."""
    return np.array([hashlib.sha256(image.tobytes()).digest()[0] & 1 for image in valid.images], dtype=bool)


def halves_of_valid(valid: Patches) -> tuple[Patches, Patches]:
    """Split the validation patches in two, fixed by their pixels: (for choosing, for calibrating)."""
    calibrating = in_calibrating_half(valid)
    return valid[~calibrating], valid[calibrating]


def _decode(encoded: bytes, name: str) -> npt.NDArray[np.uint8]:
    try:
        with Image.open(io.BytesIO(encoded)) as image:
            if image.mode != "RGB":
                raise DataError(f"{name} is {image.mode}, expected RGB")
            pixels = np.asarray(image)
    except (OSError, SyntaxError) as error:
        raise DataError(f"{name} cannot be decoded: {error}") from error
    if pixels.shape != (PATCH_PX, PATCH_PX, 3):
        raise DataError(f"{name} is {pixels.shape[1]}×{pixels.shape[0]} px, expected {PATCH_PX}×{PATCH_PX}")
    return pixels


def _decode_all(encoded: Iterable[tuple[bytes, str]]) -> npt.NDArray[np.uint8]:
    with ThreadPoolExecutor() as pool:
        return np.stack(list(pool.map(lambda item: _decode(*item), encoded)))


def _read_hdf5(folder: Path, split: SplitName) -> Patches | None:
    found = sorted(folder.glob(f"*_{split}_x.h5"))
    if not found:
        return None
    import h5py

    labels_file = found[0].with_name(found[0].name.replace("_x.h5", "_y.h5"))
    if not labels_file.exists():
        raise DataError(f"{found[0].name} has no {labels_file.name} beside it")
    with h5py.File(found[0]) as x, h5py.File(labels_file) as y:
        images, labels = np.asarray(x["x"]), np.asarray(y["y"]).reshape(-1).astype(np.int64)
    if images.shape[1:] != (PATCH_PX, PATCH_PX, 3) or len(images) != len(labels):
        raise DataError(f"{found[0].name} holds {images.shape} for {len(labels)} labels, expected [N, 96, 96, 3]")
    return Patches(images, labels, f"{found[0].name}: {len(labels)} patches, lossless")


def _read_parquet(folder: Path, split: SplitName) -> Patches | None:
    found = sorted(folder.glob(f"{split}*.parquet"))
    if not found:
        return None
    import pyarrow.parquet as pq

    images, labels = [], []
    for file in found:
        table = pq.read_table(file, columns=["image", "label"])
        cells = enumerate(table["image"].to_pylist())
        images.append(_decode_all((cell["bytes"], f"{file.name} row {row}") for row, cell in cells))
        labels.append(table["label"].to_numpy().astype(np.int64))
    stacked = np.concatenate(labels)
    return Patches(np.concatenate(images), stacked, f"{split}*.parquet: {len(stacked)} patches")


def _read_folders(folder: Path, split: SplitName) -> Patches | None:
    if not (folder / split / "0").is_dir() or not (folder / split / "1").is_dir():
        return None
    files = [
        (file, label)
        for label in (0, 1)
        for file in sorted((folder / split / str(label)).iterdir())
        if file.suffix.lower() in IMAGE_SUFFIXES
    ]
    if not files:
        raise DataError(f"{folder / split} holds no images ({', '.join(sorted(IMAGE_SUFFIXES))})")
    images = _decode_all((file.read_bytes(), str(file)) for file, _ in files)
    return Patches(images, np.array([label for _, label in files]), f"{split}/: {len(files)} images")

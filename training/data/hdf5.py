"""PCam's layout: ``camelyonpatch_level_2_split_train_x.h5`` with the images, ``…_y.h5`` with the labels."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from training.data import official
from training.data.content import fault, visible
from training.data.labels import as_labels
from training.data.layout import ALIASES, Found
from training.data.patches import PATCH_PX, DataError, Patches, SplitName, named

SHAPE = (PATCH_PX, PATCH_PX, 3)


def find(root: Path, split: SplitName) -> Found | None:
    """The split's file of images, if there is one.

    Raises:
        DataError: if there are several, or the labels are missing.
    """
    suffixes = tuple(f"_{alias}_x.h5" for alias in ALIASES[split])
    files = [file for file in visible(root) if f"_{file.name}".endswith(suffixes)]
    if not files:
        return None
    if len(files) > 1:
        raise DataError(
            f"{root} holds the {split} split twice, as {files[0].name} and as {files[1].name}: "
            "keep one and move the other away"
        )
    x = files[0]
    y = x.with_name(x.name.removesuffix("_x.h5") + "_y.h5")
    if not y.is_file():
        packed = y.with_name(f"{y.name}.gz")
        advice = f"unpack it: gunzip {packed}" if packed.exists() else "put the file with its labels there"
        raise DataError(f"{x.name} has no {y.name} beside it: {advice}")
    return Found(x.name, lambda: _read(x, y, split))


def _read(x: Path, y: Path, split: SplitName) -> Patches:
    with _dataset(x, "x") as pixels, _dataset(y, "y") as marks:
        if len(pixels.shape) != 4 or pixels.shape[1:] != SHAPE or pixels.dtype != np.uint8:
            raise DataError(
                f"{x.name} holds {pixels.dtype} {pixels.shape}, expected uint8 [N, {PATCH_PX}, {PATCH_PX}, 3]: "
                "write pixels as RGB, 0 to 255, channels last"
            )
        count = len(pixels)
        if marks.shape not in {(count,), (count, 1), (count, 1, 1, 1)}:
            raise DataError(
                f"{x.name} holds {pixels.shape} for labels of shape {marks.shape} in {y.name}, "
                f"expected one label for each patch, [{count}, 1, 1, 1]: take both files from the same source"
            )
        labels = as_labels(marks[()].reshape(-1).tolist(), lambda row: f"{y.name} row {row}")
        with official.hashing(x, y, count) as sums:
            images = np.asarray(pixels[()])
    verdict = official.verdict(x, y, split, sums())
    return Patches(
        images,
        labels,
        f"{x.name}: {count} patches, lossless",
        named([f"{x.name} row {row}" for row in range(count)]),
        verdict.official,
        verdict.notes,
    )


@contextmanager
def _dataset(file: Path, key: str) -> Iterator[Any]:
    import h5py

    try:
        with h5py.File(file, "r") as content:
            if not isinstance(content.get(key), h5py.Dataset):
                found = ", ".join(sorted(content)) or "none"
                raise DataError(f"{file.name} holds the datasets {found}; read is {key!r}: rename the dataset")
            yield content[key]
    except (OSError, RuntimeError) as error:
        raise DataError(f"{file.name} {fault(file, 'HDF5')} ({error})") from error

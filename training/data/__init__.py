"""Labelled patches from the official PCam HDF5 files, Parquet shards, folders of images, Kaggle's or WILDS's layout.

Each layout has a module: :mod:`~training.data.hdf5`, :mod:`~training.data.parquet`,
:mod:`~training.data.folders`, :mod:`~training.data.kaggle`, :mod:`~training.data.wilds`.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from training.data import folders, hdf5, kaggle, parquet, wilds
from training.data.content import visible
from training.data.duplicates import require_distinct
from training.data.labels import READ
from training.data.patches import (
    DataError,
    MissingSplitError,
    Patches,
    SplitName,
    halves_of_valid,
    in_calibrating_half,
)

__all__ = [
    "DataError",
    "MissingSplitError",
    "Patches",
    "SplitName",
    "halves_of_valid",
    "in_calibrating_half",
    "load",
    "load_to_fit",
    "require_distinct",
    "require_enough_to_validate",
]

LAYOUTS = (hdf5, parquet, folders, kaggle, wilds)
NESTED = ("pcam", "data", "camelyon17_v1.0")  # of torchvision, Hugging Face and WILDS
ARCHIVES = (".gz", ".zip", ".tar", ".tgz", ".7z")
MIN_VALID = 32
MIN_OF_A_CLASS = 4
SHOWN = 6


def load(folder: Path, split: SplitName) -> Patches:
    """Read one split of a data folder in any layout, directly or from a subfolder such as ``pcam/``.

    Raises:
        MissingSplitError: if the folder has no such split.
        DataError: if it has the split twice, or the data are invalid; names the file, the row and the error.
    """
    if not folder.is_dir():
        raise MissingSplitError(f"{folder} is not a folder and has no {split!r} split: name the folder with the data")
    roots = [folder, *(nested for name in NESTED if (nested := folder / name).is_dir())]
    found = [split_of for root in roots for layout in LAYOUTS if (split_of := layout.find(root, split))]
    if not found:
        raise MissingSplitError(_missing(folder, roots, split))
    if len(found) > 1:
        raise DataError(
            f"{folder} holds the {split} split twice, in {found[0].name} and in {found[1].name}: "
            "keep one and move the other away"
        )
    patches = found[0].read()
    _require_both_classes(patches, found[0].name, split)
    return patches


def load_to_fit(folder: Path, *, allow_duplicates: bool = False) -> tuple[Patches, Patches]:
    """Read train and valid; an existing test split is only compared with them by hash.

    Args:
        folder: the data folder.
        allow_duplicates: whether train may contain duplicates.

    Raises:
        DataError: if a split is missing or invalid, has duplicates, shares patches with another, or valid is too small.
    """
    splits: dict[SplitName, Patches] = {"train": load(folder, "train"), "valid": load(folder, "valid")}
    require_enough_to_validate(splits["valid"])
    with suppress(MissingSplitError):
        splits["test"] = load(folder, "test")
    notes = require_distinct(splits, allow_in_train=allow_duplicates)
    train, valid = splits["train"], splits["valid"]
    return replace(train, notes=train.notes + notes), valid


def require_enough_to_validate(valid: Patches) -> None:
    """Require enough patches to choose an epoch with one half, and to calibrate with the other.

    Raises:
        DataError: if there are fewer than 32, or a half has fewer than 4 of a label.
    """
    if len(valid) < MIN_VALID:
        raise DataError(
            f"{valid.source}: too few to validate with, expected at least {MIN_VALID}: add patches to valid"
        )
    for half, purpose in zip(halves_of_valid(valid), ("chooses the epoch", "calibrates"), strict=True):
        positive = int(half.labels.sum())
        if min(positive, len(half) - positive) < MIN_OF_A_CLASS:
            raise DataError(
                f"{valid.source}: of the half that {purpose}, {len(half) - positive} have label 0 and {positive} "
                f"label 1, expected at least {MIN_OF_A_CLASS} of each: add patches to valid"
            )


def _require_both_classes(patches: Patches, files: str, split: SplitName) -> None:
    if not len(patches):
        raise DataError(f"{files} holds no patches of the {split} split: put the data there")
    positive = int(patches.labels.sum())
    if positive in (0, len(patches)):
        raise DataError(
            f"{files} holds {len(patches)} patches of the {split} split, all with label {min(positive, 1)}: "
            "both labels are needed; check how the labels were written"
        )


def _missing(folder: Path, roots: list[Path], split: SplitName) -> str:
    """The message for a missing split: what the folder has, what is read, and what to do."""
    entries = [entry for root in roots for entry in visible(root)]
    packed = next((entry for entry in entries if entry.name.endswith(ARCHIVES)), None)
    said = f"{folder} holds no {split!r} split: "
    if packed and packed.name.endswith(".h5.gz"):
        named = next((e for e in entries if e.name.endswith(f"_{split}_x.h5.gz")), packed)
        return f"{said}{named.name} is compressed; unpack it: gunzip {named}"
    if packed:
        return f"{said}{packed.name} is an archive; unpack it"
    if split == "test" and any(entry.name == kaggle.LABELS for entry in entries):
        return f"{said}Kaggle publishes no labels for its test patches; use valid, or PCam's official test files"
    for place in (root / split for root in roots):
        if place.is_dir() and (held := visible(place)):
            return (
                f"{said}{place} holds {held[0].name} and no folder named by a label or class; {READ}: "
                f"put the images into {split}/0 and {split}/1, or Kaggle's {kaggle.LABELS} beside {split}/"
            )
    names = [entry.name + "/" * entry.is_dir() for entry in entries]
    shown = ", ".join(names[:SHOWN]) + (f" and {len(names) - SHOWN} more" if len(names) > SHOWN else "")
    return (
        f"{said}found {shown or 'nothing'}; expected *_{split}_x.h5 with *_{split}_y.h5, {split}.parquet or "
        f"{split}-00000-of-00001.parquet, folders {split}/0 and {split}/1 with images, {kaggle.LABELS} with train/, "
        f"or {wilds.TABLE} with patches/"
    )

"""The layout of Kaggle's competition histopathologic-cancer-detection: ``train_labels.csv`` and ``train/ID.tif``.

It has no validation split, and no labels for its test patches. Here, ``valid`` is the tenth of the patches whose
id has a SHA-256 with a first byte below 26, and ``train`` are the others.
"""

from __future__ import annotations

from hashlib import sha256
from pathlib import Path

from training.data.content import visible
from training.data.images import blank, decode_into
from training.data.labels import as_labels
from training.data.layout import Found
from training.data.patches import DataError, Patches, SplitName, named
from training.data.tables import rows_of, safe

LABELS = "train_labels.csv"
VALID_BELOW = 26
NOTE = "Kaggle's layout does not identify slides: one slide may be in train and valid, so figures on valid are too good"


def find(root: Path, split: SplitName) -> Found | None:
    """Train and valid, if the folder has Kaggle's table of labels."""
    if split == "test" or not (root / LABELS).is_file():
        return None
    return Found(LABELS, lambda: _read(root, split))


def in_valid(name: str) -> bool:
    """Whether the patch with this id is held out for validation."""
    return sha256(name.encode()).digest()[0] < VALID_BELOW


def _read(root: Path, split: SplitName) -> Patches:
    lines: dict[str, tuple[str, str]] = {}
    for line, row in rows_of(root / LABELS, ("id", "label")):
        name = safe(row["id"], "id", line)
        if name in lines:
            raise DataError(f"{line} repeats the id {name} of {lines[name][0]}: remove one of the rows")
        lines[name] = line, row["label"]
    if not (root / "train").is_dir():
        raise DataError(f"{LABELS} has no folder train/ with the images beside it: unpack it there")
    for file in visible(root / "train"):
        if file.stem not in lines or file.suffix != ".tif":
            raise DataError(f"{file} has no row in {LABELS}, which names ID.tif: add the row or move the file away")
    chosen = [name for name in lines if in_valid(name) == (split == "valid")]
    labels = as_labels([lines[name][1] for name in chosen], lambda row: lines[chosen[row]][0])
    origins = [f"train/{name}.tif ({lines[name][0]})" for name in chosen]
    images = blank(len(chosen))
    decode_into(images, [root / "train" / f"{name}.tif" for name in chosen], origins)
    return Patches(images, labels, f"{LABELS}: {len(chosen)} patches", named(origins), notes=(NOTE,))

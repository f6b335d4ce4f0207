"""Folders of images: ``train/0/*.png``, ``train/1/*.png`` and so on, named by label or class."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from training.data.content import visible
from training.data.images import blank, decode_into
from training.data.labels import READ, class_of
from training.data.layout import ALIASES, Found
from training.data.patches import DataError, Patches, SplitName, named

IMAGE_SUFFIXES = {".png", ".jpg", ".jpeg", ".tif", ".tiff"}


def find(root: Path, split: SplitName) -> Found | None:
    """The split's folder, if it contains a folder for a class.

    Raises:
        DataError: if there are several.
    """
    folders = [root / alias for alias in ALIASES[split] if _classes(root / alias)]
    if not folders:
        return None
    if len(folders) > 1:
        raise DataError(
            f"{root} holds the {split} split twice, in {folders[0].name}/ and in {folders[1].name}/: "
            "keep one and move the other away"
        )
    return Found(f"{folders[0].name}/", lambda: _read(folders[0], split))


def _classes(folder: Path) -> list[tuple[Path, int]]:
    """Folders named by a label or class, with the label."""
    if not folder.is_dir():
        return []
    labelled = [(entry, class_of(entry.name)) for entry in visible(folder) if entry.is_dir()]
    return [(entry, label) for entry, label in labelled if label is not None]


def _read(folder: Path, split: SplitName) -> Patches:
    classes = _classes(folder)
    if strangers := [entry for entry in visible(folder) if entry not in dict(classes)]:
        raise DataError(
            f"{strangers[0]} is not a folder of a class, but {folder} has such folders; {READ}: "
            "rename it or move it away"
        )
    for label in (0, 1):
        same = [entry for entry, of in classes if of == label]
        if not same:
            raise DataError(f"{folder} holds no folder for label {label}, expected one for each label; {READ}")
        if len(same) > 1:
            raise DataError(
                f"{folder} holds {same[0].name}/ and {same[1].name}/, both for label {label}: merge the two folders"
            )
    files = [(file, label) for entry, label in sorted(classes, key=lambda c: c[1]) for file in visible(entry)]
    if not any(file.suffix.lower() in IMAGE_SUFFIXES for file, _ in files):
        raise DataError(f"{folder} holds no images ({', '.join(sorted(IMAGE_SUFFIXES))}): put them into its folders")
    for file, _ in files:
        if file.suffix.lower() not in IMAGE_SUFFIXES or not file.is_file():
            raise DataError(f"{file} is none of {', '.join(sorted(IMAGE_SUFFIXES))}: convert it or move it away")
    images = blank(len(files))
    origins = [str(file) for file, _ in files]
    decode_into(images, [file for file, _ in files], origins)
    labels = np.array([label for _, label in files], np.int64)
    return Patches(images, labels, f"{split}/: {len(files)} images", named(origins))

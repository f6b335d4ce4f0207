"""The layout of WILDS's Camelyon17: ``metadata.csv`` and ``patches/patient_…_node_…/patch_….png``.

The splits are those of WILDS (Koh et al. 2021), which keep hospitals apart: ``valid`` is center 1, ``test`` is
center 2, and ``train`` are the patches of the others whose column ``split`` is 0. Its ``id_val``, patches of the
training hospitals whose column is 1, is not read.
"""

from __future__ import annotations

from pathlib import Path

from training.data.images import blank, decode_into
from training.data.labels import as_labels
from training.data.layout import Found
from training.data.patches import DataError, Patches, SplitName, named
from training.data.tables import rows_of, safe

TABLE = "metadata.csv"
COLUMNS = ("patient", "node", "x_coord", "y_coord", "tumor", "center", "split")
SPLIT_OF_CENTER: dict[str, SplitName] = {"1": "valid", "2": "test"}
CENTERS = {"0", "1", "2", "3", "4"}
SPLITS = {"0", "1", "2", "3"}


def find(root: Path, split: SplitName) -> Found | None:
    """The split, if the folder has WILDS's table and patches."""
    if not (root / TABLE).is_file() or not (root / "patches").is_dir():
        return None
    return Found(TABLE, lambda: _read(root, split))


def _read(root: Path, split: SplitName) -> Patches:
    lines, files, values = [], [], []
    for line, row in rows_of(root / TABLE, COLUMNS):
        if _split(row, line) == split:
            lines.append(line)
            files.append(_file(row, line))
            values.append(row["tumor"])
    labels = as_labels(values, lines.__getitem__)
    origins = [f"{file} ({line})" for file, line in zip(files, lines, strict=True)]
    images = blank(len(files))
    decode_into(images, [root / file for file in files], origins)
    return Patches(images, labels, f"{TABLE}: {len(files)} patches of {split}", named(origins))


def _split(row: dict[str, str], line: str) -> SplitName | None:
    for column, known in (("center", CENTERS), ("split", SPLITS)):
        if row[column] not in known:
            raise DataError(
                f"{line}: {column} is {row[column]!r}, expected {', '.join(sorted(known))}: correct the row"
            )
    return SPLIT_OF_CENTER.get(row["center"], "train" if row["split"] == "0" else None)


def _file(row: dict[str, str], line: str) -> str:
    patient, node, x, y = (safe(row[column], column, line) for column in COLUMNS[:4])
    slide = f"patient_{patient}_node_{node}"
    return f"patches/{slide}/patch_{slide}_x_{x}_y_{y}.png"

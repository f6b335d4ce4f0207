"""A site's labelled patches: a folder with one folder per class, or a CSV file of files and labels."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path

from model_zoo.labels import READ, class_of

COLUMNS = ("file", "label")
MAX_CSV_BYTES = 2**20


@dataclass(frozen=True)
class LabelledFile:
    """An image file and its label, 0 or 1."""

    path: Path
    label: int


def labelled_files(source: Path) -> list[LabelledFile]:
    """The labelled files of a folder, or of a CSV file with the columns ``file`` and ``label``.

    Hidden files are left out. Paths in a CSV file are relative to its folder.

    Raises:
        ValueError: if a label is missing or unknown, a class has no folder, or a file is listed twice.
        OSError: if a file cannot be read.
    """
    files = _of_csv(source) if source.is_file() else _of_folder(source)
    seen: set[Path] = set()
    for file in files:
        if file.path in seen:
            raise ValueError(f"{file.path} is listed twice: remove one of its rows")
        seen.add(file.path)
    return files


def _of_folder(folder: Path) -> list[LabelledFile]:
    visible = sorted(entry for entry in folder.iterdir() if not entry.name.startswith("."))
    classes = {entry: class_of(entry.name) for entry in visible if entry.is_dir()}
    labels = sorted(label for label in classes.values() if label is not None)
    if labels != [0, 1] or None in classes.values():
        names = ", ".join(entry.name for entry in classes) or "no folders"
        raise ValueError(
            f"{folder} holds {names}, expected one folder for each of the two labels; {READ}: rename the folders"
        )
    return [
        LabelledFile(path, label)
        for entry, label in classes.items()
        if label is not None
        for path in sorted(entry.rglob("*"))
        if path.is_file() and not any(part.startswith(".") for part in path.relative_to(entry).parts)
    ]


def _of_csv(file: Path) -> list[LabelledFile]:
    if file.stat().st_size > MAX_CSV_BYTES:
        raise ValueError(f"{file} has over {MAX_CSV_BYTES} bytes, which is too large for a list of patches")
    try:
        with file.open(encoding="utf-8-sig", newline="") as text:
            reader = csv.DictReader(text)
            if missing := [name for name in COLUMNS if name not in (reader.fieldnames or [])]:
                raise ValueError(f"{file} lacks the column {' and '.join(missing)}, expected {' and '.join(COLUMNS)}")
            return [_row(file, reader.line_num, row) for row in reader]
    except (UnicodeDecodeError, csv.Error) as error:
        raise ValueError(f"{file} is not CSV in UTF-8: {error}") from error


def _row(file: Path, line: int, row: dict[str, str | None]) -> LabelledFile:
    name, label = (row["file"] or "").strip(), class_of(row["label"] or "")
    if not name:
        raise ValueError(f"{file} line {line} names no file: correct the row")
    if label is None:
        raise ValueError(f"{file} line {line}: the label is {(row['label'] or '')[:40]!r}; {READ}: correct the label")
    return LabelledFile(file.parent / name, label)

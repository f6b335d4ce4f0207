"""A site's labelled patches: a folder with one folder per class, or a CSV file of files and labels."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

from model_zoo.labels import READ, class_of

COLUMNS = ("file", "label")
MAX_CSV_BYTES = 2**20


@dataclass(frozen=True)
class LabelledFile:
    """An image file and its label, 0 or 1."""

    path: Path
    label: int


@dataclass(frozen=True)
class Row:
    """A row of a CSV file: its line, the file that it names, and the label, 0 or 1."""

    line: int
    file: str
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
    with file.open(encoding="utf-8-sig", newline="") as text:
        rows = rows_of(text, str(file))
    return [_existing(file, row) for row in rows]


def _existing(file: Path, row: Row) -> LabelledFile:
    path = file.parent / row.file
    if not path.is_file():
        raise ValueError(
            f"{file} line {row.line} names the file {row.file!r}, which is not in {file.parent}: correct the row, or "
            "put the file there"
        )
    return LabelledFile(path, row.label)


def rows_of(text: TextIO, name: str) -> list[Row]:
    """The rows of a CSV file with the columns ``file`` and ``label``.

    Args:
        text: its text, opened with ``newline=""``.
        name: what errors call it.

    Raises:
        ValueError: if it is no such CSV file, or a label is missing or unknown.
    """
    try:
        reader = csv.DictReader(text)
        if missing := [column for column in COLUMNS if column not in (reader.fieldnames or [])]:
            raise ValueError(
                f"{name} lacks {' and '.join(f'the column {each}' for each in missing)}: begin it with the line "
                f"{','.join(COLUMNS)}"
            )
        return [_row(name, reader.line_num, row) for row in reader]
    except (UnicodeDecodeError, csv.Error) as error:
        raise ValueError(f"{name} is not CSV in UTF-8: {error}") from error


def _row(name: str, line: int, row: dict[str, str | None]) -> Row:
    file, label = (row["file"] or "").strip(), class_of(row["label"] or "")
    if not file:
        raise ValueError(f"{name} line {line} names no file: correct the row")
    if label is None:
        raise ValueError(f"{name} line {line}: the label is {(row['label'] or '')[:40]!r}; {READ}: correct the label")
    return Row(line, file, label)

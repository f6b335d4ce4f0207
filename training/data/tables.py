"""CSV files that list patches, for the layouts of Kaggle and WILDS."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from training.data.content import fault
from training.data.patches import DataError

SAFE = re.compile(r"[0-9A-Za-z_-]{1,100}")


def rows_of(file: Path, columns: Sequence[str]) -> Iterator[tuple[str, dict[str, str]]]:
    """File, line and cells of every row.

    Raises:
        DataError: if a column is missing, a row has other columns, or the file is not CSV.
    """
    try:
        with file.open(encoding="utf-8-sig", newline="") as text:
            reader = csv.DictReader(text)
            found = reader.fieldnames or []
            if missing := [name for name in columns if name not in found]:
                content = fault(file, "CSV") if not found or found[0].lstrip().startswith("<") else ""
                raise DataError(
                    f"{file.name} {content}"
                    if content
                    else f"{file.name} has the columns {', '.join(found)}; read are {', '.join(columns)}, and "
                    f"{', '.join(missing)} is missing: rename the columns"
                )
            for row in reader:
                line = f"{file.name} line {reader.line_num}"
                if None in row or None in row.values():
                    raise DataError(f"{line} does not have the {len(found)} cells of the header: correct the row")
                yield line, row
    except (UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{file.name} {fault(file, 'CSV')} ({error})") from error


def safe(cell: str, column: str, line: str) -> str:
    """Check a cell that becomes part of a file name.

    Raises:
        DataError: if it contains characters other than letters, digits, ``_`` and ``-``.
    """
    if not SAFE.fullmatch(cell):
        raise DataError(f"{line}: {column} is {cell[:100]!r}, expected letters, digits, _ and -: correct the row")
    return cell

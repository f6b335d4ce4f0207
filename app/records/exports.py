"""Exports of predictions: CSV for spreadsheets, JSON lines with complete answers."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from sqlalchemy import Column, ColumnElement, case, exists, or_

from app.diagnosis.past import current
from app.records.filters import Filter
from app.records.predictions import PredictionLog
from app.records.tables import keys, predictions, reviews, verdicts

Values = tuple[Any, ...]

MAX_ROWS = 500
FORMULA = ("=", "+", "-", "@", "\t", "\r")
_RECORD: tuple[Column[Any], ...] = (keys.c.name, verdicts.c.state, verdicts.c.verdict, verdicts.c.readers)
CSV_COLUMNS = (*(column for column in predictions.columns if column.name != "answer"), *_RECORD)
_NAMES = {keys.c.name: "key_name", verdicts.c.state: "review_state"}
CSV_NAMES = tuple(_NAMES.get(column, column.name) for column in CSV_COLUMNS)


@dataclass(frozen=True)
class Format:
    """The format of an export.

    Attributes:
        suffix: suffix of the file name.
        columns: columns that are read.
        head: text before the first row.
        text: formats rows.
    """

    suffix: str
    media_type: str
    columns: Sequence[ColumnElement[Any]]
    head: str
    text: Callable[[Sequence[Values]], str]


@dataclass(frozen=True)
class ExportChunk:
    """Some rows of an export, and the id to continue after, None at the end."""

    text: str
    rows: int
    next: str | None


def as_seen_by(reviewer: str, file: Format) -> Format:
    """The format for a person who judges: a verdict is left out unless they judged, too, or people disagree."""
    own = exists().where(reviews.c.prediction_id == predictions.c.id, reviews.c.reviewer == reviewer)
    shown = case((or_(own, verdicts.c.state == "disagreed"), verdicts.c.verdict), else_=None)
    return replace(file, columns=[shown if column is verdicts.c.verdict else column for column in file.columns])


def piece(log: PredictionLog, file: Format, wanted: Filter, cursor: str | None = None) -> ExportChunk:
    """The next rows, newest first.

    Each piece is a separate query: a slow client holds neither a connection nor a snapshot.

    Raises:
        RecordsUnavailable: if the database fails.
    """
    rows = log.rows((predictions.c.id, *file.columns), MAX_ROWS, wanted, cursor)
    return ExportChunk(
        file.text([tuple(row[1:]) for row in rows]), len(rows), rows[-1][0] if len(rows) == MAX_ROWS else None
    )


def _csv(rows: Sequence[Values]) -> str:
    stream = io.StringIO()
    csv.writer(stream).writerows([cell(value) for value in row] for row in rows)
    return stream.getvalue()


def cell(value: object) -> object:
    """A value as CSV; text that a spreadsheet would treat as a formula is prefixed with an apostrophe."""
    match value:
        case bool():
            return "true" if value else "false"
        case datetime():
            return value.strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        case str() if value.startswith(FORMULA):
            return f"'{value}"
        case _:
            return value


def _lines(rows: Sequence[Values]) -> str:
    return "".join(f"{_line(*row)}\n" for row in rows)


def _line(
    answer: str, key_id: str, file_name: str | None, key_name: str | None, state: str | None, *said: str | int | None
) -> str:
    """The answer word for word, with the key, the file's name and the standing of its reviews in ``record``."""
    verdict, readers = said
    review = {"state": state or "open", "verdict": verdict, "readers": readers or 0}
    record = {"key_id": key_id, "key_name": key_name, "file_name": file_name, "review": review}
    return f'{current(answer)[:-1]},"record":{json.dumps(record, ensure_ascii=False)}}}'


_LINE_COLUMNS = (predictions.c.answer, predictions.c.key_id, predictions.c.file_name, *_RECORD)
CSV = Format("csv", "text/csv", CSV_COLUMNS, ",".join(CSV_NAMES) + "\r\n", _csv)
JSONL = Format("jsonl", "application/x-ndjson", _LINE_COLUMNS, "", _lines)

"""Insert rate and page queries of a long prediction log in SQLite.

    python benchmarks/records.py --rows 1000000

Fills a database in a temporary folder with a year of answers, and prints the median and the slowest time of a page of
50 for each filter, at its newest end and continued in the middle of the year.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from functools import partial
from itertools import islice
from pathlib import Path
from secrets import token_hex
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any
from uuid import UUID

import numpy as np
from sqlalchemy import Engine, insert
from uuid_utils.compat import uuid7

from app.diagnosis.example import EXAMPLE
from app.diagnosis.prediction_row import row
from app.diagnosis.report import Answer
from app.records.commit import Committer
from app.records.database import open_database
from app.records.entry import LogEntry
from app.records.exports import CSV, JSONL, piece
from app.records.filters import EVERYTHING, Filter, first_id
from app.records.migrations import migrate
from app.records.predictions import PredictionLog
from app.records.tables import predictions
from model_zoo.orbit import Rotations

YEAR = timedelta(days=365)
START = datetime(2025, 1, 1, tzinfo=UTC)
PAGE, GROUP, REPEATS = 50, 10_000, 15
COMMITS, ROUNDS, BEYOND, GROUPS = 100, 20, 5, (1, 3, 16)  # 5 of 20 ratios lie outside of each end of the interval
KEYS, MODELS, SLIDE, CASE = 5, 4, 100, 500
DECISIONS, SHARES = ("negative", "positive", "review", "not_assessable"), (0.75, 0.149, 0.1, 0.001)


def rows(number: int) -> Iterator[dict[str, Any]]:
    """A year of answers: models in sequence, alternating keys, random decisions."""
    template = row(Answer.model_validate(EXAMPLE), Rotations.FULL, "")
    decisions = np.random.default_rng(0).choice(DECISIONS, number, p=SHARES)
    for place in range(number):
        moment = START + YEAR * place / number
        milliseconds = int(moment.timestamp() * 1000)
        decision = str(decisions[place])
        label = {"negative": "no_metastasis", "not_assessable": None}.get(decision, "metastasis")
        model = place * MODELS // number
        yield template | {
            "id": str(UUID(int=(milliseconds << 80) | (7 << 76) | (2 << 62) | place)),
            "created_at": moment,
            "key_id": f"key-{place % KEYS}",
            "model_name": f"model-{model}",
            "model_sha256": f"{model:064x}",
            "patch_sha256": f"{place * 2654435761 % 2**64:064x}",
            "case_id": f"case-{place // CASE}",
            "slide_id": f"slide-{place // SLIDE}",
            "label": label,
            "decision": decision,
        }


def fill(engine: Engine, number: int) -> float:
    """Insert the rows; returns the seconds it took."""
    start, source = time.perf_counter(), rows(number)
    while together := list(islice(source, GROUP)):
        with engine.begin() as connection:
            connection.execute(insert(predictions), together)
    return time.perf_counter() - start


def commit_rate(engine: Engine, together: int) -> float:
    """Rows committed per second in groups of this size, each commit on disk."""
    template = row(Answer.model_validate(EXAMPLE), Rotations.FULL, "key-0")
    seconds, committer = 0.0, Committer(engine)
    for _ in range(COMMITS):
        now = datetime.now(UTC)
        group = [
            LogEntry(template | {"id": str(uuid7()), "created_at": now, "patch_sha256": token_hex(32)})
            for _ in range(together)
        ]
        start = time.perf_counter()
        committer.commit(group)
        seconds += time.perf_counter() - start
    committer.close()
    return COMMITS * together / seconds


def compare_rates(small: Engine, large: Engine, together: int) -> str:
    """Rates of a new and of a long log, measured alternately; median of the ratio with a 96 % interval."""
    pairs = [(commit_rate(small, together), commit_rate(large, together)) for _ in range(ROUNDS)]
    ratios = sorted(after / before for before, after in pairs)
    low, high = ratios[BEYOND], ratios[-1 - BEYOND]
    before, after = (median(rates) for rates in zip(*pairs, strict=True))
    return f"{before:.0f} and {after:.0f} rows/s, ratio {median(ratios):.2f} [{low:.2f}, {high:.2f}]"


def timed(call: Callable[[], object]) -> str:
    """Median and largest time of a call in milliseconds."""
    times = []
    for _ in range(REPEATS):
        start = time.perf_counter()
        call()
        times.append((time.perf_counter() - start) * 1e3)
    return f"{median(times):6.1f} {max(times):6.1f}"


def main(number: int) -> None:
    middle = START + YEAR / 2
    filters = {
        "no filter": EVERYTHING,
        "a month, by since and until": Filter(since=middle, until=middle + timedelta(days=30)),
        "a key": Filter(key="key-1"),
        "a key and a decision": Filter(key="key-1", decision="review"),
        "the last model, by name": Filter(model=f"model-{MODELS - 1}"),
        "the first model, by SHA-256": Filter(model=f"{0:064x}"),
        "a label": Filter(label="metastasis"),
        "a label and a month": Filter(label="metastasis", since=middle, until=middle + timedelta(days=30)),
        "a decision, 1 in 1000": Filter(decision="not_assessable"),
        "a case": Filter(case_id=f"case-{number // CASE // 2}"),
        "a case, a key and a label": Filter(case_id=f"case-{number // CASE // 2}", key="key-1", label="metastasis"),
        "a slide": Filter(slide_id="slide-3"),
        "a patch": Filter(patch=f"{7 * 2654435761:064x}"),
        "nothing that is there": Filter(case_id="none", label="metastasis", key="key-1"),
        "a key and a rare decision": Filter(key="key-1", decision="not_assessable"),
    }
    with TemporaryDirectory() as folder:
        engine = open_database(f"sqlite:///{Path(folder) / 'rosette.db'}")
        migrate(engine)
        seconds = fill(engine, number)
        size = sum(file.stat().st_size for file in Path(folder).iterdir()) / 2**20
        print(f"{number} rows in {seconds:.1f} s, {GROUP} a commit: {number / seconds:.0f} rows/s; {size:.0f} MB")
        new = open_database(f"sqlite:///{Path(folder) / 'new.db'}")
        migrate(new)
        for together in GROUPS:
            print(f"{together} a commit, a new log and this one by turns: {compare_rates(new, engine, together)}")
        new.dispose()
        log = PredictionLog(engine)
        print(f"\nmilliseconds, median and largest of {REPEATS}; a page has {PAGE}")
        print(f"{'':<28} {'newest':>13} {'middle':>13}")
        for name, wanted in filters.items():
            newest, later = (timed(partial(log.page, PAGE, wanted, cursor)) for cursor in (None, first_id(middle)))
            print(f"{name:<28} {newest} {later}")
        for file in (CSV, JSONL):
            name = f"piece of an export, {file.suffix}"
            print(f"{name:<28} {timed(partial(piece, log, file, EVERYTHING))}")
        engine.dispose()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=200_000)
    main(parser.parse_args().rows)

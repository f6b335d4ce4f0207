"""The query of the page of cases: the fields of the filter form, without empty ones."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import get_args
from urllib.parse import urlencode
from uuid import UUID

from app.api.filters import IDENTIFIER
from app.records.filters import Filter, Scope
from app.records.prediction_queries import AMONG, Order
from app.records.verdicts import State
from app.web.strings import t
from model_zoo.decision import Decision, Label
from model_zoo.reasons import Code

FILTERS = ("decision", "reason", "label", "case_id", "slide_id", "model", "key", "patch", "state", "since", "until")
NAMES = (*FILTERS, "sort", "cursor")


@dataclass(frozen=True)
class CaseQuery:
    """The parsed form.

    Attributes:
        given: the fields as they were sent, without the empty ones.
        wrong: messages about invalid fields, which the filter omits.
    """

    filter: Filter
    order: Order
    cursor: str | None
    given: dict[str, str]
    wrong: list[str]

    @property
    def filters(self) -> dict[str, str]:
        """The fields that filter."""
        return {name: value for name, value in self.given.items() if name in FILTERS}

    def query(self, **changes: str | None) -> str:
        """The form as a query string, with these fields changed, or left out if None."""
        return urlencode({name: value for name, value in (self.given | changes).items() if value})

    @property
    def filter_query(self) -> str:
        return urlencode(self.filters)


def _matching(pattern: str, expected: str) -> Callable[[str], str]:
    def read(text: str) -> str:
        if re.fullmatch(pattern, text) is None:
            raise ValueError(t(expected))
        return text

    return read


def _choice(*choices: str) -> Callable[[str], str]:
    def read(text: str) -> str:
        if text not in choices:
            raise ValueError(t("cases.expected.choice"))
        return text

    return read


def _day(text: str) -> datetime:
    try:
        return datetime.combine(date.fromisoformat(text), time(), UTC)
    except ValueError:
        raise ValueError(t("cases.expected.day")) from None


def _day_after(text: str) -> datetime:
    try:
        return _day(text) + timedelta(days=1)
    except OverflowError:
        raise ValueError(t("cases.expected.day")) from None


_READERS: dict[str, tuple[str, Callable[[str], str | datetime]]] = {
    "decision": ("cases.decision", _choice(*get_args(Decision))),
    "reason": ("cases.reason", _choice(*get_args(Code))),
    "label": ("cases.label", _choice(*get_args(Label))),
    "case_id": ("cases.case", _matching(IDENTIFIER, "cases.expected.identifier")),
    "slide_id": ("cases.slide", _matching(IDENTIFIER, "cases.expected.identifier")),
    "model": ("cases.model", _matching(r"[a-z0-9-]{1,64}", "cases.expected.model")),
    "key": ("cases.key", _matching(r"[A-Za-z0-9_-]{1,32}", "cases.expected.key")),
    "patch": ("cases.patch", _matching(r"[0-9a-f]{64}", "cases.expected.sha256")),
    "state": ("cases.state", _choice(*get_args(State))),
    "since": ("cases.since", _day),
    "until": ("cases.until", _day_after),
}


def case_query(sent: Mapping[str, str], scope: Scope | None) -> CaseQuery:
    """Read the form.

    Args:
        sent: its fields, all of which are in ``NAMES``.
        scope: the answers that may be read; None for all.
    """
    given = {name: text.strip() for name, text in sent.items() if text.strip()}
    values: dict[str, str | datetime] = {}
    wrong = []
    for name, (label, read) in _READERS.items():
        try:
            if name in given:
                values[name] = read(given[name])
        except ValueError as error:
            wrong.append(t("cases.invalid", field=t(label), expected=error))
    order = Order(given["sort"]) if given.get("sort") in set(Order) else Order.NEWEST
    return CaseQuery(Filter(**values, scope=scope), order, _cursor(order, given.get("cursor", "")), given, wrong)  # type: ignore[arg-type]


def _cursor(order: Order, text: str) -> str | None:
    """The cursor, if it matches the order; otherwise the first page."""
    if order.by_time:
        try:
            return str(UUID(text))
        except ValueError:
            return None
    return text if re.fullmatch(r"[0-9]{1,5}", text) and int(text) <= AMONG else None

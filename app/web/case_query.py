"""The query of the worklist and of the log: the fields of the filter form, without empty ones."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import Any, Generic, TypeVar, get_args
from urllib.parse import urlencode
from uuid import UUID

from app.access.caller import Caller, Role
from app.api.filters import IDENTIFIER
from app.records.filters import Filter
from app.records.prediction_queries import AMONG, Order
from app.records.verdicts import State
from app.records.worklist import WorkOrder
from app.web.rendering import may
from app.web.strings import t
from model_zoo.decision import Decision, Label
from model_zoo.reasons import Code

Orders = TypeVar("Orders", Order, WorkOrder)

FILTERS = (
    "decision",
    "reason",
    "label",
    "case_id",
    "slide_id",
    "model",
    "key",
    "patch",
    "state",
    "since",
    "until",
    "unread",
    "without_case",
)
LIST = (*FILTERS, "sort")
NAMES = (*LIST, "cursor")


@dataclass(frozen=True)
class CaseQuery(Generic[Orders]):
    """The parsed form.

    Attributes:
        given: the fields as they were sent, without the empty ones.
        wrong: messages about invalid fields, which the filter omits.
    """

    filter: Filter
    order: Orders
    cursor: str | None
    given: dict[str, str]
    wrong: list[str]

    @property
    def filters(self) -> dict[str, str]:
        """The fields that filter."""
        return {name: value for name, value in self.given.items() if name in FILTERS}

    @property
    def narrowed(self) -> bool:
        """Whether fields filter beside the one that names a case."""
        return bool(self.filters.keys() - {"case_id", "without_case"})

    def query(self, **changes: str | None) -> str:
        """The form as a query string, with these fields changed, or left out if None."""
        return urlencode({name: value for name, value in (self.given | changes).items() if value})

    @property
    def filter_query(self) -> str:
        return urlencode(self.filters)

    @property
    def list_query(self) -> str:
        """The list without its page."""
        return self.query(cursor=None)


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
    "unread": ("cases.unread", _choice("1")),
    "without_case": ("cases.without_case", _choice("1")),
    "since": ("cases.since", _day),
    "until": ("cases.until", _day_after),
}


def choices(caller: Caller) -> dict[str, Any]:
    """What the filter offers and what the caller may do, for the templates of both lists."""
    return {
        "decisions": get_args(Decision),
        "reasons": get_args(Code),
        "labels": get_args(Label),
        "states": get_args(State),
        "among": f"{AMONG:,}",
        "own": caller.role is Role.PREDICT,
        "judge": may(caller, Role.PATHOLOGIST, Role.REVIEW),
        "asker": may(caller, Role.PREDICT, Role.PATHOLOGIST),
    }


def case_query(sent: Mapping[str, str], caller: Caller) -> CaseQuery[Order]:
    """Read the form of the log.

    Args:
        sent: its fields; others than those in ``NAMES`` are left out.
        caller: who reads the list.
    """
    return _query(sent, caller, Order, Order.NEWEST)


def work_query(sent: Mapping[str, str], caller: Caller) -> CaseQuery[WorkOrder]:
    """Read the form of the worklist, as :func:`case_query`."""
    return _query(sent, caller, WorkOrder, WorkOrder.DOUBT)


def _query(sent: Mapping[str, str], caller: Caller, orders: type[Orders], order: Orders) -> CaseQuery[Orders]:
    given = {name: text.strip() for name, text in sent.items() if name in NAMES and text.strip()}
    values: dict[str, str | datetime] = {}
    wrong = []
    for name, (label, read) in _READERS.items():
        try:
            if name in given:
                values[name] = read(given[name])
        except ValueError as error:
            wrong.append(t("cases.invalid", field=t(label), expected=error))
    unread, uncased = values.pop("unread", None), values.pop("without_case", None)
    wanted = Filter(
        **values,  # type: ignore[arg-type]
        unread_by=caller.actor.reviewer if unread else None,
        uncased=True if uncased else None,
        scope=caller.scope,
    )
    if given.get("sort") in set(orders):
        order = orders(given["sort"])
    return CaseQuery(wanted, order, _cursor(order, given.get("cursor", "")), given, wrong)


def _cursor(order: Order | WorkOrder, text: str) -> str | None:
    """The cursor, if it matches the order; otherwise the first page."""
    if isinstance(order, Order) and order.by_time:
        try:
            return str(UUID(text))
        except ValueError:
            return None
    return text if re.fullmatch(r"[0-9]{1,5}", text) and int(text) <= AMONG else None

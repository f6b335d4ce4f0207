"""The query of the worklist and of the log: the fields of the filter form, without empty ones."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Generic, TypeVar, get_args
from urllib.parse import urlencode
from uuid import UUID

from app.access.caller import Caller, Role
from app.api.filters import PageFilters, page_filters
from app.records.filters import Filter
from app.records.prediction_queries import AMONG, Order
from app.records.verdicts import State
from app.records.worklist import WorkOrder
from app.web.rendering import may
from app.web.strings import t
from model_zoo.decision import Decision, Label
from model_zoo.reasons import Code

Orders = TypeVar("Orders", Order, WorkOrder)

# Of each filter, its label and what is said to be expected.
_TEXTS = {
    "decision": ("cases.decision", "cases.expected.choice"),
    "reason": ("cases.reason", "cases.expected.choice"),
    "label": ("cases.label", "cases.expected.choice"),
    "case_id": ("cases.case", "cases.expected.identifier"),
    "slide_id": ("cases.slide", "cases.expected.identifier"),
    "model": ("cases.model", "cases.expected.model"),
    "key": ("cases.key", "cases.expected.key"),
    "patch": ("cases.patch", "cases.expected.sha256"),
    "state": ("cases.state", "cases.expected.choice"),
    "unread": ("cases.unread", "cases.expected.choice"),
    "without_case": ("cases.without_case", "cases.expected.choice"),
    "since": ("cases.since", "cases.expected.day"),
    "until": ("cases.until", "cases.expected.day"),
    "sort": ("cases.sort", "cases.expected.choice"),
    "cursor": ("cases.cursor", "cases.expected.cursor"),
}
FILTERS = tuple(PageFilters.model_fields)
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
    filters, unfit = page_filters({name: text for name, text in given.items() if name in FILTERS})
    fields = dict(filters)
    unread, uncased = fields.pop("unread"), fields.pop("without_case")
    wanted = Filter(
        **fields,
        unread_by=caller.actor.reviewer if unread else None,
        uncased=True if uncased else None,
        scope=caller.scope,
    )
    if (sort := given.get("sort")) in set(orders):
        order = orders(sort)
    elif sort:
        unfit.append("sort")
    cursor = _cursor(order, given.get("cursor", ""))
    if cursor is None and "cursor" in given:
        unfit.append("cursor")
    wrong = [t("cases.invalid", field=t(_TEXTS[name][0]), expected=t(_TEXTS[name][1])) for name in unfit]
    return CaseQuery(wanted, order, cursor, given, wrong)


def _cursor(order: Order | WorkOrder, text: str) -> str | None:
    """The cursor, if it matches the order."""
    if isinstance(order, Order) and order.by_time:
        try:
            return str(UUID(text))
        except ValueError:
            return None
    return text if re.fullmatch(r"[0-9]{1,5}", text) and int(text) <= AMONG else None

"""Which predictions are meant: the filters of queries, the same for the interface and the pages."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from datetime import UTC, date, datetime, time, timedelta
from inspect import Parameter, Signature
from typing import Annotated, Any, Literal, get_type_hints

from fastapi import Depends, Query
from pydantic import AwareDatetime, BaseModel, BeforeValidator, ConfigDict, ValidationError

from app.records.filters import Filter
from app.records.verdicts import State
from app.wording import IDENTIFIER, KEY_ID, MODEL, SHA256
from model_zoo.decision import Decision, Label
from model_zoo.reasons import Code

_BEGINS_WITH_A_DATE = re.compile(r"\d{4}-\d\d-\d\d[T ]")
_DAY = re.compile(r"\d{4}-\d\d-\d\d")


def _moment(days: int) -> Callable[[object], object]:
    """Reads a time, or a day in UTC: its beginning, and these days later."""

    def read(text: object) -> object:
        if not isinstance(text, str) or _BEGINS_WITH_A_DATE.match(text):
            return text
        try:
            if _DAY.fullmatch(text):
                return datetime.combine(date.fromisoformat(text), time(), UTC) + timedelta(days=days)
        except (ValueError, OverflowError):
            pass
        # Pydantic would take a bare number, such as a year, for seconds since 1970.
        raise ValueError("expected a time in ISO 8601 with its zone, such as 2030-01-31T12:00:00Z, or a day in UTC")

    return read


Since = Annotated[AwareDatetime, BeforeValidator(_moment(0))]
Until = Annotated[AwareDatetime, BeforeValidator(_moment(1))]


class Filters(BaseModel):
    """What a query may filter predictions by."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    since: Annotated[
        Since | None, Query(description="Answered at this time or later; ISO 8601 with its zone, or a day in UTC.")
    ] = None
    until: Annotated[Until | None, Query(description="Answered before this time, or on this day or before.")] = None
    model: Annotated[str | None, Query(pattern=MODEL, description="SHA-256 or name.")] = None
    label: Label | None = None
    decision: Decision | None = None
    patch: Annotated[str | None, Query(pattern=SHA256, description="SHA-256 of the RGB bytes.")] = None
    case_id: Annotated[str | None, Query(pattern=IDENTIFIER)] = None
    slide_id: Annotated[str | None, Query(pattern=IDENTIFIER)] = None
    key: Annotated[str | None, Query(pattern=KEY_ID, description="Id of the key that asked.")] = None
    reason: Annotated[Code | None, Query(description="The code of one of its reasons.")] = None
    state: Annotated[State | None, Query(description="Whether people have judged it.")] = None


class PageFilters(Filters):
    """What the lists of the pages filter by, too."""

    unread: Literal["1"] | None = None
    without_case: Literal["1"] | None = None


NAMES = tuple(Filters.model_fields)


def page_filters(given: Mapping[str, str]) -> tuple[PageFilters, list[str]]:
    """The filters of a page's query, and the names of those that do not fit, which are left out."""
    try:
        return PageFilters.model_validate(given), []
    except ValidationError as error:
        wrong = {str(each["loc"][0]) for each in error.errors()}
        fitting = {name: value for name, value in given.items() if name not in wrong}
        return PageFilters.model_validate(fitting), [name for name in PageFilters.model_fields if name in wrong]


def _filter(**given: Any) -> Filter:
    return Filter(**given)


# FastAPI reads and describes each field as a parameter of its own, beside those of the route.
_filter.__signature__ = Signature(  # type: ignore[attr-defined]
    [
        Parameter(name, Parameter.KEYWORD_ONLY, default=None, annotation=hint)
        for name, hint in get_type_hints(Filters, include_extras=True).items()
        if name in NAMES
    ]
)
Wanted = Annotated[Filter, Depends(_filter)]

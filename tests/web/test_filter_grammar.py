"""The interface and the pages understand the same filters, and refuse the same ones."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime

import httpx

from app.access.caller import Role
from app.api.filters import NAMES, PageFilters, page_filters
from app.web.case_query import FILTERS
from tests.app.conftest import RunningServer, assert_problem
from tests.web.conftest import newest

FITTING = (
    "since=2026-05-01",
    "since=2026-05-01T12:00:00Z&until=2026-05-02",
    "until=2026-05-01T12:00:00.5%2B02:00",
    "model=accurate&label=metastasis&decision=review&reason=review_band&state=open",
    f"patch={'a' * 64}&case_id=a.b-c_D&slide_id=1&key=abc",
)
UNFIT = (
    "since=2026-13-01",
    "since=2026-05-01T12:00:00",
    "since=2026",
    "until=9999-12-31",
    "until=1777636800",
    "model=UPPER",
    f"model={'a' * 65}",
    "patch=abc",
    "case_id=a%20b",
    "slide_id=a%0Ab",
    "key=%00",
    "decision=maybe",
    "reason=none",
    "label=x",
    "state=read",
    "nope=1",
    "decision=review&decision=negative",
)
INTERFACE = ("/predictions", "/predictions/export.csv", "/worklist", "/worklist/answers")
PAGES = ("/cases/log", "/cases", "/cases/export.csv")


def test_pages_have_the_filters_of_the_interface_and_two_of_their_own() -> None:
    assert set(FILTERS) == set(PageFilters.model_fields) == {*NAMES, "unread", "without_case"}


def test_days_are_whole_and_times_are_moments() -> None:
    days, unfit = page_filters({"since": "2026-05-01", "until": "2026-05-01"})
    assert (days.since, days.until) == (datetime(2026, 5, 1, tzinfo=UTC), datetime(2026, 5, 2, tzinfo=UTC))
    times, unfit_times = page_filters({"since": "2026-05-01T02:00:00+02:00", "until": "2026-05-02T00:00:00Z"})
    assert (times.since, times.until) == (days.since, days.until)
    assert unfit == unfit_times == []


def test_what_does_not_fit_is_named_and_left_out() -> None:
    filters, unfit = page_filters({"since": "yesterday", "model": "accurate", "unread": "0", "label": ""})
    assert (filters.model, filters.since, filters.unread, filters.label) == ("accurate", None, None, None)
    assert set(unfit) == {"since", "unread", "label"}


def test_both_understand_the_same_filters_and_refuse_the_same(
    lived_in: RunningServer, visitor: Callable[[Role], httpx.Client]
) -> None:
    browser = visitor(Role.ADMIN)
    for query in FITTING:
        assert [lived_in.client.get(f"{path}?{query}").status_code for path in INTERFACE] == [200] * 4, query
        assert [browser.get(f"{path}?{query}").status_code for path in PAGES] == [200] * 3, query
    for query in UNFIT:
        for path in INTERFACE:
            said = assert_problem(lived_in.client.get(f"{path}?{query}"), 422, "invalid-parameter")["detail"]
            assert "Value error" not in said, (path, query)
        for path in PAGES:
            refused = browser.get(f"{path}?{query}")
            assert (refused.status_code, 'role="alert"' in refused.text) == (422, True), (path, query)


def test_pages_say_what_of_a_lists_address_does_not_fit(
    lived_in: RunningServer, visitor: Callable[[Role], httpx.Client]
) -> None:
    browser = visitor(Role.ADMIN)
    for path, query, said in (
        ("/cases/log", "sort=doubt", "“Sort” is not valid, expected: one of the choices."),
        ("/cases", "sort=probability", "“Sort” is not valid, expected: one of the choices."),
        ("/cases", "cursor=x", "the list is shown from its beginning"),
        ("/cases", "cursor=99999", "the list is shown from its beginning"),
        ("/cases/log", "cursor=5", "the list is shown from its beginning"),
        ("/cases/log", "sort=probability&cursor=-1", "the list is shown from its beginning"),
        ("/cases/log", "until=1777636800", "or a time with its zone such as 2030-01-31T12:00:00Z"),
    ):
        refused = browser.get(f"{path}?{query}")
        assert refused.status_code == 422, query
        assert said in refused.text
        assert "The list is shown without it." in refused.text
        assert "case-1" in refused.text, "the list is not shown"
    for path in ("/cases?done=x", "/models?done=x", "/keys?done=x", "/cases/next?way=x", "/cases/next?done=all"):
        refused = browser.get(path)
        assert (refused.status_code, "The query parameter" in refused.text) == (422, True), path
    for query in ("done=x", "sort=x"):
        assert browser.get(f"/cases/{newest(lived_in)}?{query}").status_code == 422
    for path in ("/cases?done=all", "/cases?done=", "/cases/log?sort=probability&cursor=0", "/models?done=retired"):
        assert browser.get(path).status_code == 200, path

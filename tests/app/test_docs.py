"""The documentation is served locally and describes the answers."""

from __future__ import annotations

import re
from base64 import b64encode
from collections.abc import Iterator
from hashlib import sha256
from typing import Any

import httpx
import pytest

from app import problems
from app.diagnosis.report import Answer
from app.wording import plain
from tests.app.conftest import RunningServer, assert_problem


@pytest.fixture(scope="module")
def schema(server: RunningServer) -> dict[str, Any]:
    described: dict[str, Any] = httpx.get(f"{server.url}/openapi.json").json()
    return described


def test_the_page_loads_nothing_from_elsewhere(server: RunningServer) -> None:
    page = httpx.get(f"{server.url}/docs")
    assert "//" not in re.sub(r"<!doctype[^>]*>", "", page.text)
    assets = re.findall(r'(?:src|href)="(/[^"]+)"', page.text)
    assert len(assets) == 2
    for asset in assets:
        response = httpx.get(server.url + asset)
        assert response.status_code == 200
        assert len(response.content) > 100_000
        assert response.headers["x-content-type-options"] == "nosniff"


def test_the_page_runs_only_its_own_script(server: RunningServer) -> None:
    page = httpx.get(f"{server.url}/docs")
    policy = page.headers["content-security-policy"]
    [script] = re.findall(r"<script>(.*?)</script>", page.text, re.DOTALL)
    digest = b64encode(sha256(script.encode()).digest()).decode()
    assert f"script-src 'self' 'sha256-{digest}';" in policy
    assert "default-src 'none'" in policy
    assert "http" not in policy


def test_responses_carry_strict_headers(server: RunningServer) -> None:
    for response in (server.client.get("/predictions"), httpx.get(f"{server.url}/livez"), httpx.get(server.url)):
        assert response.headers["x-content-type-options"] == "nosniff"
        assert response.headers["cache-control"] == "no-store"
        assert response.headers["content-security-policy"] == "default-src 'none'; frame-ancestors 'none'"
        assert "server" not in response.headers
        assert "date" in response.headers


def test_both_kinds_of_body_are_described(schema: dict[str, Any]) -> None:
    body = schema["paths"]["/predict"]["post"]["requestBody"]
    assert set(body["content"]) == {
        "multipart/form-data",
        "image/png",
        "image/jpeg",
        "image/tiff",
        "application/octet-stream",
    }


def test_every_problem_is_described_where_it_can_happen(
    schema: dict[str, Any],
) -> None:
    text = str(schema)
    of_pages_alone = {problems.SignInRefused, problems.ProviderUnavailable}
    of_no_route = {problems.NotFound, problems.MethodNotAllowed}
    leaves = set(_leaves(problems.Problem)) - {problems.ImageProblem} - of_pages_alone - of_no_route
    for kind in leaves:
        assert f"/problems/{kind.slug}" in text, f"{kind.__name__} is described nowhere"
    assert "HTTPValidationError" not in text


def test_health_describes_its_refusals(server: RunningServer, schema: dict[str, Any]) -> None:
    for path in ("/livez", "/readyz"):
        assert str(httpx.get(f"{server.url}{path}?x=1").status_code) in schema["paths"][path]["get"]["responses"]


def _leaves(kind: type[problems.Problem]) -> list[type[problems.Problem]]:
    below = kind.__subclasses__()
    return [leaf for each in below for leaf in _leaves(each)] if below else [kind]


def test_the_example_is_an_answer(schema: dict[str, Any]) -> None:
    [example] = schema["components"]["schemas"]["Answer"]["examples"]
    assert Answer.model_validate(example).model_dump(mode="json") == example
    assert len(Answer.model_validate(example).consistency.source) == 12


def test_problem_types_are_unique() -> None:
    slugs = [kind.slug for kind in _leaves(problems.Problem)]
    assert len(slugs) == len(set(slugs))


def test_a_pattern_is_said_in_words(server: RunningServer, schema: dict[str, Any]) -> None:
    patterns = set(_patterns(schema))
    assert len(patterns) > 5
    for pattern in patterns:
        assert plain({"type": "string_pattern_mismatch", "ctx": {"pattern": pattern}, "msg": "bare"}) != "bare", pattern
    asked = {"Content-Type": "image/png", "Idempotency-Key": "a b"}
    for response, expected in (
        (
            server.client.get("/predictions?case_id=a%20b"),
            "query.case_id: expected 1 to 64 letters A-Z and a-z",
        ),
        (server.client.post("/predict?slide_id=%C3%A4", headers=asked), "query.slide_id: expected 1 to 64 letters"),
        (server.client.get("/predictions?limit=x"), "query.limit: expected a whole number"),
        (server.client.get("/predictions?limit=0"), "query.limit: expected 1 or more"),
        (server.client.get("/predictions?cursor=x"), "query.cursor: expected an id such as"),
        (server.client.get("/predictions?label=x"), "query.label: expected 'metastasis' or"),
        (
            server.client.post("/predict", headers=asked),
            "Idempotency-Key does not fit: expected 1 to 128 visible",
        ),
    ):
        said = assert_problem(response, 422, "invalid-parameter")["detail"]
        assert expected in said
        assert "pattern" not in said
        assert "Input" not in said


def _patterns(part: Any) -> Iterator[str]:
    if isinstance(part, dict) and isinstance(part.get("pattern"), str):
        yield part["pattern"]
    for each in part.values() if isinstance(part, dict) else part if isinstance(part, list) else ():
        yield from _patterns(each)

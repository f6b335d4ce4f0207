"""Every error of the application as problem+json, and what OpenAPI says of it."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import Response

from app.api.query import faults_of
from app.problem_response import ProblemResponse, response_of
from app.problems import MEDIA_TYPE, InvalidParameter, MethodNotAllowed, NotFound, Problem, problem_body


def install(app: FastAPI) -> None:
    """Turn every error that was foreseen into problem+json; the edge answers the others."""
    app.add_exception_handler(Problem, _problem)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(HTTPException, http_error)


def responses(*kinds: type[Problem]) -> dict[int | str, dict[str, Any]]:
    """OpenAPI's description of the problems that a route may answer with."""
    documented: dict[int | str, dict[str, Any]] = {}
    for kind in sorted(kinds, key=lambda kind: kind.status):
        example = problem_body(kind.slug, kind.title, kind.status, "What was wrong, and what to do.")
        response = documented.setdefault(
            kind.status,
            {
                "description": HTTPStatus(kind.status).phrase,
                "content": {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}, "examples": {}}},
            },
        )
        response["content"][MEDIA_TYPE]["examples"][kind.slug] = {"summary": kind.title, "value": example}
    return documented


async def _problem(_: Request, error: Exception) -> Response:
    assert isinstance(error, Problem)
    return response_of(error)


async def _invalid(_: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    return response_of(InvalidParameter("; ".join(faults_of(error.errors()))))


async def http_error(_: Request, error: Exception) -> Response:
    """The problem of an address or a method that no route takes."""
    assert isinstance(error, HTTPException)
    phrase = HTTPStatus(error.status_code).phrase
    slug, title = phrase.lower().replace(" ", "-"), phrase
    for kind in (NotFound, MethodNotAllowed):
        if error.status_code == kind.status:
            slug, title = kind.slug, kind.title
    body = problem_body(slug, title, error.status_code, f"{error.detail}: see /docs.")
    return ProblemResponse(body, dict(error.headers or {}))

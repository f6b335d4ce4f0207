"""Routes that FastAPI describes, but whose requests go past its dependency layer, which costs more than the rest."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar
from urllib.parse import parse_qsl

from fastapi import Request
from fastapi.routing import APIRoute
from pydantic import BaseModel, ValidationError
from starlette.exceptions import HTTPException
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from app.api.query import KnownParameters
from app.problems import InvalidParameter

Parameters = TypeVar("Parameters", bound=BaseModel)


class ThinRoute(APIRoute):
    """Hands the endpoint the request as its one argument; the others are there for the description."""

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        methods = self.methods or set()
        if scope["method"] not in methods:
            raise HTTPException(405, headers={"Allow": ", ".join(methods)})
        response: Response = await self.endpoint(Request(scope, receive))
        await response(scope, receive, send)


async def query(request: Request, model: type[Parameters]) -> Parameters:
    """The query parameters, as a model's fields.

    Raises:
        InvalidParameter: if one is unknown, repeated or does not fit.
    """
    text = request.scope["query_string"]
    if not text:
        return model()
    await KnownParameters(*model.model_fields)(request)
    try:
        return model.model_validate(dict(parse_qsl(text.decode("latin-1"), keep_blank_values=True)))
    except ValidationError as error:
        found = [f"query.{'.'.join(map(str, each['loc']))}: {each['msg']}" for each in error.errors()]
        raise InvalidParameter("; ".join(found)) from error


def client_gone(request: Request) -> Callable[[], bool]:
    """Whether the client has closed its connection; the server leaves this in the request's state."""
    gone: Callable[[], bool] = request.scope.get("state", {}).get("gone", lambda: False)
    return gone

"""Small JSON bodies, read into pydantic models."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Generic, TypeVar

from pydantic import BaseModel, ValidationError
from starlette.requests import Request

from app.api.body import BoundedReader
from app.problems import BodyIncomplete, BodyTooLarge, BodyTooSlow, InvalidJson, UnsupportedContentType
from app.wording import plain

MEDIA_TYPE = "application/json"
MAX_BYTES = 16 * 1024
SHOWN = 5
OF_JSON = (BodyIncomplete, BodyTooSlow, BodyTooLarge, UnsupportedContentType, InvalidJson)

M = TypeVar("M", bound=BaseModel)


class JsonReader(BoundedReader, Generic[M]):
    """Reads JSON objects of at most 16 KB into a pydantic model, which should forbid unknown members."""

    def __init__(self, model: type[M], timeout_s: float) -> None:
        super().__init__(MAX_BYTES, timeout_s, [MEDIA_TYPE], "leave out what is not needed")
        self._model = model

    async def parse(self, request: Request) -> M:
        """The object, after its headers have been judged.

        Raises:
            UnsupportedContentType, BodyTooLarge, BodyTooSlow, BodyIncomplete: as their names say.
            InvalidJson: if it is not JSON, or members are missing, unknown or invalid.
        """
        self.check_headers(request)
        body = await self.read(request)
        try:
            return self._model.model_validate_json(body, strict=True)
        except ValidationError as error:
            found = [_said(each) for each in error.errors(include_url=False, include_input=False)]
            more = f"; and {len(found) - SHOWN} more" if len(found) > SHOWN else ""
            raise InvalidJson("; ".join(found[:SHOWN]) + more) from error


def described(model: type[BaseModel]) -> dict[str, Any]:
    """OpenAPI's description of a request with such a body; the models within must be answered by some route too."""
    schema = model.model_json_schema(ref_template="#/components/schemas/{model}")
    schema.pop("$defs", None)
    return {"requestBody": {"required": True, "content": {MEDIA_TYPE: {"schema": schema}}}}


def _said(fault: Mapping[str, Any]) -> str:
    return f"{'.'.join(map(str, fault['loc'])) or 'body'}: {plain(fault)}"

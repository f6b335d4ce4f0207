"""Read a request's image: bounded in bytes and in time, and not before its headers have been judged."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from python_multipart import MultipartParser
from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartState, parse_options_header
from starlette.requests import ClientDisconnect, Request

from app.problems import (
    BodyIncomplete,
    BodyTooLarge,
    BodyTooSlow,
    EmptyBody,
    InvalidForm,
    UnsupportedContentType,
)

if TYPE_CHECKING:
    from python_multipart.multipart import MultipartCallbacks

RAW_TYPES = ("image/png", "image/jpeg", "image/tiff", "application/octet-stream")
MULTIPART = "multipart/form-data"
FIELD = "file"


class BodyReader:
    """Reads image bodies of at most ``max_bytes`` that arrive within ``timeout_s`` seconds."""

    def __init__(self, max_bytes: int, timeout_s: float) -> None:
        self._max_bytes = max_bytes
        self._timeout_s = timeout_s

    def check_headers(self, request: Request) -> None:
        """Judge content type, encoding and length.

        Raises:
            UnsupportedContentType: if it is none of ours.
            BodyTooLarge: if the announced length is beyond the bound.
        """
        media_type = _content_type(request)[0]
        if media_type != MULTIPART and media_type not in RAW_TYPES:
            raise UnsupportedContentType(
                f"The content type is {media_type or 'missing'}, expected {MULTIPART} or one of {', '.join(RAW_TYPES)}."
            )
        encoding = request.headers.get("content-encoding", "identity")
        if encoding.lower() != "identity":
            raise UnsupportedContentType(f"The content encoding is {encoding}, expected none: send the image as it is.")
        length = request.headers.get("content-length", "")
        if length.isdecimal() and int(length) > self._max_bytes:
            raise self._too_large(length)

    async def read(self, request: Request) -> bytes:
        """The image's bytes, from the raw body or from the multipart field ``file``.

        Raises:
            BodyTooLarge, BodyTooSlow, BodyIncomplete, EmptyBody, InvalidForm: as their names say.
        """
        try:
            async with asyncio.timeout(self._timeout_s):
                body = await self._bounded(request)
        except TimeoutError as error:
            raise BodyTooSlow(f"The body did not arrive within {self._timeout_s:g} s: send it faster.") from error
        except ClientDisconnect as error:
            raise BodyIncomplete("The connection closed before the whole body had arrived.") from error
        media_type, options = _content_type(request)
        image = file_field(body, options.get(b"boundary", b"")) if media_type == MULTIPART else body
        if not image:
            raise EmptyBody("The image is empty: send a PNG, JPEG or TIFF file.")
        return image

    async def _bounded(self, request: Request) -> bytes:
        body = bytearray()
        async for chunk in request.stream():
            body += chunk
            if len(body) > self._max_bytes:
                raise self._too_large(f"over {self._max_bytes}")
        return bytes(body)

    def _too_large(self, length: str) -> BodyTooLarge:
        return BodyTooLarge(f"The body has {length} bytes, expected at most {self._max_bytes}: send one patch.")


def _content_type(request: Request) -> tuple[str, dict[bytes, bytes]]:
    media_type, options = parse_options_header(request.headers.get("content-type"))
    return media_type.decode("latin-1").lower(), options


def file_field(body: bytes, boundary: bytes) -> bytes:
    """The content of a multipart form's only field, which must be ``file``.

    Raises:
        InvalidForm: if the form is malformed or truncated, or has other fields.
        EmptyBody: if there is no body at all.
    """
    if not body:
        raise EmptyBody("The multipart body is empty: send the image in its field file.")
    if not boundary:
        raise InvalidForm("The content type names no boundary: let your HTTP client set it.")
    form = _Form()
    try:
        parser = MultipartParser(boundary, form.callbacks())
        parser.write(body)
    except FormParserError as error:
        raise InvalidForm(f"The multipart body is malformed: {error}.") from error
    if parser.state != MultipartState.END:
        raise InvalidForm("The multipart body ends before its last boundary: send the whole form.")
    if form.parts == 0:
        raise InvalidForm(f"The form has no field, expected one named {FIELD}.")
    return bytes(form.content)


class _Form:
    """Collects the one part that is allowed, and refuses the others as soon as they begin."""

    def __init__(self) -> None:
        self.parts = 0
        self.content = bytearray()
        self._name = bytearray()
        self._value = bytearray()
        self._field: bytes | None = None

    def callbacks(self) -> MultipartCallbacks:
        return {
            "on_part_begin": self._part,
            "on_header_field": lambda data, start, end: self._name.extend(data[start:end]),
            "on_header_value": lambda data, start, end: self._value.extend(data[start:end]),
            "on_header_end": self._header,
            "on_headers_finished": self._headers_finished,
            "on_part_data": lambda data, start, end: self.content.extend(data[start:end]),
        }

    def _part(self) -> None:
        self.parts += 1
        if self.parts > 1:
            raise InvalidForm(f"The form has more than one field, expected only {FIELD}.")

    def _header(self) -> None:
        if self._name.lower() == b"content-disposition":
            self._field = parse_options_header(bytes(self._value))[1].get(b"name")
        self._name.clear()
        self._value.clear()

    def _headers_finished(self) -> None:
        if self._field != FIELD.encode():
            raise InvalidForm(f"The form's field is named {(self._field or b'').decode('latin-1')!r}, not {FIELD}.")

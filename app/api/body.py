"""Read a request's body: bounded in bytes and in time, and not before its headers have been judged."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection, Sequence
from typing import NamedTuple

from python_multipart.multipart import parse_options_header
from starlette.requests import ClientDisconnect, Request

from app.api.form import Form
from app.diagnosis.scale import Mpp, parse_mpp
from app.problems import (
    BodyIncomplete,
    BodyTooLarge,
    BodyTooSlow,
    EmptyBody,
    InvalidForm,
    UnsupportedContentType,
)

RAW_TYPES = ("image/png", "image/jpeg", "image/tiff", "application/octet-stream")
MULTIPART = "multipart/form-data"
FIELD = "file"
_MAX_MPP = 40


class ContentType(NamedTuple):
    media_type: str
    boundary: bytes


class BoundedReader:
    """Reads bodies of at most ``max_bytes`` that arrive within ``timeout_s`` seconds.

    Args:
        media_types: the content types that are taken.
        hint: what to send instead of a body that is too large.
    """

    def __init__(self, max_bytes: int, timeout_s: float, media_types: Sequence[str], hint: str) -> None:
        self._max_bytes = max_bytes
        self._timeout_s = timeout_s
        self._media_types = media_types
        self._hint = hint

    def check_headers(self, request: Request) -> ContentType:
        """Judge content type, encoding and length; gives the content type.

        Raises:
            UnsupportedContentType: if it is none of ours.
            BodyTooLarge: if the announced length is beyond the bound.
        """
        found = content_type(request)
        media_type = found.media_type
        if media_type not in self._media_types:
            expected = " or ".join(filter(None, self._media_types))
            raise UnsupportedContentType(f"The content type is {media_type or 'missing'}, expected {expected}.")
        encoding = request.headers.get("content-encoding", "identity")
        if encoding.lower() != "identity":
            raise UnsupportedContentType(f"The content encoding is {encoding}, expected none: send it uncompressed.")
        length = request.headers.get("content-length", "")
        if length.isdecimal() and int(length) > self._max_bytes:
            raise self._too_large(length)
        return found

    async def read(self, request: Request) -> bytes:
        """The whole body.

        Raises:
            BodyTooLarge, BodyTooSlow, BodyIncomplete: as their names say.
        """
        unread = request.scope["state"].get("unread")  # left there by the server
        if unread is not None and not unread():  # all of it is here
            message = await request.receive()
            if message["type"] == "http.request":
                whole: bytes = message["body"]
                if len(whole) > self._max_bytes:
                    raise self._too_large(f"over {self._max_bytes}")
                return whole
        body = bytearray()
        await self.pour(request, body.extend)
        return bytes(body)

    async def pour(self, request: Request, take: Callable[[bytes], Awaitable[None] | None]) -> None:
        """Hand the body to ``take`` as it arrives.

        Raises:
            BodyTooLarge, BodyTooSlow, BodyIncomplete: as their names say.
        """
        size = 0
        try:
            async with asyncio.timeout(self._timeout_s):
                async for chunk in request.stream():
                    size += len(chunk)
                    if size > self._max_bytes:
                        raise self._too_large(f"over {self._max_bytes}")
                    if (taken := take(chunk)) is not None:
                        await taken
        except TimeoutError as error:
            raise BodyTooSlow(f"The body did not arrive within {self._timeout_s:g} s: send it faster.") from error
        except ClientDisconnect as error:
            raise BodyIncomplete("The connection closed before the body was complete.") from error

    def _too_large(self, length: str) -> BodyTooLarge:
        return BodyTooLarge(f"The body has {length} bytes, expected at most {self._max_bytes}: {self._hint}.")


class PatchReader(BoundedReader):
    """Reads one patch, from the raw body or from the multipart fields ``file`` and ``mpp``.

    Args:
        queries: the route's query parameters.
    """

    def __init__(self, max_bytes: int, timeout_s: float, queries: Collection[str]) -> None:
        super().__init__(max_bytes, timeout_s, (MULTIPART, *RAW_TYPES), "send one patch")
        self._queries = queries

    async def read_patches(self, request: Request, kind: ContentType) -> tuple[list[bytes], Mpp]:
        """The image's bytes, and what the form says of its scale.

        Raises:
            BodyTooLarge, BodyTooSlow, BodyIncomplete, EmptyBody, InvalidForm: as their names say.
        """
        body, stated = await self.read(request), None
        if kind.media_type == MULTIPART:
            body, stated = image_field(body, kind.boundary, self._queries)
        if not body:
            raise EmptyBody("The image is empty: send a PNG, JPEG or TIFF file.")
        return [body], stated


class BatchReader(BoundedReader):
    """Reads many patches, from the multipart fields ``file``, and the field ``mpp``, parsed as they arrive.

    Args:
        most: patches.
        queries: the route's query parameters.
    """

    def __init__(self, max_bytes: int, timeout_s: float, most: int, queries: Collection[str]) -> None:
        super().__init__(max_bytes, timeout_s, (MULTIPART,), "send fewer patches")
        self._most = most
        self._queries = queries

    async def read_patches(self, request: Request, kind: ContentType) -> tuple[list[bytes], Mpp]:
        """The images' bytes, and what the form says of their scale.

        Raises:
            InvalidForm: if the form is malformed or truncated, has other fields, or too many.
            EmptyBody: if there is no body at all.
            BodyTooLarge, BodyTooSlow, BodyIncomplete: as their names say.
        """
        images: list[bytearray] = []
        stated = MppField()

        def begin() -> None:
            if len(images) == self._most:
                raise InvalidForm(f"The form has more than {self._most} patches: send several requests.")
            images.append(bytearray())

        sinks = {FIELD: lambda chunk: images[-1].extend(chunk), stated.name: stated.take}
        form = Form(kind.boundary, sinks, {FIELD: begin}, self._queries)
        arrived = False

        def take(chunk: bytes) -> None:
            nonlocal arrived
            arrived = arrived or bool(chunk)
            form.feed(chunk)

        await self.pour(request, take)
        if not arrived:
            raise EmptyBody("The multipart body is empty: send the patches in fields named file.")
        form.finish(FIELD)
        return [bytes(image) for image in images], stated.of(form)


class MppField:
    """The form's optional field ``mpp``: what the caller says of the patches' scale."""

    name = "mpp"

    def __init__(self) -> None:
        self._text = bytearray()

    def take(self, chunk: bytes) -> None:
        if len(self._text) <= _MAX_MPP:
            self._text.extend(chunk)

    def of(self, form: Form) -> Mpp:
        """What it said in a form that has ended; None if it was not there.

        Raises:
            InvalidForm: if it is neither a number nor ``ignore``.
        """
        if not form.has(self.name):
            return None
        try:
            return parse_mpp(self._text.decode("latin-1"))
        except ValueError as error:
            raise InvalidForm(f"In the form, {error}.") from None


def content_type(request: Request) -> ContentType:
    """The media type in lower case, and the boundary of a form."""
    value = request.headers.get("content-type")
    if value in RAW_TYPES:  # the parser costs as much as the rest
        return ContentType(value, b"")
    media_type, options = parse_options_header(value)
    return ContentType(media_type.decode("latin-1").lower(), options.get(b"boundary", b""))


def image_field(body: bytes, boundary: bytes, queries: Collection[str]) -> tuple[bytes, Mpp]:
    """The content of a multipart form's field ``file``, and what its field ``mpp`` says.

    Raises:
        InvalidForm: if the form is malformed or truncated, or has other fields.
        EmptyBody: if there is no body at all.
    """
    if not body:
        raise EmptyBody("The multipart body is empty: send the image in its field file.")
    content, stated = bytearray(), MppField()
    form = Form(boundary, {FIELD: content.extend, stated.name: stated.take}, queries=queries)
    form.feed(body)
    form.finish(FIELD)
    return bytes(content), stated.of(form)

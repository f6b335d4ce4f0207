"""Multipart forms, field by field, as they arrive."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import TYPE_CHECKING

from python_multipart import MultipartParser
from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartState, parse_options_header

from app.problems import InvalidForm

if TYPE_CHECKING:
    from python_multipart.multipart import MultipartCallbacks


class Form:
    """Hands each field's bytes to its sink, and refuses unknown and repeated fields as soon as they begin.

    Args:
        boundary: from the content type.
        sinks: takes the bytes of each known field, by its name.
        begin: is called when a field of this name begins; such fields may be repeated.
        queries: the route's query parameters, which are often sent as fields by mistake.

    Attributes:
        file_name: of the field that began last; empty if it has none.

    Raises:
        InvalidForm: from every method, if the form is malformed, truncated, or has other fields.
    """

    def __init__(
        self,
        boundary: bytes,
        sinks: Mapping[str, Callable[[bytes], None]],
        begin: Mapping[str, Callable[[], None]] | None = None,
        queries: Collection[str] = (),
    ) -> None:
        if not boundary:
            raise InvalidForm("The content type has no boundary: let your HTTP client set it.")
        self._sinks = sinks
        self._begin = begin or {}
        self._queries = queries
        self.file_name = ""
        self._seen: list[str] = []
        self._header = bytearray()
        self._value = bytearray()
        self._disposition: dict[bytes, bytes] = {}
        try:
            self._parser = MultipartParser(boundary, self._callbacks())
        except FormParserError as error:
            raise InvalidForm(f"The multipart boundary is malformed: {error}.") from error

    def feed(self, chunk: bytes) -> None:
        """Take the next bytes of the body."""
        try:
            self._parser.write(chunk)
        except FormParserError as error:
            raise InvalidForm(f"The multipart body is malformed: {error}.") from error

    def finish(self, required: str) -> None:
        """The body has ended; it must have held the field ``required``."""
        if self._parser.state != MultipartState.END:
            raise InvalidForm("The multipart body ends before its last boundary: send the whole form.")
        if required not in self._seen:
            raise InvalidForm(f"The form has no field {required}.")

    def has(self, name: str) -> bool:
        """Whether a field of this name has begun."""
        return name in self._seen

    def _callbacks(self) -> MultipartCallbacks:
        return {
            "on_header_field": lambda data, start, end: self._header.extend(data[start:end]),
            "on_header_value": lambda data, start, end: self._value.extend(data[start:end]),
            "on_header_end": self._header_ended,
            "on_headers_finished": self._headers_ended,
            "on_part_data": lambda data, start, end: self._sinks[self._seen[-1]](data[start:end]),
        }

    def _header_ended(self) -> None:
        if self._header.lower() == b"content-disposition":
            self._disposition = parse_options_header(bytes(self._value))[1]
        self._header.clear()
        self._value.clear()

    def _headers_ended(self) -> None:
        name = self._disposition.get(b"name", b"").decode("latin-1")
        if name not in self._sinks and name in self._queries:
            raise InvalidForm(
                f"The form has a field {name!r}, which is a query parameter: leave it out of the form, and append "
                f"?{name}=… to the address."
            )
        if name not in self._sinks:
            raise InvalidForm(f"The form's field is named {name!r}, expected {' or '.join(self._sinks)}.")
        self.file_name = self._disposition.get(b"filename", b"").decode("utf-8", "replace")
        if name in self._begin:
            self._begin[name]()
        elif name in self._seen:
            raise InvalidForm(f"The form has more than one field {name}.")
        self._seen.append(name)
        self._disposition = {}

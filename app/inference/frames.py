"""Messages between the server and its inference processes: a JSON header, and bytes that go with it."""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from typing import Any, BinaryIO

from pydantic_core import from_json, to_json

MAX_BYTES = 2**28
_SIZES = "sizes"
_PREFIX = struct.Struct("<II")

Header = dict[str, Any]
Message = tuple[Header, list[bytes]]


class FrameError(ValueError):
    """What came is no message."""


def frame(header: Header, attachments: Sequence[bytes] = ()) -> bytes:
    """One message; its length comes first."""
    text = to_json(header | {_SIZES: list(map(len, attachments))})
    return b"".join((_PREFIX.pack(len(text), sum(map(len, attachments))), text, *attachments))


def read(stream: BinaryIO) -> Message | None:
    """The next message of a blocking stream; None at its end.

    Raises:
        FrameError: if it is no message, or ends within one.
    """
    prefix = stream.read(_PREFIX.size)
    if not prefix:
        return None
    length = sum(_unpacked(prefix))
    return _message(prefix, stream.read(length))


class Frames:
    """Takes what arrives, and gives the messages that are complete."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, data: bytes) -> Iterator[Message]:
        """The messages that these bytes complete.

        Raises:
            FrameError: if they are none.
        """
        self._buffer += data
        while len(self._buffer) >= _PREFIX.size:
            prefix = bytes(self._buffer[: _PREFIX.size])
            end = _PREFIX.size + sum(_unpacked(prefix))
            if len(self._buffer) < end:
                return
            content = bytes(self._buffer[_PREFIX.size : end])
            del self._buffer[:end]
            yield _message(prefix, content)


def _unpacked(prefix: bytes) -> tuple[int, int]:
    if len(prefix) != _PREFIX.size:
        raise FrameError("the stream ends within a message's length")
    header, attached = _PREFIX.unpack(prefix)
    if header + attached > MAX_BYTES:
        raise FrameError(f"a message of {header + attached} bytes, expected at most {MAX_BYTES}")
    return header, attached


def _message(prefix: bytes, content: bytes) -> Message:
    length, attached = _unpacked(prefix)
    if len(content) != length + attached:
        raise FrameError("the stream ends within a message")
    header: Header = from_json(content[:length])
    attachments, begin = [], length
    for size in header.pop(_SIZES):
        attachments.append(content[begin : begin + size])
        begin += size
    return header, attachments

"""Messages between the server and its inference processes: a header in MessagePack, and bytes that go with it."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import Annotated, Any, BinaryIO

from msgspec import Meta as Bounds
from msgspec import MsgspecError, msgpack

MAX_BYTES = 2**28
_PREFIX = struct.Struct("<II")

Header = dict[str, Any]
Message = tuple[Header, list[bytes]]
Sizes = list[Annotated[int, Bounds(ge=0, le=MAX_BYTES)]]

_encoder = msgpack.Encoder()
_decoder = msgpack.Decoder(tuple[Sizes, Header])


class FrameError(ValueError):
    """What came is no message."""


def frame(header: Header, attachments: Sequence[bytes] = ()) -> bytes:
    """One message; its length comes first."""
    sizes = [len(each) for each in attachments]
    head = _encoder.encode((sizes, header))
    return b"".join((_PREFIX.pack(len(head), sum(sizes)), head, *attachments))


def read(stream: BinaryIO) -> Message | None:
    """The next message of a blocking stream; None at its end.

    Raises:
        FrameError: if it is no message, or ends within one.
    """
    prefix = stream.read(_PREFIX.size)
    if not prefix:
        return None
    length, attached = _unpacked(prefix)
    return _message(length, attached, stream.read(length + attached))


class Frames:
    """Takes what arrives, and gives the messages that are complete."""

    def __init__(self) -> None:
        self._begun = bytearray()
        self._needed = 0

    def feed(self, data: bytes) -> list[Message]:
        """The messages that these bytes complete.

        Raises:
            FrameError: if they are none.
        """
        if self._begun:
            self._begun += data
            if len(self._begun) < self._needed:
                return []
            data = bytes(self._begun)
            self._begun.clear()
        messages, begin = [], 0
        while begin < len(data):
            end = content = begin + _PREFIX.size
            length = attached = 0
            if end <= len(data):
                length, attached = _unpacked(data[begin:content])
                end += length + attached
            if end > len(data):
                self._begun += data[begin:]
                self._needed = end - begin
                break
            messages.append(_message(length, attached, data[content:end]))
            begin = end
        return messages


def _unpacked(prefix: bytes) -> tuple[int, int]:
    if len(prefix) != _PREFIX.size:
        raise FrameError("the stream ends within a message's length")
    header, attached = _PREFIX.unpack(prefix)
    if header + attached > MAX_BYTES:
        raise FrameError(f"a message of {header + attached} bytes, expected at most {MAX_BYTES}")
    return header, attached


def _message(length: int, attached: int, content: bytes) -> Message:
    if len(content) != length + attached:
        raise FrameError("the stream ends within a message")
    try:
        sizes, header = _decoder.decode(content[:length])
    except (MsgspecError, RecursionError) as error:
        raise FrameError(f"a message's header cannot be read: {error}") from error
    if sum(sizes) != attached:
        raise FrameError(f"a message with {attached} bytes attached, which its header divides into {sum(sizes)}")
    attachments, begin = [], length
    for size in sizes:
        attachments.append(content[begin : begin + size])
        begin += size
    return header, attachments

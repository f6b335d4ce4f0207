"""Messages between processes arrive completely, in any fragmentation."""

from __future__ import annotations

import struct
from contextlib import suppress
from io import BytesIO

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import msgpack

from app.inference.frames import FrameError, Frames, frame, read

MESSAGES = st.lists(
    st.tuples(
        st.dictionaries(st.text(max_size=5), st.none() | st.text() | st.booleans() | st.floats(allow_nan=False)),
        st.lists(st.binary(max_size=50), max_size=3),
    ),
    max_size=4,
)


@given(MESSAGES, st.lists(st.integers(1, 40), min_size=1))
def test_what_is_cut_anywhere_arrives_whole(
    messages: list[tuple[dict[str, object], list[bytes]]], cuts: list[int]
) -> None:
    data = b"".join(frame(*message) for message in messages)
    frames, begin, number = Frames(), 0, 0
    arrived: list[tuple[dict[str, object], list[bytes]]] = []
    while begin < len(data):
        size = cuts[number % len(cuts)]
        arrived += frames.feed(data[begin : begin + size])
        begin, number = begin + size, number + 1
    assert arrived == messages
    stream = BytesIO(data)
    assert [read(stream) for _ in messages] == messages
    assert read(stream) is None


def raw(head: bytes, attached: bytes = b"") -> bytes:
    """A message whose header is not made by :func:`frame`."""
    return struct.pack("<II", len(head), len(attached)) + head + attached


NO_MESSAGES = {
    "cut length": b"\0\0\0",
    "cut attachment": frame({"a": 1}, [b"bytes"])[:-1],
    "long": b"\xff" * 8,
    "empty": raw(b""),
    "malformed": raw(b"\xc1"),
    "JSON": raw(b'{"a": 1}'),
    "no header": raw(msgpack.encode([[]])),
    "number for a name": raw(msgpack.encode([[], {1: 2}])),
    "text that is no UTF-8": raw(b"\x92\x90\x81\xa1\xff\xc0"),
    "deep": raw(b"\x92\x90\x81\xa1a" + b"\x91" * 100_000),
    "a list of 4 billion": raw(b"\x92\xdd\xff\xff\xff\xff"),
    "negative size": raw(msgpack.encode([[-1, 6], {}]), b"bytes"),
    "large size": raw(msgpack.encode([[2**40], {}]), b"bytes"),
    "size short of what is attached": raw(msgpack.encode([[4], {}]), b"bytes"),
}


@given(st.binary(max_size=60), st.binary(max_size=5))
def test_bytes_are_a_message_or_an_error(head: bytes, attached: bytes) -> None:
    with suppress(FrameError):
        assert read(BytesIO(raw(head, attached))) is not None


@pytest.mark.parametrize("data", NO_MESSAGES.values(), ids=NO_MESSAGES)
def test_what_is_no_message_is_an_error(data: bytes) -> None:
    with pytest.raises(FrameError):
        read(BytesIO(data))


def test_a_message_that_is_too_long_is_not_waited_for() -> None:
    with pytest.raises(FrameError, match="at most"):
        list(Frames().feed(b"\xff" * 8))

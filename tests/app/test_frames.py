"""Messages between processes arrive completely, in any fragmentation."""

from __future__ import annotations

from io import BytesIO

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.inference.frames import FrameError, Frames, frame, read

MESSAGES = st.lists(
    st.tuples(
        st.dictionaries(
            st.text(max_size=5).filter(lambda name: name != "sizes"), st.none() | st.text() | st.booleans()
        ),
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


@pytest.mark.parametrize("data", [b"\0\0\0", frame({"a": 1}, [b"bytes"])[:-1], b"\xff" * 8])
def test_what_is_no_message_is_an_error(data: bytes) -> None:
    with pytest.raises(FrameError):
        read(BytesIO(data))


def test_a_message_that_is_too_long_is_not_waited_for() -> None:
    with pytest.raises(FrameError, match="at most"):
        list(Frames().feed(b"\xff" * 8))

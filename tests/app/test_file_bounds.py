"""Files that are expensive to decode, or contain cycles, are refused quickly."""

from __future__ import annotations

import struct
import zlib

import numpy as np
import pytest

from app import problems
from app.diagnosis.decode import decode
from app.diagnosis.directory import read
from tests.app.conftest import encoded, noise
from tests.app.test_decode import png_chunk, segment
from tests.app.test_files import tiff

PIXELS = noise(1, 96, 96, 3)


def directory(*entries: tuple[int, int, int, int]) -> bytes:
    """A TIFF of a directory and 1 kB: tag, type, number of values, their place."""
    packed = b"".join(struct.pack("<HHII", *entry) for entry in entries)
    return b"II*\0\x08\0\0\0" + struct.pack("<H", len(entries)) + packed + bytes(4) + bytes(1024)


def test_directories_that_would_be_read_many_times_over_are_refused() -> None:
    """A thousand tags that share 1 MB would need 1 GB."""
    with pytest.raises(problems.ImageTooLarge, match="overlapping directory entries"):
        decode(directory(*((1000 + number, 1, 1000, 60) for number in range(4))))
    with pytest.raises(problems.ImageTooLarge, match="over 512 directory entries"):
        decode(directory(*((1000 + number, 1, 1, 60) for number in range(513))))


@pytest.mark.parametrize(
    "data",
    [
        b"II*\0",
        b"MM\0*\0\0\0\x08",
        b"II+\0\x08\0\0\0" + b"\xff" * 8,
        directory((256, 4, 1, 96), (257, 4, 1, 96), (258, 3, 3, 0xFFFFFFF0)),
        directory((256, 4, 0xFFFFFFFF, 0xFFFFFFFF)),
    ],
)
def test_directories_outside_the_file_are_damage(data: bytes) -> None:
    with pytest.raises(problems.ImageProblem) as refused:
        decode(data)
    assert type(refused.value) in (problems.TruncatedImage, problems.WrongSize)


def test_directories_in_a_circle_end() -> None:
    tiff_of_one = bytearray(encoded(PIXELS, "TIFF"))
    (start,) = struct.unpack("<I", tiff_of_one[4:8])
    (count,) = struct.unpack("<H", tiff_of_one[start : start + 2])
    tiff_of_one[start + 2 + 12 * count : start + 6 + 12 * count] = struct.pack("<I", start)
    assert np.array_equal(decode(bytes(tiff_of_one)).pixels, PIXELS)


@pytest.mark.parametrize("kind", ["chunks", "segments"])
def test_many_small_parts_are_refused_by_their_number(kind: str) -> None:
    png, jpeg = encoded(PIXELS), encoded(PIXELS, "JPEG")
    spoilt = {
        "chunks": png[:33] + png_chunk(b"prVt", b"") * 1001 + png[33:],
        "segments": jpeg[:2] + segment(0xFE, b"") * 1001 + jpeg[2:],
    }[kind]
    with pytest.raises(problems.ImageTooLarge, match=f"over 1000 {kind}"):
        decode(spoilt)


def test_strips_that_share_their_bytes_are_refused() -> None:
    one = tiff(PIXELS, compression="zlib", rowsperstrip=1)
    entries = read(one).entries
    kind, count, lengths = entries[279]
    assert (kind, count) == (3, 96)  # of 16 bits each
    shared = bytearray(one)
    shared[entries[273][2] : entries[273][2] + 4 * 96] = struct.pack("<I", 8) * 96
    shared[lengths : lengths + 2 * 96] = struct.pack("<H", min(len(one) - 8, 65535)) * 96
    with pytest.raises(problems.ImageTooLarge, match="overlapping strips"):
        decode(bytes(shared))


def test_a_strip_that_unpacks_to_too_much_is_cut_to_its_size() -> None:
    """A deflate strip of 64 MB costs no more than the patch's own 27 kB; its end is not looked at."""
    strip = zlib.compress(bytes(2**26), 9)
    plain = tiff(np.zeros((96, 96, 3), np.uint8), compression="zlib")
    data = bytearray(plain + strip)
    for tag, value in ((273, len(plain)), (279, len(strip))):
        place = read(plain).entries[tag][2]
        data[place - 6 : place + 4] = struct.pack("<HII", 4, 1, value)
    assert not decode(bytes(data)).pixels.any()

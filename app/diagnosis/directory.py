"""The first directory of a TIFF file, read within bounds: what EXIF, OME and slide formats are made of."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Literal

from app.diagnosis.refusals import damaged, too_many

SIGNATURES = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
MAX_ENTRIES = 512
MAX_DIRECTORIES = 1000
MAX_TEXT = 2**16

# The struct character and the numbers of each type; rationals are two numbers.
_CHARACTERS = {1: "B", 2: "s", 3: "H", 4: "I", 5: "I", 6: "b", 7: "s", 8: "h", 9: "i", 10: "i", 11: "f", 12: "d"}
_BIG_CHARACTERS = {13: "I", 16: "Q", 17: "q", 18: "Q"}
_TYPES = {kind: (form, 2 if kind in (5, 10) else 1) for kind, form in (_CHARACTERS | _BIG_CHARACTERS).items()}


@dataclass(frozen=True)
class _Layout:
    """How a directory is written: classic TIFF or BigTIFF.

    Attributes:
        order: of bytes, as ``struct`` writes it.
        count: struct character of a directory's number of entries.
        offset: struct character of offsets and of entries' counts.
    """

    order: Literal["<", ">"]
    count: str
    offset: str

    @property
    def word(self) -> int:
        return struct.calcsize(self.order + self.offset)

    def unpack(self, form: str, data: bytes, at: int) -> tuple[int, ...]:
        try:
            return struct.unpack_from(self.order + form, data, at)
        except (struct.error, OverflowError) as error:
            raise damaged() from error


@dataclass(frozen=True)
class Directory:
    """The entries of a file's first directory.

    Attributes:
        data: the file.
        entries: type, number of values and place in the file of each tag.
        directories: how many there are; at most ``MAX_DIRECTORIES``.
    """

    data: bytes
    layout: _Layout
    entries: dict[int, tuple[int, int, int]]
    directories: int

    def __contains__(self, tag: int) -> bool:
        return tag in self.entries

    def numbers(self, tag: int, most: int = 16) -> tuple[int, ...]:
        """The integers of a tag, at most so many; empty if it is missing or of another type.

        Raises:
            TruncatedImage: if they lie outside the file.
        """
        kind, count, at = self.entries.get(tag, (0, 0, 0))
        form, width = _TYPES.get(kind, ("", 0))
        if form not in tuple("BHIQbhiq") or width != 1:
            return ()
        return self.layout.unpack(f"{min(count, most)}{form}", self.data, at)

    def number(self, tag: int, default: int = 0) -> int:
        """The first integer of a tag."""
        return next(iter(self.numbers(tag, 1)), default)

    def ratio(self, tag: int) -> float:
        """The first value of a tag as a float; 0 if it is missing or no number."""
        kind, count, at = self.entries.get(tag, (0, 0, 0))
        form, width = _TYPES.get(kind, ("s", 0))
        if form == "s" or not count or at + width * struct.calcsize(form) > len(self.data):
            return 0.0
        values = self.layout.unpack(width * form, self.data, at)
        return float(values[0]) if width == 1 else values[0] / values[1] if values[1] else 0.0

    def text(self, tag: int) -> str:
        """The text of a tag, at most 64 kB of it; empty if it is missing."""
        kind, count, at = self.entries.get(tag, (0, 0, 0))
        if _TYPES.get(kind, ("", 0))[0] not in ("s", "B"):
            return ""
        content = self.data[at : at + min(count, MAX_TEXT)].split(b"\0")[0]
        try:
            return content.decode()
        except UnicodeDecodeError:
            return content.decode("latin-1")


def read(data: bytes) -> Directory:
    """The first directory of a TIFF.

    Raises:
        TruncatedImage: if it does not lie in the file.
        ImageTooLarge: if it has too many entries, or they take more room than the file has.
    """
    order: Literal["<", ">"] = "<" if data.startswith(b"II") else ">"
    big = data[:4] in SIGNATURES[2:]
    layout = _Layout(order, "Q" if big else "H", "Q" if big else "I")
    [start] = layout.unpack(layout.offset, data, 8 if big else 4)
    entries, following = _entries(data, layout, start)
    return Directory(data, layout, entries, _directories(data, layout, following, start))


def _entries(data: bytes, layout: _Layout, start: int) -> tuple[dict[int, tuple[int, int, int]], int]:
    """The entries of the directory there, and where the next one begins."""
    [number] = layout.unpack(layout.count, data, start)
    if number > MAX_ENTRIES:
        raise too_many(MAX_ENTRIES, "directory entries")
    at, size, room = start + struct.calcsize(layout.count), 4 + 2 * layout.word, len(data)
    entries: dict[int, tuple[int, int, int]] = {}
    for place in range(at, at + number * size, size):
        tag, kind, count = layout.unpack(f"HH{layout.offset}", data, place)
        form, width = _TYPES.get(kind, ("", 0))
        length = count * width * (struct.calcsize(form) if form else 0)
        value = place + 4 + layout.word
        if length > layout.word:
            [value] = layout.unpack(layout.offset, data, value)
            room -= min(length, max(0, len(data) - value))
        if room < 0:
            raise too_many(len(data), "bytes of overlapping directory entries")
        entries.setdefault(tag, (kind, count, value))
    [following] = layout.unpack(layout.offset, data, at + number * size)
    return entries, following


def _directories(data: bytes, layout: _Layout, at: int, first: int) -> int:
    """How many directories there are, the first one included."""
    seen = {first}
    while at and at not in seen and len(seen) < MAX_DIRECTORIES:
        seen.add(at)
        try:
            [number] = struct.unpack_from(layout.order + layout.count, data, at)
            after = at + struct.calcsize(layout.count) + number * (4 + 2 * layout.word)
            [at] = struct.unpack_from(layout.order + layout.offset, data, after)
        except (struct.error, OverflowError):
            break
    return len(seen)

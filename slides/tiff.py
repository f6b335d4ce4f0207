"""Where the JPEG tiles of a TIFF slide lie in its file: as much of the format as reading them needs, and no more."""

from __future__ import annotations

import os
import struct
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

MAX_DIRECTORIES = 64
MAX_ENTRIES = 256
MAX_TILES = 2**22
MAX_TABLES = 2**16
MAX_SIDE = 2048  # of a tile

_WIDTH, _LENGTH, _BITS, _COMPRESSION, _PHOTOMETRIC = 256, 257, 258, 259, 262
_SAMPLES, _PLANAR, _TILE_WIDTH, _TILE_LENGTH, _OFFSETS, _COUNTS, _TABLES = 277, 284, 322, 323, 324, 325, 347
_JPEG, _CONTIGUOUS, _RGB, _YCBCR = 7, 1, 2, 6
_TYPES = {1: "B", 3: "H", 4: "I", 7: "B", 13: "I", 16: "Q"}


class OtherTiffError(ValueError):
    """A file that is no TIFF, or not one that this module reads."""


@dataclass(frozen=True, eq=False)
class TileTable:
    """The tiles of one image, row by row.

    Attributes:
        width, height: of the image.
        tile_width, tile_height: of each tile; those at the right and lower edge reach beyond the image.
        offsets, counts: of a tile's bytes in the file.
        tables: of the tiles' JPEG streams, a stream of its own; empty if each tile has its own.
        rgb: whether the streams hold RGB instead of YCbCr.
    """

    width: int
    height: int
    tile_width: int
    tile_height: int
    offsets: NDArray[np.uint64]
    counts: NDArray[np.uint64]
    tables: bytes
    rgb: bool

    @property
    def columns(self) -> int:
        return -(-self.width // self.tile_width)


class _Entry(NamedTuple):
    """A tag's values: ``code`` of ``struct``, how many, and where they lie in the file."""

    code: str
    length: int
    place: int


def tile_tables(file: int) -> list[TileTable]:
    """The images of a TIFF or BigTIFF that consist of JPEG tiles with three channels of eight bits.

    Args:
        file: descriptor of the open file.

    Raises:
        OtherTiffError: if it is no TIFF, is damaged, or has more directories or tiles than are read.
    """
    return _Tiff(file).tables()


class _Tiff:
    def __init__(self, file: int) -> None:
        self._file = file
        head = self._bytes(0, 16)
        order = {b"II": "<", b"MM": ">"}.get(head[:2])
        if order is None:
            raise OtherTiffError("it is no TIFF")
        self._order = order
        version: int = struct.unpack_from(order + "H", head, 2)[0]
        if version not in {42, 43} or (version == 43 and struct.unpack_from(order + "HH", head, 4) != (8, 0)):
            raise OtherTiffError("it is no TIFF")
        self._big = version == 43
        self._first: int = struct.unpack_from(order + ("Q" if self._big else "I"), head, 8 if self._big else 4)[0]

    def tables(self) -> list[TileTable]:
        found: list[TileTable] = []
        place = self._first
        for _ in range(MAX_DIRECTORIES):
            if not place:
                return found
            entries, place = self._directory(place)
            table = self._table(entries)
            if table is not None:
                found.append(table)
        raise OtherTiffError(f"it has more than {MAX_DIRECTORIES} directories")

    def _directory(self, place: int) -> tuple[dict[int, _Entry], int]:
        """Entries by tag, and where the next directory is; 0 after the last."""
        number, entry, pointer = ("Q", "HHQ", "Q") if self._big else ("H", "HHI", "I")
        size = struct.calcsize(self._order + entry + pointer)
        [count] = self._unpacked(number, place)
        if count > MAX_ENTRIES:
            raise OtherTiffError(f"a directory has {count} entries")
        place += struct.calcsize(self._order + number)
        data = self._bytes(place, count * size)
        found: dict[int, _Entry] = {}
        for start in range(0, len(data), size):
            tag, kind, length = struct.unpack_from(self._order + entry, data, start)
            code = _TYPES.get(kind)
            if code is None:
                continue
            held = size - struct.calcsize(self._order + pointer)
            fits = length * struct.calcsize(self._order + code) <= size - held
            at = place + start + held if fits else struct.unpack_from(self._order + pointer, data, start + held)[0]
            found[tag] = _Entry(code, length, at)
        return found, self._unpacked(pointer, place + len(data))[0]

    def _table(self, entries: dict[int, _Entry]) -> TileTable | None:
        if _TILE_WIDTH not in entries or self._number(entries, _COMPRESSION) != _JPEG:
            return None
        bits = entries.get(_BITS)
        plain = bits is not None and (self._values(bits, 3) == 8).all() and self._number(entries, _SAMPLES) == 3
        photometric = self._number(entries, _PHOTOMETRIC)
        planar = self._number(entries, _PLANAR, _CONTIGUOUS)
        if not plain or planar != _CONTIGUOUS or photometric not in {_RGB, _YCBCR}:
            return None
        width, height, tile_width, tile_height = (
            self._number(entries, tag) for tag in (_WIDTH, _LENGTH, _TILE_WIDTH, _TILE_LENGTH)
        )
        if min(width, height, tile_width, tile_height) < 1 or max(tile_width, tile_height) > MAX_SIDE:
            return None
        count = -(-width // tile_width) * -(-height // tile_height)
        if count > MAX_TILES or any(tag not in entries or entries[tag].length != count for tag in (_OFFSETS, _COUNTS)):
            return None
        tables = entries.get(_TABLES)
        return TileTable(
            *(width, height, tile_width, tile_height),
            offsets=self._values(entries[_OFFSETS], count),
            counts=self._values(entries[_COUNTS], count),
            tables=b"" if tables is None else self._values(tables, MAX_TABLES).astype(np.uint8).tobytes(),
            rgb=photometric == _RGB,
        )

    def _number(self, entries: dict[int, _Entry], tag: int, default: int = 0) -> int:
        return int(self._values(entries[tag], 1)[0]) if tag in entries else default

    def _values(self, entry: _Entry, most: int) -> NDArray[np.uint64]:
        if not 1 <= entry.length <= most:
            raise OtherTiffError(f"a tag has {entry.length} values")
        kind = np.dtype(self._order + entry.code)
        return np.frombuffer(self._bytes(entry.place, entry.length * kind.itemsize), kind).astype(np.uint64)

    def _unpacked(self, code: str, place: int) -> tuple[int, ...]:
        return struct.unpack(self._order + code, self._bytes(place, struct.calcsize(self._order + code)))

    def _bytes(self, place: int, size: int) -> bytes:
        if place >= 2**63 - 1:
            raise OtherTiffError("it points beyond its end")
        found = os.pread(self._file, size, place)
        if len(found) != size:
            raise OtherTiffError("it is cut off")
        return found

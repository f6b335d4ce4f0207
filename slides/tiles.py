"""Decodes the JPEG tiles of TIFF slides without OpenSlide: the same pixels in a quarter of the time.

Only what is certain to give OpenSlide's pixels is decoded here. Whatever is unusual about a file, a level or a tile is
left to OpenSlide: this module then gives None.
"""

from __future__ import annotations

import os
from collections import OrderedDict
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from slides.errors import SlideError
from slides.tiff import OtherTiffError, TileTable, tile_tables

try:
    from simplejpeg import decode_jpeg
except ImportError:  # it is not built for every platform
    decode_jpeg = None

VENDORS = frozenset({"aperio", "generic-tiff"})  # levels that consist of one image's tiles, without overlap
MAX_TILE_BYTES = 2**24  # compressed

_START, _END, _SCAN = b"\xff\xd8", b"\xff\xd9", 0xDA
_FRAMES = frozenset({0xC0, 0xC1, 0xC2})  # baseline, extended, progressive; Huffman coded
_HUFFMAN, _QUANTIZATION = 0xC4, 0xDB
_COPIED = frozenset({*_FRAMES, _HUFFMAN, _QUANTIZATION, 0xDD, 0xFE})  # and restart interval, comment
_APPLICATION = frozenset(range(0xE0, 0xF0))
_ADOBE = b"\xff\xee\x00\x0eAdobe\x00\x64\x00\x00\x00\x00"

Tile = NDArray[np.uint8]


class Tiles:
    """The tiles of a slide's levels; of one thread at a time.

    Args:
        path: the slide's file.
        vendor: OpenSlide's name of the format.
        sizes: width and height of each level.
        cache_bytes: how many bytes of decoded tiles are kept.

    Raises:
        SlideError: if OpenSlide would turn the slide's tiles.
    """

    def __init__(self, path: Path, vendor: str, sizes: Sequence[tuple[int, int]], cache_bytes: int) -> None:
        self._file = -1
        self._levels: dict[int, tuple[bytes, TileTable]] = {}
        self._kept: OrderedDict[tuple[int, int], Tile | None] = OrderedDict()
        self._left = cache_bytes
        if vendor not in VENDORS:
            return
        try:
            with suppress(OSError, OtherTiffError):
                self._file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
                self._find(tile_tables(self._file), sizes)
        except SlideError:
            self.close()
            raise

    def _find(self, found: Sequence[TileTable], sizes: Sequence[tuple[int, int]]) -> None:
        if decode_jpeg is None:
            return
        for level, size in enumerate(sizes):
            fitting = [table for table in found if (table.width, table.height) == size]
            head = _head(fitting[0]) if len(fitting) == 1 else None
            if head is not None:
                self._levels[level] = head, fitting[0]

    def close(self) -> None:
        if self._file >= 0:
            os.close(self._file)
        self._file, self._levels = -1, {}

    def drop(self, level: int) -> None:
        """Leave a level to OpenSlide."""
        self._levels.pop(level, None)

    def read(self, level: int, x: int, y: int, width: int, height: int) -> Tile | None:
        """A rectangle within a level, uint8 [height, width, 4]: blue, green, red and 255; None: ask OpenSlide."""
        if level not in self._levels:
            return None
        _, table = self._levels[level]
        pixels = np.empty((height, width, 4), np.uint8)
        for row in range(y // table.tile_height, (y + height - 1) // table.tile_height + 1):
            for column in range(x // table.tile_width, (x + width - 1) // table.tile_width + 1):
                tile = self._tile(level, row * table.columns + column)
                if tile is None:
                    return None
                top, left = row * table.tile_height - y, column * table.tile_width - x
                part = tile[max(-top, 0) : height - top, max(-left, 0) : width - left]
                top, left = max(top, 0), max(left, 0)
                pixels[top : top + part.shape[0], left : left + part.shape[1]] = part
        return pixels

    def _tile(self, level: int, index: int) -> Tile | None:
        key = level, index
        head, table = self._levels[level]
        if key in self._kept:
            self._kept.move_to_end(key)
            return self._kept[key]
        tile = self._decoded(head, table, index)
        self._kept[key] = tile
        self._left -= 0 if tile is None else tile.nbytes
        while self._left < 0:
            _, dropped = self._kept.popitem(last=False)
            self._left += 0 if dropped is None else dropped.nbytes
        return tile

    def _decoded(self, head: bytes, table: TileTable, index: int) -> Tile | None:
        count = int(table.counts[index])
        if not 0 < count <= MAX_TILE_BYTES:
            return None
        try:
            data = os.pread(self._file, count, int(table.offsets[index]))
            stream = _stream(head, data, table) if len(data) == count else None
            return None if stream is None else decode_jpeg(stream, "BGRA", strict=True)
        except (OSError, OverflowError, ValueError, IndexError):
            return None


def _head(table: TileTable) -> bytes | None:
    """What each tile's stream begins with: its colours, which OpenSlide takes from the TIFF's tags, and the tables."""
    colours = _ADOBE + (b"\x00" if table.rgb else b"\x01")
    if not table.tables:
        return _START + colours
    try:
        segments, end = _segments(table.tables)
    except (ValueError, IndexError):
        return None
    tables = [data for kind, data in segments if kind in {_HUFFMAN, _QUANTIZATION}]
    return b"".join((_START, colours, *tables)) if table.tables[end:] == _END else None


def _stream(head: bytes, data: bytes, table: TileTable) -> bytes | None:
    """A whole JPEG stream of a tile; None if OpenSlide might decode it in another way, or not at all."""
    segments, scan = _segments(data)
    size = table.tile_height.to_bytes(2, "big") + table.tile_width.to_bytes(2, "big")
    frames = [part[4:10] for kind, part in segments if kind in _FRAMES]
    if frames != [b"\x08" + size + b"\x03"]:
        return None
    return b"".join((head, *(part for kind, part in segments if kind not in _APPLICATION), data[scan:]))


def _segments(data: bytes) -> tuple[list[tuple[int, bytes]], int]:
    """Marker and bytes of each segment of a stream before its scan or its end, and where that begins.

    Raises:
        ValueError: if there is one of a kind that is not decoded here.
        IndexError: if it is cut off.
    """
    if data[:2] != _START:
        raise ValueError("it is no JPEG")
    found: list[tuple[int, bytes]] = []
    place = 2
    while True:
        mark, kind = data[place], data[place + 1]
        if mark == 0xFF and kind in {_SCAN, _END[1]}:
            return found, place
        if mark != 0xFF or kind not in _COPIED | _APPLICATION:
            raise ValueError("a kind of JPEG that is not decoded here")
        end = place + 2 + int.from_bytes(data[place + 2 : place + 4], "big")
        found.append((kind, data[place:end]))
        place = end

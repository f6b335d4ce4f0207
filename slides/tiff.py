"""Where the JPEG tiles of a TIFF slide lie in its file: tifffile reads its tags, within bounds."""

from __future__ import annotations

import io
import logging
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import NDArray

from slides.errors import SlideError

if TYPE_CHECKING:
    from tifffile import TiffPage

MAX_DIRECTORIES = 64
MAX_TILES = 2**22
MAX_TABLES = 2**16
MAX_SIDE = 2048  # of a tile
MAX_BYTES = 3 * 2**25  # of all tags: the offsets and counts of a pyramid with the most tiles

_WIDTH, _LENGTH, _BITS, _COMPRESSION, _PHOTOMETRIC = 256, 257, 258, 259, 262
_SAMPLES, _PLANAR, _TILE_WIDTH, _TILE_LENGTH, _OFFSETS, _COUNTS, _TABLES = 277, 284, 322, 323, 324, 325, 347
_ORIENTATION, _UPRIGHT = 274, 1
_JPEG, _CONTIGUOUS, _RGB, _YCBCR = 7, 1, 2, 6
_DECODED_BY_OPENSLIDE = frozenset({_JPEG, 33003, 33005})  # JPEG 2000 too; libtiff decodes, and turns, all others


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


def tile_tables(file: int) -> list[TileTable]:
    """The images of a TIFF or BigTIFF that consist of JPEG tiles with three channels of eight bits.

    Args:
        file: descriptor of the open file.

    Raises:
        OtherTiffError: if it is no TIFF, is damaged, or has more directories or tiles than are read.
        SlideError: if OpenSlide would turn its tiles, each in its place.
    """
    try:
        from tifffile import TiffFile, TiffPage

        with (
            np.errstate(all="ignore"),
            _Complaints() as complaints,
            _Bounded(file, closefd=False) as data,
            # Formats whose pages tifffile looks for in ways of their own, without a bound.
            TiffFile(data, name="slide", offset=0, is_lsm=False, is_ndpi=False, is_scanimage=False) as tiff,
        ):
            pages = islice(tiff.pages, MAX_DIRECTORIES + 1)
            tables = [_table(page) for page in pages if isinstance(page, TiffPage)]
    except SlideError:
        raise
    except Exception as error:  # of whatever kind: a damaged file takes tifffile to many places
        raise OtherTiffError(f"it cannot be read: {type(error).__name__}: {error}") from error
    if complaints.errors:
        raise OtherTiffError(f"it is damaged: {complaints.errors[0]}")
    if len(tables) > MAX_DIRECTORIES:
        raise OtherTiffError(f"it has more than {MAX_DIRECTORIES} directories")
    return [table for table in tables if table is not None]


def _table(page: TiffPage) -> TileTable | None:
    # The tags, not the page's attributes, which tifffile changes for some scanners.
    value = page.tags.valueof
    if value(_TILE_WIDTH) and value(_COMPRESSION) not in _DECODED_BY_OPENSLIDE:
        _check_upright(value(_ORIENTATION, _UPRIGHT))
    kind = value(_COMPRESSION), value(_BITS), value(_SAMPLES), value(_PLANAR, _CONTIGUOUS)
    photometric, tables = value(_PHOTOMETRIC), value(_TABLES, b"")
    if kind != (_JPEG, (8, 8, 8), 3, _CONTIGUOUS) or photometric not in {_RGB, _YCBCR}:
        return None
    sides = [value(tag) for tag in (_WIDTH, _LENGTH, _TILE_WIDTH, _TILE_LENGTH)]
    if not all(isinstance(side, int) and side > 0 for side in sides) or max(sides[2:]) > MAX_SIDE:
        return None
    width, height, tile_width, tile_height = sides
    count = -(-width // tile_width) * -(-height // tile_height)
    places = value(_OFFSETS, ()), value(_COUNTS, ())
    if count > MAX_TILES or not (len(places[0]) == len(places[1]) == count):
        return None
    if not isinstance(tables, bytes) or len(tables) > MAX_TABLES:
        return None
    offsets, counts = (np.array(place, np.uint64) for place in places)
    return TileTable(width, height, tile_width, tile_height, offsets, counts, tables, rgb=photometric == _RGB)


def _check_upright(orientation: object) -> None:
    if orientation != _UPRIGHT:
        raise SlideError(
            f"the slide's TIFF tag Orientation is {orientation}, with which OpenSlide turns every tile in its place: "
            "write the pixels upright, with Orientation 1"
        )


class _Bounded(io.FileIO):
    """A file of which so much is read, and no more, whatever sizes its tags state."""

    _left = MAX_BYTES

    def read(self, size: int | None = -1, /) -> bytes:
        self._spend(-1 if size is None else size)
        return super().read(size)

    def readinto(self, buffer: Any, /) -> int:
        self._spend(memoryview(buffer).nbytes)
        return super().readinto(buffer)

    def _spend(self, size: int) -> None:
        self._left -= max(size, 64)  # many small reads take time, too
        if size < 0 or self._left < 0:
            raise OtherTiffError("its tags are too large")


class _Complaints(logging.Handler):
    """What tifffile logs about a file, which it reads all the same; shown to nobody."""

    def __init__(self) -> None:
        super().__init__()
        self.errors: list[str] = []
        self._logger = logging.getLogger("tifffile")

    def emit(self, record: logging.LogRecord) -> None:
        if record.levelno >= logging.ERROR:
            self.errors.append(record.getMessage())

    def __enter__(self) -> Self:
        self._propagated, self._logger.propagate = self._logger.propagate, False
        self._logger.addHandler(self)
        return self

    def __exit__(self, *_: object) -> None:
        self._logger.removeHandler(self)
        self._logger.propagate = self._propagated

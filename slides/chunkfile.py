"""Scored chunks on the disk: each whole, hashed and bound to its run, or not used."""

from __future__ import annotations

from hashlib import sha256
from pathlib import Path

import numpy as np

from slides.cells import STATES
from slides.grid import Chunk
from slides.runfile import write_atomically
from slides.score import CELL, REASON_CODES, CellArray

MAGIC = b"rosette chunk 1\n"
_HASH = 32


def path_of(folder: Path, chunk: Chunk) -> Path:
    return folder / f"{chunk.row:06d}-{chunk.column:06d}.chunk"


def write(folder: Path, chunk: Chunk, cells: CellArray, identity: str) -> None:
    """Write a chunk whole or not at all.

    Args:
        folder: of the run's chunks.
        cells: ``CELL`` [rows, columns].
        identity: of the run.
    """
    write_atomically(path_of(folder, chunk), pack(chunk, cells, identity))


def read(folder: Path, chunk: Chunk, identity: str) -> CellArray | None:
    """A chunk that was written before; None if it is missing, damaged, or of another run."""
    try:
        with path_of(folder, chunk).open("rb") as file:
            return unpack(file.read(_size(chunk) + 1), chunk, identity)
    except FileNotFoundError:
        return None


def pack(chunk: Chunk, cells: CellArray, identity: str) -> bytes:
    """A chunk as bytes, with a hash over all of it.

    Args:
        cells: ``CELL`` [rows, columns].
        identity: of what scored them.
    """
    content = MAGIC + _bound(chunk, identity) + np.ascontiguousarray(cells).tobytes()
    return content + sha256(content).digest()


def unpack(data: bytes, chunk: Chunk, identity: str) -> CellArray | None:
    """The cells, ``CELL`` [rows, columns]; None if they are damaged, of another chunk or identity, or impossible."""
    head = MAGIC + _bound(chunk, identity)
    content, digest = data[:-_HASH], data[-_HASH:]
    if len(data) != _size(chunk) or not content.startswith(head) or sha256(content).digest() != digest:
        return None
    cells = np.frombuffer(content, CELL, offset=len(head)).reshape(chunk.rows, chunk.columns)
    return cells if _possible(cells) else None


def _possible(cells: CellArray) -> bool:
    values = [cells[name] for name in ("probability", "turns", "shifts")]
    return bool(
        cells["state"].max() < len(STATES)
        and cells["reasons"].max() < 1 << len(REASON_CODES)
        and not any(((value < 0) | (value > 1)).any() for value in values)
        and not np.isinf(cells["logits"]).any()
    )


def _size(chunk: Chunk) -> int:
    return len(MAGIC) + _HASH + chunk.rows * chunk.columns * CELL.itemsize + _HASH


def _bound(chunk: Chunk, identity: str) -> bytes:
    return sha256(f"{identity} {chunk}".encode()).digest()

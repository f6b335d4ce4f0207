"""Scored chunks on the disk: each whole, hashed and bound to its run, or not used."""

from __future__ import annotations

from hashlib import sha256
from pathlib import Path

import numpy as np

from slides.cells import STATES
from slides.grid import Chunk
from slides.runfile import write_atomically
from slides.score import CELL, CellArray

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
    content = MAGIC + _bound(chunk, identity) + np.ascontiguousarray(cells).tobytes()
    write_atomically(path_of(folder, chunk), content + sha256(content).digest())


def read(folder: Path, chunk: Chunk, identity: str) -> CellArray | None:
    """A chunk that was written before; None if it is missing, damaged, or of another run."""
    path = path_of(folder, chunk)
    head = MAGIC + _bound(chunk, identity)
    size = len(head) + chunk.rows * chunk.columns * CELL.itemsize + _HASH
    try:
        with path.open("rb") as file:
            data = file.read(size + 1)
    except FileNotFoundError:
        return None
    content, digest = data[:-_HASH], data[-_HASH:]
    if len(data) != size or not content.startswith(head) or sha256(content).digest() != digest:
        return None
    cells = np.frombuffer(content, CELL, offset=len(head)).reshape(chunk.rows, chunk.columns)
    return cells if cells["state"].max() < len(STATES) else None


def _bound(chunk: Chunk, identity: str) -> bytes:
    return sha256(f"{identity} {chunk}".encode()).digest()

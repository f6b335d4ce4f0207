"""Connected components of a grid, and their exact outlines along the borders of cells."""

from __future__ import annotations

from itertools import pairwise
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Mask = NDArray[np.bool_]
Vertex = tuple[int, int]
Ring = list[Vertex]
Parts = list[list[int]]

_RIGHT, _DOWN, _LEFT, _UP = (0, 1), (1, 0), (0, -1), (-1, 0)
# In the padded grid, the cells around corner (r, c) are (r, c), (r, c + 1), (r + 1, c) and (r + 1, c + 1).
_CELL_BESIDE = {_RIGHT: (1, 1), _DOWN: (1, 0), _LEFT: (0, 0), _UP: (0, 1)}
_TOWARDS_OUTSIDE = {_RIGHT: _UP, _UP: _LEFT, _LEFT: _DOWN, _DOWN: _RIGHT}


def components(mask: Mask, neighbours: Literal[4, 8]) -> tuple[NDArray[np.int32], int]:
    """Number the connected components of a mask, bool [rows, columns], from 1 in row-major order.

    Args:
        neighbours: 8 connects cells that share a corner; 4 only those that share a side.

    Returns:
        int32 [rows, columns], 0 outside the mask, and the number of components.
    """
    reach = 1 if neighbours == 8 else 0
    parent: list[int] = []
    runs: list[tuple[int, int, int]] = []
    above = range(0)
    for row, line in enumerate(mask):
        first = len(runs)
        edges = np.flatnonzero(np.diff(line, prepend=False, append=False)).tolist()
        for start, end in zip(edges[::2], edges[1::2], strict=True):
            parent.append(len(runs))
            runs.append((row, start, end))
        _join(runs, parent, above, range(first, len(runs)), reach)
        above = range(first, len(runs))
    labels = np.zeros(mask.shape, dtype=np.int32)
    number: dict[int, int] = {}
    for index, (row, start, end) in enumerate(runs):
        labels[row, start:end] = number.setdefault(_root(parent, index), len(number) + 1)
    return labels, len(number)


def _join(runs: list[tuple[int, int, int]], parent: list[int], above: range, here: range, reach: int) -> None:
    """Join the runs of two neighbouring rows that touch."""
    upper, lower = iter(above), iter(here)
    a, b = next(upper, None), next(lower, None)
    while a is not None and b is not None:
        _, a_start, a_end = runs[a]
        _, b_start, b_end = runs[b]
        if a_start < b_end + reach and b_start < a_end + reach:
            first, second = sorted((_root(parent, a), _root(parent, b)))
            parent[second] = first
        if a_end < b_end:
            a = next(upper, None)
        else:
            b = next(lower, None)


def _root(parent: list[int], index: int) -> int:
    while parent[index] != index:
        parent[index] = parent[parent[index]]
        index = parent[index]
    return index


def enclosed(mask: Mask) -> Mask:
    """Bool [rows, columns]: cells outside the mask from which no walk over cells' sides leads out of the grid."""
    labels, count = components(np.pad(~mask, 1, constant_values=True), 4)
    inside = labels != labels[0, 0]
    result: Mask = (inside & (labels > 0))[1:-1, 1:-1] if count > 1 else np.zeros_like(mask)
    return result


def outlines(mask: Mask) -> list[list[Ring]]:
    """The outline of a mask as polygons: one for each part that hangs together by sides of cells.

    Returns:
        For each part its outer ring and then those of its holes. A ring is closed, visits no vertex twice, and has a
        vertex (row, column of a cell's corner) only where it turns. The outer ring has positive area in the (x, y) of
        an image, holes negative: the right-hand rule of RFC 7946. Parts may touch at corners.
    """
    labels, count = components(mask, 4)
    padded = np.pad(labels, 1)
    ways, parts = _ways(padded), padded.tolist()
    polygons: list[list[Ring]] = [[] for _ in range(count)]
    while ways:
        start = next(iter(ways))
        direction = ways[start][-1]
        part = _inside(parts, start, direction)
        polygons[part - 1].append(_walk(ways, parts, start, direction))
    return [sorted(rings, key=_twice_area, reverse=True) for rings in polygons]


def _ways(padded: NDArray[np.int32]) -> dict[Vertex, list[Vertex]]:
    """The directions in which sides between a cell of the mask and one outside leave each corner, row by row."""
    mask = padded > 0
    inner = mask[1:-1, 1:-1]
    beyond = (
        (_RIGHT, mask[:-2, 1:-1], 0, 0),
        (_DOWN, mask[1:-1, 2:], 0, 1),
        (_LEFT, mask[2:, 1:-1], 1, 1),
        (_UP, mask[1:-1, :-2], 1, 0),
    )
    found = [
        ((row + down, column + right), direction)
        for direction, outside, down, right in beyond
        for row, column in np.argwhere(inner & ~outside).tolist()
    ]
    ways: dict[Vertex, list[Vertex]] = {}
    for vertex, direction in sorted(found):
        ways.setdefault(vertex, []).append(direction)
    return ways


def _inside(parts: Parts, vertex: Vertex, direction: Vertex) -> int:
    """The part to which the cell beside the side that leaves a corner in this direction belongs."""
    down, right = _CELL_BESIDE[direction]
    return parts[vertex[0] + down][vertex[1] + right]


def _walk(ways: dict[Vertex, list[Vertex]], parts: Parts, start: Vertex, direction: Vertex) -> Ring:
    ring: Ring = [start]
    vertex = start
    while True:
        ways[vertex].remove(direction)
        if not ways[vertex]:
            del ways[vertex]
        vertex = vertex[0] + direction[0], vertex[1] + direction[1]
        if vertex == start:
            return [*ring, start]
        here = ways[vertex]
        if here != [direction]:
            direction = here[0] if len(here) == 1 else _turn(parts, vertex, direction)
            ring.append(vertex)


def _turn(parts: Parts, vertex: Vertex, direction: Vertex) -> Vertex:
    """Where two cells meet at a corner: around the cell outside if they are of one part, else around the own cell."""
    row, column = vertex
    around = {*parts[row][column : column + 2], *parts[row + 1][column : column + 2]}
    one_part = len(around) == 2
    down, right = _TOWARDS_OUTSIDE[direction]
    return (down, right) if one_part else (-down, -right)


def _twice_area(ring: Ring) -> int:
    return sum(x0 * y1 - x1 * y0 for (y0, x0), (y1, x1) in pairwise(ring))

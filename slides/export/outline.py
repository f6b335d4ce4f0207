"""A region's outline as one closed ring, for formats whose polygons have no holes and no parts."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from itertools import pairwise

from slides.regions import Point, Polygon

Ring = list[Point]
Side = tuple[Point, Point]


def single_ring(polygons: Sequence[Polygon]) -> Ring:
    """One closed ring along all rings of a region, each side in its own direction.

    Parts that touch at a corner are left and entered there. A hole that touches nothing is reached from its left by a
    horizontal cut, which is walked in both directions: cuts lie within the region and enclose no area.

    Args:
        polygons: rings with sides along x or y, each outer ring followed by its holes, as ``Region`` has them.
    """
    rings = [ring for polygon in polygons for ring in polygon]
    sides = [side for ring in rings for side in pairwise(ring)]
    _, *apart = sorted(min(point for ring in group for point in ring) for group in _touching(rings))
    return _circuit(_with_cuts(sides, apart))


def _touching(rings: Sequence[Ring]) -> list[list[Ring]]:
    """The rings in groups; those of a group hang together by common corners."""
    parent = list(range(len(rings)))

    def root(index: int) -> int:
        while parent[index] != index:
            parent[index] = index = parent[parent[index]]
        return index

    first: dict[Point, int] = {}
    for index, ring in enumerate(rings):
        for corner in ring:
            parent[root(index)] = root(first.setdefault(corner, index))
    groups: dict[int, list[Ring]] = {}
    for index, ring in enumerate(rings):
        groups.setdefault(root(index), []).append(ring)
    return list(groups.values())


def _with_cuts(sides: list[Side], corners: Sequence[Point]) -> list[Side]:
    """The sides, and a cut there and back from each corner to the nearest side on its left."""
    uprights = _uprights(sides, sorted({y for _, y in corners}))
    feet: dict[Side, set[Point]] = {}
    cuts: list[Side] = []
    for x, y in corners:
        nearest = uprights[y][bisect_left(uprights[y], x, key=_x_of) - 1]
        foot = _x_of(nearest), y
        feet.setdefault(nearest, set()).add(foot)
        cuts += [(foot, (x, y)), ((x, y), foot)]
    whole = [side for side in sides if side not in feet]
    split = [piece for side, at in feet.items() for piece in pairwise(_along(side, at))]
    return whole + split + cuts


def _uprights(sides: Sequence[Side], lines: Sequence[int]) -> dict[int, list[Side]]:
    """For each of these y, rising: the sides along y that reach or cross it, from the left."""
    found: dict[int, list[Side]] = {y: [] for y in lines}
    for side in sorted(side for side in sides if side[0][0] == side[1][0]):
        top, bottom = sorted((side[0][1], side[1][1]))
        for y in lines[bisect_left(lines, top) : bisect_right(lines, bottom)]:
            found[y].append(side)
    return found


def _x_of(side: Side) -> int:
    return side[0][0]


def _along(side: Side, feet: set[Point]) -> Ring:
    """The points of a side in its direction."""
    return sorted({*side, *feet}, reverse=side[0] > side[1])


def _circuit(sides: Sequence[Side]) -> Ring:
    """A walk along every side once (Hierholzer's algorithm); as many sides enter a corner as leave it."""
    onward: dict[Point, list[Point]] = {}
    for start, end in reversed(sides):
        onward.setdefault(start, []).append(end)
    path, ring = [sides[0][0]], list[Point]()
    while path:
        if ahead := onward.get(path[-1]):
            path.append(ahead.pop())
        else:
            ring.append(path.pop())
    return ring[::-1]

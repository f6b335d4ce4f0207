"""How the network answers the turns of one patch, measured as cheaply as its exactness allows."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import cache, partial
from typing import Literal, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from model_zoo.golden import Logits
from model_zoo.symmetry import Group
from model_zoo.turns import Patch, turns

Source = Literal["measured", "implied", "not_measured"]
T = TypeVar("T")


class Helpers(Protocol):
    """Threads that may take a share of an orbit's inferences."""

    @property
    def idle(self) -> int:
        """How many have nothing else to do."""

    def share(self, calls: Sequence[Callable[[], T]]) -> list[T]:
        """Run calls here and in idle threads; gives their results in order."""


class Rotations(StrEnum):
    """Which turns are measured.

    ``full``: one for each coset of the exact subgroup, and the exact subgroup; the rest is implied.
    ``exact``: the exact subgroup. ``none``: the patch as given. ``all``: every element.
    """

    FULL = "full"
    EXACT = "exact"
    NONE = "none"
    ALL = "all"


@dataclass(frozen=True)
class Orbit:
    """The answers to the turns of one patch, one entry for each group element, in the group's order.

    Attributes:
        logits: float32 [|G|, 2], or fewer rows if none behind them is known; unknown rows are NaN.
        source: where each row comes from.
        exact: whether all turns of the exact subgroup gave the same bits; None when that was not
            measured, or when the subgroup holds nothing but the identity.
    """

    logits: Logits
    source: tuple[Source, ...]
    exact: bool | None

    @property
    def known(self) -> tuple[int, ...]:
        return _known(self.source)


def measure_orbit(
    patch: Patch,
    group: Group,
    exact_subgroup: Group,
    rotations: Rotations,
    logits_of: Callable[[Patch], Logits],
    helpers: Helpers | None = None,
) -> Orbit:
    """Measure a patch's orbit: C12 with exact subgroup C4 takes 6 inferences in ``full``.

    What exactness implies is filled in only after the exact subgroup has been measured, in this very
    call, to give equal bits; otherwise the missing elements are measured too.

    Args:
        patch: uint8 [96, 96, 3].
        group: the network's group.
        exact_subgroup: the subgroup under which the network claims to be invariant to the last bit:
            the group's own exact subgroup, or C1 for a network that claims nothing.
        rotations: what to measure.
        logits_of: the network, uint8 [N, 96, 96, 3] to float32 [N, 2].
        helpers: threads that take a share if they are idle; otherwise all turns go into one call.
    """
    everything = tuple(range(len(group)))
    claims = len(exact_subgroup) > 1
    subgroup = group.exact_elements if claims else (0,)
    representative_of = group.coset_of if claims else everything

    logits = np.full((len(group), 2), np.nan, np.float32)
    source: list[Source] = ["not_measured"] * len(group)

    def infer(elements: tuple[int, ...]) -> None:
        logits[list(elements)] = logits_of(turns(patch, group, elements) if elements != (0,) else patch[None])

    def measure(elements: tuple[int, ...]) -> None:
        shares = min(helpers.idle + 1, len(elements)) if helpers and len(elements) > 1 else 1
        if helpers and shares > 1:
            helpers.share([partial(infer, elements[n::shares]) for n in range(shares)])
        else:
            infer(elements)
        for g in elements:
            source[g] = "measured"

    measure(
        {
            Rotations.NONE: (0,),
            Rotations.EXACT: subgroup,
            Rotations.FULL: tuple(sorted({*subgroup, *representative_of})),
            Rotations.ALL: everything,
        }[rotations]
    )
    exact = _same_bits(logits[list(subgroup)]) if claims and rotations is not Rotations.NONE else None
    missing = tuple(g for g in everything if source[g] == "not_measured")
    if rotations is Rotations.FULL and missing:
        if exact:
            for g in missing:
                logits[g], source[g] = logits[representative_of[g]], "implied"
        else:
            measure(missing)
    return Orbit(logits, tuple(source), exact)


def as_given(group: Group, logits: Logits) -> Orbit:
    """The orbit of which only the patch as given was measured, with its logits, float32 [2]."""
    return Orbit(logits[None], _as_given(len(group)), None)


@cache
def _known(source: tuple[Source, ...]) -> tuple[int, ...]:
    return tuple(g for g, each in enumerate(source) if each != "not_measured")


@cache
def _as_given(size: int) -> tuple[Source, ...]:
    unmeasured: Source = "not_measured"
    return "measured", *([unmeasured] * (size - 1))


def _same_bits(logits: NDArray[np.float32]) -> bool:
    bits = np.ascontiguousarray(logits).view(np.uint32)
    return bool((bits == bits[0]).all())

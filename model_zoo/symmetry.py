"""The rotation and reflection groups C_n and D_n, as finite groups of turns of a square patch."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cached_property
from math import gcd


@dataclass(frozen=True, order=True)
class Element:
    """One group element: mirror left-right first when ``reflected``, then rotate counter-clockwise.

    Attributes:
        reflected: whether the patch is mirrored before it is rotated.
        step: the rotation in units of ``360 / n`` degrees, in ``[0, n)``.
    """

    reflected: bool
    step: int


@dataclass(frozen=True)
class Group:
    """The cyclic group C_n (``reflections=False``) or the dihedral group D_n.

    Elements are ordered as e2cnn orders them: the ``n`` rotations by rising angle, then, for D_n,
    the same rotations of the mirrored patch. The identity is always element 0.

    Raises:
        ValueError: if ``n`` is below 1.
    """

    n: int
    reflections: bool = False

    def __post_init__(self) -> None:
        if self.n < 1:
            raise ValueError(f"a rotation group needs at least one rotation, got n={self.n}")

    @classmethod
    def parse(cls, name: str) -> Group:
        """Read ``"C12"`` or ``"D6"``.

        Raises:
            ValueError: if the name is not C or D followed by a whole number from 1 to 99.
        """
        match = re.fullmatch(r"([CD])([1-9][0-9]?)", name)
        if match is None:
            raise ValueError(f"group {name!r} is not C or D followed by 1 to 99, such as 'C12' or 'D4'")
        return cls(int(match[2]), match[1] == "D")

    @property
    def name(self) -> str:
        return f"{'D' if self.reflections else 'C'}{self.n}"

    @cached_property
    def elements(self) -> tuple[Element, ...]:
        return tuple(Element(m, k) for m in (False, True)[: 1 + self.reflections] for k in range(self.n))

    def __len__(self) -> int:
        return len(self.elements)

    def angle_deg(self, element: int) -> float:
        """Rotation angle of element ``element`` in degrees, in ``[0, 360)``."""
        return 360 * self.elements[element].step / self.n

    @cached_property
    def angles_deg(self) -> tuple[float, ...]:
        return tuple(self.angle_deg(g) for g in range(len(self)))

    @cached_property
    def reflected(self) -> tuple[bool, ...]:
        return tuple(e.reflected for e in self.elements)

    def product(self, g: int, h: int) -> int:
        """Index of the element that applies ``h`` first, then ``g``."""
        a, b = self.elements[g], self.elements[h]
        step = (a.step + (-b.step if a.reflected else b.step)) % self.n
        return (a.reflected ^ b.reflected) * self.n + step

    def inverse(self, g: int) -> int:
        e = self.elements[g]
        return g if e.reflected else -e.step % self.n

    @cached_property
    def relative(self) -> tuple[tuple[int, ...], ...]:
        """``relative[g][h]`` is the index of ``g⁻¹h``: the Cayley table that shares weights."""
        size = range(len(self))
        return tuple(tuple(self.product(self.inverse(g), h) for h in size) for g in size)

    @cached_property
    def exact_subgroup(self) -> Group:
        """The intersection with D4: the turns that only permute pixels of a square grid."""
        return Group(gcd(self.n, 4), self.reflections)

    @cached_property
    def exact_elements(self) -> tuple[int, ...]:
        """Indices, in this group, of the elements of the exact subgroup, in that subgroup's order."""
        stride = self.n // self.exact_subgroup.n
        return tuple(e.reflected * self.n + e.step * stride for e in self.exact_subgroup.elements)

    @cached_property
    def coset_of(self) -> tuple[int, ...]:
        """For each element ``g``, the least element of its coset ``H g`` of the exact subgroup H.

        A network that is exactly invariant under H gives equal answers for ``g`` and the
        representative of its coset.
        """
        size = range(len(self))
        return tuple(min(self.product(h, g) for h in self.exact_elements) for g in size)

    @cached_property
    def coset_representatives(self) -> tuple[int, ...]:
        """One element for each coset ``H g``, in rising order; the first is the identity."""
        return tuple(sorted(set(self.coset_of)))

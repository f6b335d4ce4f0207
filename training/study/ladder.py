"""The 24 variants of the ablation: cumulative steps, tied or untied, with two bounds."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from training.quantize.scheme import DEFAULT, Scheme

NARROW, WIDE = 64, 127
NAIVE = Scheme(field_scales=False, equalize=False, absorb=False, correct_bias=False)
DATA_FREE_STEP, CALIBRATED_STEP = "+ bias correction", "+ calibration"
LADDER = {
    "naive min-max": NAIVE,
    "per-channel scales": replace(NAIVE, field_scales=True),
    "+ equalization": replace(NAIVE, field_scales=True, equalize=True),
    "+ absorption": replace(DEFAULT, correct_bias=False),
    DATA_FREE_STEP: DEFAULT,
    CALIBRATED_STEP: DEFAULT,
}


@dataclass(frozen=True)
class Variant:
    """A variant: a step of the ladder, and the scheme with it and all previous steps."""

    step: str
    scheme: Scheme

    @property
    def calibrated(self) -> bool:
        """Whether activation ranges and mean inputs are measured on patches."""
        return self.step == CALIBRATED_STEP


DATA_FREE = Variant(DATA_FREE_STEP, DEFAULT)


def ladder(scheme: Scheme = DEFAULT) -> list[Variant]:
    """All steps, with the bound and the tying of ``scheme``."""
    return [Variant(step, replace(s, bound=scheme.bound, tied=scheme.tied)) for step, s in LADDER.items()]


def variants() -> Iterator[Variant]:
    """All 24 variants, in the order of the table."""
    for bound in (NARROW, WIDE):
        for tied in (True, False):
            yield from ladder(Scheme(bound=bound, tied=tied))

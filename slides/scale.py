"""The scale of a slide: stated by the file or by a person, never guessed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import isfinite, sqrt
from typing import Literal

from slides.errors import SlideError

PLAUSIBLE = (0.05, 10.0)  # microns per pixel; beyond it a file states the resolution of a screen or a printer
SQUARE = 0.01

_REMEDY = "state the true scale of its largest level with --mpp MICRONS_PER_PIXEL"


@dataclass(frozen=True)
class Scale:
    """Microns per pixel of level 0, and who stated it."""

    microns_per_pixel: float
    source: Literal["file", "stated"]


def scale_of(properties: Mapping[str, str], stated: float | None = None) -> Scale:
    """The scale of level 0. The objective's power is no scale, and is never taken for one.

    Args:
        properties: OpenSlide's.
        stated: microns per pixel that a person states; it counts in place of the file's.

    Raises:
        SlideError: if nobody states a plausible scale, or pixels are not square.
    """
    if stated is not None:
        if not _plausible(stated):
            raise SlideError(f"--mpp is {stated:g}, expected microns per pixel from {_range()}")
        return Scale(stated, "stated")
    across, down = (_number(properties.get(f"openslide.mpp-{axis}")) for axis in "xy")
    if across is None or down is None:
        power = properties.get("openslide.objective-power")
        aside = f" (it names an objective of {power[:10]}x, which is no scale)" if power else ""
        if properties.get("openslide.vendor") == "dicom":
            aside = " (Pixel Spacing, (0028,0030), in the Pixel Measures Sequence of its Shared Functional Groups)"
        raise SlideError(f"the file does not state its microns per pixel{aside}: {_REMEDY}")
    if not (_plausible(across) and _plausible(down)):
        shown = f"{across:.4g}" if across == down else f"{across:.4g} across and {down:.4g} down"
        raise SlideError(f"the file states {shown} microns per pixel, expected {_range()}: {_REMEDY}")
    if abs(across - down) > SQUARE * min(across, down):
        raise SlideError(
            f"the file states {across:.4g} microns per pixel across and {down:.4g} down, expected square pixels: "
            "write the slide anew with square pixels"
        )
    return Scale(across if across == down else sqrt(across * down), "file")


def _number(text: str | None) -> float | None:
    try:
        value = float(text or "")
    except ValueError:
        return None
    return value if isfinite(value) and value > 0 else None


def _plausible(value: float) -> bool:
    return isfinite(value) and PLAUSIBLE[0] <= value <= PLAUSIBLE[1]


def _range() -> str:
    return f"{PLAUSIBLE[0]:g} to {PLAUSIBLE[1]:g}"

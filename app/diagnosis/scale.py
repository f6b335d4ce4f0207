"""The scale that an image file states, in microns per pixel, and whether it is the model's."""

from __future__ import annotations

import html
import re
from collections.abc import Sequence
from dataclasses import dataclass
from math import isfinite, sqrt
from typing import Literal

from app.problems import WrongScale

Mpp = float | Literal["ignore"] | None
IGNORE: Literal["ignore"] = "ignore"
PLAUSIBLE = (0.05, 10.0)
TOLERANCE = 0.1
LEAST_STATED, MOST_STATED = 0.001, 1000.0

# Micro sign and Greek mu are two characters.
_MICRONS = {
    **dict.fromkeys(("um", "µm", "μm", "micron", "microns", "micrometer", "micrometre"), 1.0),
    **dict.fromkeys(("nm", "nanometer"), 1e-3),
    **dict.fromkeys(("mm", "millimeter", "millimetre"), 1e3),
    **dict.fromkeys(("cm", "centimeter", "centimetre"), 1e4),
    **dict.fromkeys(("m", "meter", "metre"), 1e6),
    **dict.fromkeys(("in", "inch", "inches", '"'), 25_400.0),
}
_NUMBER = r"([0-9]{1,12}(?:\.[0-9]{0,20})?(?:[eE][-+]?[0-9]{1,2})?)"
_APERIO = re.compile(rf"\bMPP\s{{0,3}}=\s{{0,3}}{_NUMBER}")
_IMAGEJ_UNIT = re.compile(r"^unit=(.{1,20})$", re.MULTILINE)
_OME_PIXELS = re.compile(r"<(?:\w{1,20}:)?Pixels\s[^<>]{1,4000}>")
_OME_SIZE = re.compile(rf"""\bPhysicalSize([XY])\s?=\s?["']{_NUMBER}["']""")
_OME_UNIT = re.compile(r"""\bPhysicalSize([XY])Unit\s?=\s?["']([^"']{1,20})["']""")


@dataclass(frozen=True)
class Scale:
    """A scale that a file states.

    Attributes:
        across, down: microns per pixel.
        where: the part of the file that states it.
    """

    across: float
    down: float
    where: str

    @property
    def microns_per_pixel(self) -> float:
        """One figure: the geometric mean if across and down differ."""
        return self.across if self.across == self.down else sqrt(self.across * self.down)

    def differs(self, expected: float) -> bool:
        """Whether it is more than 10 % off, across or down."""
        return any(abs(found - expected) > TOLERANCE * expected for found in (self.across, self.down))


def parse_mpp(text: str) -> float | Literal["ignore"]:
    """What a caller says of a patch's scale: microns per pixel, or that the file's scale shall be ignored.

    Raises:
        ValueError: if it is neither.
    """
    if text == IGNORE:
        return IGNORE
    if re.fullmatch(_NUMBER, text) and LEAST_STATED <= (number := float(text)) <= MOST_STATED:
        return number
    raise ValueError(
        f"mpp is {text[:20]!r}, expected microns per pixel from {LEAST_STATED:g} to {MOST_STATED:g}, or {IGNORE!r}"
    )


def checked(scales: Sequence[Scale], expected: float, mpp: Mpp) -> float | None:
    """The patch's scale in microns per pixel, as the caller or else the file states it; None if neither does.

    Args:
        scales: those that the file states.
        expected: the model's microns per pixel.
        mpp: what the caller says.

    Raises:
        WrongScale: if it is more than 10 % off the model's.
    """
    if isinstance(mpp, float):
        scales = [Scale(mpp, mpp, "mpp")]
    if mpp != IGNORE:
        for scale in scales:
            if scale.differs(expected):
                raise _wrong_scale(scale, expected)
    return scales[0].microns_per_pixel if scales else None


def _wrong_scale(scale: Scale, expected: float) -> WrongScale:
    found = f"{scale.microns_per_pixel:.4g}"
    if scale.across != scale.down:
        found = f"{scale.across:.4g} (across) and {scale.down:.4g} (down)"
    source = "The request states" if scale.where == "mpp" else "The file states"
    remedy = f"cut the patch from the slide at {expected:g} microns per pixel"
    if scale.where != "mpp":
        remedy += ". If the file is wrong, state the true scale with mpp=NUMBER, or skip this check with mpp=ignore"
    return WrongScale(
        f"{source} {found} microns per pixel ({scale.where}), expected {expected:g} within 10 %: {remedy}.",
        found=scale.microns_per_pixel,
        expected=expected,
        where=scale.where,
    )


def per_unit(across: float, down: float, microns: float, where: str) -> list[Scale]:
    """The scale of a resolution in pixels per unit; none unless it is plausible for a microscope.

    Args:
        across, down: pixels per unit.
        microns: of the unit.
    """
    return sized(microns / across, microns / down, where) if across > 0 and down > 0 else []


def sized(across: float, down: float, where: str) -> list[Scale]:
    """The scale of a pixel's size in microns; none unless it is plausible for a microscope."""
    low, high = PLAUSIBLE
    plausible = all(isfinite(value) and low <= value <= high for value in (across, down))
    return [Scale(across, down, where)] if plausible else []


def described(text: str, across: float, down: float) -> list[Scale]:
    """The scales in a TIFF's image description: OME-XML, ImageJ, Aperio.

    Args:
        text: the description.
        across, down: the TIFF's resolution, in pixels per ImageJ's unit; 0 if it has none.
    """
    scales = []
    if pixels := _OME_PIXELS.search(text):
        scales += _ome(html.unescape(pixels[0]))
    if text.startswith("ImageJ=") and (unit := _IMAGEJ_UNIT.search(text)):
        name = unit[1].strip().replace(r"\u00B5", "µ").lower()
        if name in _MICRONS:
            scales += per_unit(across, down, _MICRONS[name], "ImageJ's unit and resolution")
    if match := _APERIO.search(text):
        scales += sized(float(match[1]), float(match[1]), "MPP in the image description")
    return scales


def _ome(pixels: str) -> list[Scale]:
    sizes = {axis: float(size) for axis, size in _OME_SIZE.findall(pixels)}
    units = {axis: _MICRONS.get(unit.lower()) for axis, unit in _OME_UNIT.findall(pixels)}
    across, down = (sizes.get(axis, 0.0) * (units.get(axis, 1.0) or 0.0) for axis in "XY")
    return sized(across or down, down or across, "OME-XML PhysicalSize")

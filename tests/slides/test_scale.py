"""The scale of a slide is stated, never guessed."""

from __future__ import annotations

import pytest

from slides.errors import SlideError
from slides.scale import Scale, scale_of


def properties(across: str, down: str | None = None) -> dict[str, str]:
    return {"openslide.mpp-x": across, "openslide.mpp-y": down or across, "openslide.objective-power": "20"}


def test_the_files_scale_counts_unless_a_person_states_one() -> None:
    assert scale_of(properties("0.499")) == Scale(0.499, "file")
    assert scale_of(properties("0.499"), 0.5) == Scale(0.5, "stated")
    assert scale_of({}, 0.25) == Scale(0.25, "stated")


@pytest.mark.parametrize("text", ["264.583", "0", "-1", "nan", "inf", "0.01", "many"])
def test_an_implausible_scale_is_refused_with_the_way_out(text: str) -> None:
    with pytest.raises(SlideError, match="--mpp"):
        scale_of(properties(text))


def test_an_objective_is_no_scale() -> None:
    with pytest.raises(SlideError, match=r"does not state its microns per pixel \(it names an objective of 40x.*--mpp"):
        scale_of({"openslide.objective-power": "40"})


def test_pixels_that_are_not_square_are_refused() -> None:
    with pytest.raises(SlideError, match="square pixels"):
        scale_of(properties("0.25", "0.5"))
    assert scale_of(properties("0.2500", "0.2501")).microns_per_pixel == pytest.approx(0.25005)


@pytest.mark.parametrize("stated", [0.0, -0.5, 0.001, 264.0, float("nan"), float("inf")])
def test_an_implausible_statement_is_refused(stated: float) -> None:
    with pytest.raises(SlideError, match=r"--mpp is .*, expected microns per pixel from 0.05 to 10"):
        scale_of(properties("0.5"), stated)

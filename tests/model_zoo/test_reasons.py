"""Texts of reasons: rounded so that a value beyond its limit reads so."""

from __future__ import annotations

import pytest

from model_zoo.reasons import outward, reason


@pytest.mark.parametrize(
    ("value", "limit", "said"),
    [
        (0.2204, 0.2196, ("0.221", "0.219")),
        (0.22, 0.22, ("0.22", "0.22")),
        (0.219, 0.2196, ("0.219", "0.22")),
        (21.996, 22.004, ("21.9", "22.1")),
        (22931.0, 22.0, ("23000", "22")),
        (0.0, 0.01, ("0", "0.01")),
        (9.999, 9.0, ("10", "9")),
    ],
)
def test_both_are_rounded_away_from_each_other(value: float, limit: float, said: tuple[str, str]) -> None:
    assert outward(value, limit) == said


@pytest.mark.parametrize(
    ("value", "limit", "said"),
    [
        (0.2204, 0.2196, "by up to 0.221 from its mean, 0.002 more than the 0.219 that counts"),
        (0.2313, 0.2217, "by up to 0.232 from its mean, 0.011 more than the 0.221 that counts"),
        (0.32, 0.22, "by up to 0.32 from its mean, 0.1 more than the 0.22 that counts"),
        (0.1001, 0.09991, "by up to 0.101 from its mean, 0.0011 more than the 0.0999 that counts"),
    ],
)
def test_the_stated_excess_is_the_difference_of_the_stated_figures(value: float, limit: float, said: str) -> None:
    assert said in reason("turning", value, limit).text

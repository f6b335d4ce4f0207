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


def test_the_excess_is_stated() -> None:
    text = reason("turning", 0.2204, 0.2196).text
    assert "by up to 0.221 from its mean, 0.0008 more than the 0.219 that counts" in text

"""The length of the long tests: short in CI, full in `make nightly`."""

from __future__ import annotations

import os

import pytest

NIGHTLY = os.environ.get("ROSETTE_TEST_NIGHTLY", "0") not in {"", "0"}


AT_NIGHT = [pytest.mark.soak, pytest.mark.nightly]
"""Marks of what CI leaves to `make nightly`."""


def scaled(short: int, full: int) -> int:
    """A count of rounds, requests or kills: the short one in CI, the full one at night."""
    return full if NIGHTLY else short

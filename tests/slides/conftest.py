"""Which model scores where a test names none."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from tests.conftest import shipped_artifact


@pytest.fixture(scope="module", autouse=True)
def balanced() -> Iterator[None]:
    """The shipped default takes eight times as long; `ROSETTE_MODEL` from outside counts."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("ROSETTE_MODEL", os.environ.get("ROSETTE_MODEL") or str(shipped_artifact()))
        yield

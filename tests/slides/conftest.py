"""Which model scores where a test names none."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.conftest import shipped_artifact


@pytest.fixture(scope="module", autouse=True)
def balanced() -> Iterator[None]:
    """The shipped default takes eight times as long."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("ROSETTE_MODEL", str(shipped_artifact()))
        yield

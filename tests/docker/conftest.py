"""A Docker engine, the images, and stacks that are removed afterwards."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from model_zoo.synthetic import synthetic_patch
from tests.app.conftest import encoded
from tests.conftest import ROOT
from tests.docker.stack import Stack, copy_installation


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker("docker")


@pytest.fixture(scope="session", autouse=True)
def _engine() -> None:
    if shutil.which("docker") is None or subprocess.run(["docker", "version"], capture_output=True).returncode:
        pytest.skip("no Docker engine answers: start one, and set DOCKER_HOST if it listens elsewhere")
    if subprocess.run(["docker", "compose", "version"], capture_output=True).returncode:
        pytest.skip("Docker has no Compose v2: install its plugin")


@pytest.fixture(scope="session")
def root() -> None:
    """The right to kill what runs in containers."""
    if os.geteuid():
        pytest.skip("this kills processes of other users: run it as root")


@pytest.fixture(scope="session")
def images() -> None:
    """The images, built from this checkout."""
    builder = Stack(ROOT, "rosette-test-build", ROSETTE_HOSTNAME="localhost")
    builder.compose("build", "--quiet")


@contextmanager
def stacks(factory: pytest.TempPathFactory) -> Iterator[Callable[..., Stack]]:
    """Makes stacks that are configured but not started; all are removed at the end.

    They serve ``balanced``, which starts sooner, unless another model is named; empty: the default.
    """
    made: list[Stack] = []

    def make(name: str, model: str = "balanced", **options: str) -> Stack:
        folder = factory.mktemp(name)
        copy_installation(folder)
        if model:
            (folder / "docker" / "settings.env").write_text(f"ROSETTE_MODEL={model}\n")
        stack = Stack(folder, f"rosette-test-{name}", **options)
        made.append(stack)
        stack.script("env.sh")
        stack.down()
        return stack

    try:
        yield make
    finally:
        for stack in made:
            stack.down()


@pytest.fixture(scope="module")
def new_stack(images: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., Stack]]:
    """Makes stacks of one module's own."""
    with stacks(tmp_path_factory) as make:
        yield make


@pytest.fixture(scope="session")
def stack(images: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """One stack that runs, which many tests share."""
    with stacks(tmp_path_factory) as make:
        running = make("shared", model="")
        running.up()
        yield running


@pytest.fixture(scope="session")
def png() -> bytes:
    return encoded(synthetic_patch("tumour", 7))

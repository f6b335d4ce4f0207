"""Where the tests find the artifact and the shared data."""

from __future__ import annotations

import gc
import os
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from sqlalchemy import create_engine, make_url, text

ROOT = Path(__file__).resolve().parent.parent

# A busy machine is no failure.
settings.register_profile(
    "patient", settings.get_profile("default"), deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
if not os.environ.get("CI"):  # for which Hypothesis has a profile that is as patient
    settings.load_profile("patient")


def shipped_artifact(precision: str = "int8", name: str = "balanced") -> Path:
    """The one artifact of this name and precision (``"int8"`` or ``"fp32"``) in ``model_zoo/``.

    Most tests take ``balanced``: ``accurate``, which serves by default, takes eight times as long.

    ``ROSETTE_TEST_ARTIFACT`` names another INT8 artifact, whose float twin lies beside it.
    """
    if named := os.environ.get("ROSETTE_TEST_ARTIFACT"):
        path = Path(named)
        return path.with_name(path.name.replace(".int8.onnx", f".{precision}.onnx"))
    found = sorted((ROOT / "model_zoo").glob(f"{name}-*.{precision}.onnx"))
    if len(found) != 1:
        names = ", ".join(path.name for path in found) or "none"
        raise FileNotFoundError(f"expected exactly one model_zoo/{name}-*.{precision}.onnx, found {names}")
    return found[0]


def earlier_artifact() -> Path:
    """An INT8 artifact of manifest schema 1, whose graph pools by Reshape and ReduceMax."""
    return ROOT / "benchmarks" / "artifacts" / "accurate-0.3.1.int8.onnx"


LONGEST = [
    "study/test_experiments.py",
    "training/test_densenet_runs.py",
    "web/test_screens.py",
    "web/test_slides.py",
    "web/test_doors.py",
    "app/test_audit.py",
    "app/test_process.py",
    "slides/test_resume.py",
    "registry/test_admin_models.py",
    "slides/test_slide_runs.py",
    "registry/test_unusable_models.py",
    "slides/test_score.py",
]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The longest files first, so that no worker is left alone with one at the end."""
    places = {name: place for place, name in enumerate(LONGEST)}
    items.sort(key=lambda item: places.get("/".join(item.path.parts[-2:]), len(places)))


@pytest.fixture(scope="session")
def artifact_path() -> Path:
    """A shipped INT8 artifact."""
    return shipped_artifact()


@pytest.fixture(scope="session")
def float_artifact_path() -> Path:
    """Its float32 twin."""
    return shipped_artifact("fp32")


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder with real patches and slides, which are used in place and never copied here."""
    folder = Path(os.environ.get("ROSETTE_SHARED", ROOT.parent / "shared"))
    if not (folder / "pcam").is_dir():
        pytest.skip(f"no real data at {folder}: set ROSETTE_SHARED to the folder that holds pcam/")
    return folder


_databases = count()


@contextmanager
def postgres_database(template: str = "template1") -> Iterator[str]:
    """A PostgreSQL database of the caller's own, by its URL; it begins as a copy of the database ``template``."""
    if not (given := os.environ.get("ROSETTE_TEST_POSTGRES_URL")):
        pytest.skip("no PostgreSQL: set ROSETTE_TEST_POSTGRES_URL to one in which databases may be made")
    name = f"rosette_test_{os.getpid()}_{next(_databases)}"
    server = create_engine(given, isolation_level="AUTOCOMMIT")
    with server.connect() as connection:
        connection.execute(text(f"CREATE DATABASE {name} TEMPLATE {template}"))
    try:
        yield make_url(given).set(database=name).render_as_string(hide_password=False)
    finally:
        with server.connect() as connection:
            connection.execute(text(f"DROP DATABASE {name} WITH (FORCE)"))
        server.dispose()


@pytest.fixture
def postgres_url() -> Iterator[str]:
    """A PostgreSQL database of the test's own."""
    with postgres_database() as url:
        yield url


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A database of the test's own, by its URL."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'rosette.db'}"
    url: str = request.getfixturevalue("postgres_url")
    return url


@pytest.fixture(scope="session")
def migrated_postgres() -> Iterator[str]:
    """The name of a PostgreSQL database in which the migrations ran, and nothing else."""
    from app.records.database import open_database  # here, as not all tests need the server's packages
    from app.records.migrations import migrate

    with postgres_database() as url:
        engine = open_database(url)
        migrate(engine)
        engine.dispose()
        yield make_url(url).database or ""


def pytest_collection_finish() -> None:
    """Modules and tests are there until the end: a collection of garbage need not look at them."""
    gc.collect()
    gc.freeze()

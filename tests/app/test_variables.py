"""Environment variables that are almost settings, and those of other programs."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from pydantic import ValidationError

from app.settings import Settings
from app.variables import unknown
from tests.conftest import ROOT
from tests.installed import rosette
from tests.processes import serving

USERS = [
    "Makefile",
    ".ci",
    "alembic",
    "benchmarks",
    "compose.yaml",
    "docker",
    "model_zoo",
    "scripts",
    "tests",
    "training",
]


def files() -> list[Path]:
    roots = [ROOT / name for name in USERS if (ROOT / name).exists()]
    found = [path for root in roots for path in (root.rglob("*") if root.is_dir() else [root])]
    return [path for path in found if path.is_file() and path.suffix not in {".onnx", ".png", ".pyc", ".so"}]


@pytest.mark.parametrize(
    ("variable", "meant"),
    [
        ("ROSETTE_RETENTION_DAY", "ROSETTE_RETENTION_DAYS"),
        ("ROSETTE_RETENTION", "ROSETTE_RETENTION_DAYS"),
        ("ROSETTE_DATABASEURL", "ROSETTE_DATABASE_URL"),
        ("ROSETTE_TRUSTED_KEY", "ROSETTE_TRUSTED_KEYS"),
        ("ROSETTE_STORE_PATCH", "ROSETTE_STORE_PATCHES"),
        ("ROSETTE_LOGLEVEL", "ROSETTE_LOG_LEVEL"),
        ("rosette_quue", "ROSETTE_QUEUE"),
    ],
)
def test_what_is_almost_a_setting_is_refused_with_the_setting(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, variable: str, meant: str
) -> None:
    monkeypatch.setenv(variable, "30")
    with pytest.raises(ValidationError, match=rf"{variable} is not a setting: did you mean {meant}\?"):
        Settings(home=tmp_path)


def test_every_setting_is_known_in_any_case() -> None:
    names = [f"ROSETTE_{name.upper()}" for name in Settings.model_fields]
    assert unknown([*names, *map(str.lower, names), "PATH", "ROSETTES"], Settings.model_fields) == {}


def test_every_name_that_is_used_around_the_server_is_accepted() -> None:
    texts = (path.read_text("utf-8", errors="replace") for path in files())
    names = {name for text in texts for name in re.findall(r"ROSETTE_[A-Z0-9_]*[A-Z0-9]", text)}
    assert {"ROSETTE_REPLICAS", "ROSETTE_TEST_KILLS", "ROSETTE_HOSTNAME", "ROSETTE_DATA"} <= names
    # This file names variables that are to be refused; ROSETTE_DB and ROSETTE_TEST are beginnings of names.
    own = set(re.findall(r"ROSETTE_[A-Z0-9_]+", Path(__file__).read_text("utf-8")))
    assert set(unknown(names - own, Settings.model_fields)) <= {"ROSETTE_DB", "ROSETTE_TEST"}


def test_what_kubernetes_sets_is_accepted() -> None:
    names = ["ROSETTE_SERVICE_HOST", "ROSETTE_SERVICE_PORT_HTTP", "ROSETTE_PORT_8000_TCP", "ROSETTE_PORT_8000_TCP_ADDR"]
    assert unknown(names, Settings.model_fields) == {}


def test_the_installed_program_refuses_a_mistyped_setting(tmp_path: Path) -> None:
    for command in ("serve", "drift"):
        said = rosette(command, code=1, ROSETTE_HOME=str(tmp_path / "home"), ROSETTE_RETENTION_DAY="30")
        assert "did you mean ROSETTE_RETENTION_DAYS?" in said
        assert "Traceback" not in said
    assert not (tmp_path / "home").exists()


def test_the_start_names_other_unknown_variables(tmp_path: Path, artifact_path: Path) -> None:
    with serving(tmp_path, artifact_path, ROSETTE_WEATHER="fine", ROSETTE_REPLICAS="2") as server:
        server.wait_until_it_listens()
        said = "".join(server._output)
    assert "ROSETTE_WEATHER is not a setting and is ignored: the setting with the nearest name is ROSETTE_" in said
    assert "ROSETTE_REPLICAS" not in said


def test_a_wrong_value_is_said_with_its_variable_alone(tmp_path: Path) -> None:
    """Not the defaults that could not be computed, and not the value, which may be secret."""
    said = rosette("serve", code=1, ROSETTE_HOME=str(tmp_path), ROSETTE_RETENTION_DAYS="-3")
    assert said == "rosette: ROSETTE_RETENTION_DAYS expected 1 or more\n"
    said = rosette("serve", code=1, ROSETTE_HOME=str(tmp_path), ROSETTE_ADMIN_KEY="my secret")
    assert said.startswith("rosette: ROSETTE_ADMIN_KEY has 9 characters, expected at least 32")
    assert "my secret" not in said

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import ValidationError

from app.settings import Settings, default_home


def test_environment_variables_are_honoured(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("ROSETTE_HOME", str(tmp_path))
    monkeypatch.setenv("ROSETTE_PORT", "1234")
    monkeypatch.setenv("ROSETTE_HOST", "0.0.0.0")
    monkeypatch.setenv("ROSETTE_ADMIN_KEY", "")
    settings = Settings()
    assert (settings.home, settings.port, settings.host, settings.read_admin_key()) == (tmp_path, 1234, "0.0.0.0", None)
    assert settings.sqlalchemy_url() == f"sqlite:///{tmp_path}/rosette.db"


def test_home_follows_the_xdg_base_directories(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    assert default_home() == tmp_path / "rosette"
    monkeypatch.setenv("XDG_DATA_HOME", "relative")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert default_home() == tmp_path / ".local" / "share" / "rosette"


@pytest.mark.parametrize("scheme", ["postgres", "postgresql", "postgresql+psycopg"])
def test_postgresql_uses_the_driver_that_is_installed(scheme: str) -> None:
    settings = Settings(database_url=f"{scheme}://user@host/name")
    assert settings.sqlalchemy_url() == "postgresql+psycopg://user@host/name"


def test_an_admin_key_of_32_characters_is_taken_from_variable_or_file(tmp_path: Path) -> None:
    file = tmp_path / "key"
    file.write_text("ä" * 32 + "\n", encoding="utf-8")
    assert Settings(admin_key_file=file).read_admin_key() == "ä" * 32
    assert Settings(admin_key="x y" * 11).read_admin_key() == "x y" * 11


@pytest.mark.parametrize(
    ("key", "message"),
    [("x" * 31, "has 31 characters, expected at least 32"), ("x" * 32 + "\ny", "holds a control character")],
)
def test_an_unfit_admin_key_is_refused_without_showing_it(key: str, message: str) -> None:
    with pytest.raises(ValidationError, match=message) as refused:
        Settings(admin_key=key)
    assert "xxx" not in str(refused.value)


def test_an_unreadable_admin_key_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ValidationError, match=r"missing cannot be read"):
        Settings(admin_key_file=tmp_path / "missing")


def test_two_admin_keys_are_one_too_many(tmp_path: Path) -> None:
    with pytest.raises(ValidationError, match="both set"):
        Settings(admin_key="x" * 32, admin_key_file=tmp_path / "key")

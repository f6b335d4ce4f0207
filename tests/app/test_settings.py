from __future__ import annotations

import os
from pathlib import Path

import pytest
from pydantic import SecretStr, ValidationError
from sqlalchemy import make_url

from app.records.settings_audit import in_force
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
    [("x" * 31, "has 31 characters, expected at least 32"), ("x" * 32 + "\ny", "contains a control character")],
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


def test_the_databases_password_comes_from_its_file(tmp_path: Path) -> None:
    file = tmp_path / "password"
    file.write_text("p@ss/word:ä\n", encoding="utf-8")
    settings = Settings(database_url="postgresql://user@host/name", database_password_file=file)
    assert make_url(settings.sqlalchemy_url()).password == "p@ss/word:ä"
    assert "p%40ss" not in str(in_force(settings))


@pytest.mark.parametrize(
    ("url", "password", "message"),
    [
        ("postgresql://user@host/name", None, "cannot be read"),
        ("postgresql://user@host/name", " \n", "is empty"),
        ("postgresql://user:secret@host/name", "other", "both contain a password"),
        ("", "other", "takes no password"),
        ("nonsense", "other", "not a SQLAlchemy URL"),
    ],
)
def test_an_unfit_database_password_file_is_refused(
    tmp_path: Path, url: str, password: str | None, message: str
) -> None:
    file = tmp_path / "password"
    if password is not None:
        file.write_text(password)
    with pytest.raises(ValueError, match=message):
        Settings(database_url=url, database_password_file=file).sqlalchemy_url()


def test_a_secrets_file_is_read_with_a_bound(tmp_path: Path) -> None:
    large, url = tmp_path / "large", SecretStr("postgresql://user@host/name")
    large.write_bytes(b"x" * 70_000)
    for file, message in (
        (Path("/dev/zero"), "is a device: name a file"),
        (Path("/dev/null"), "is a device: name a file"),
        (tmp_path, "is a folder: name a file"),
        (large, "has more than 65536 bytes"),
    ):
        with pytest.raises(ValidationError, match=f"ROSETTE_ADMIN_KEY_FILE {file} {message}") as refused:
            Settings(admin_key_file=file)
        assert "xxx" not in str(refused.value)
        with pytest.raises(ValueError, match=f"ROSETTE_DATABASE_PASSWORD_FILE {file} {message}"):
            Settings(database_password_file=file, database_url=url).sqlalchemy_url()
        with pytest.raises(ValidationError, match=f"ROSETTE_WEBHOOK_KEY_FILE {file} {message}"):
            Settings(webhook_url="https://example.org/", webhook_key_file=file)


def test_a_secret_may_come_from_a_pipe_and_is_asked_for_more_than_once() -> None:
    ends = os.pipe()
    os.write(ends[1], b"k" * 40 + b"\n")
    os.close(ends[1])
    try:
        settings = Settings(admin_key_file=Path(f"/dev/fd/{ends[0]}"))
        assert [settings.read_admin_key() for _ in range(2)] == ["k" * 40] * 2
    finally:
        os.close(ends[0])

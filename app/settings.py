"""What an administrator can set, from environment variables that begin with ``ROSETTE_``."""

from __future__ import annotations

import os
import platform
from ipaddress import ip_network
from pathlib import Path
from typing import Self

from pydantic import Field, SecretStr, field_validator, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict
from sqlalchemy import make_url
from sqlalchemy.exc import ArgumentError

from app.registry.signatures import TrustedKeys

ADMIN_KEY_MIN_LENGTH = 32


def default_home() -> Path:
    """``$XDG_DATA_HOME/rosette``, by default ``~/.local/share/rosette``."""
    data = os.environ.get("XDG_DATA_HOME", "")
    return (Path(data) if data.startswith("/") else Path.home() / ".local" / "share") / "rosette"


def usable_cores() -> int:
    """The cores that this process may run on."""
    return len(os.sched_getaffinity(0)) if platform.system() == "Linux" else os.cpu_count() or 1


class Settings(BaseSettings):
    """The server's settings; an empty variable counts as unset.

    Attributes:
        home: folder of the database and the first admin key, created when missing.
        database_url: an SQLAlchemy URL of SQLite or PostgreSQL; by default ``rosette.db`` in ``home``.
        database_password_file: a file that holds the database's password, which the URL then leaves out.
        host: address to listen on.
        port: port to listen on; 0 picks a free one.
        admin_key: an admin key of the administrator's own, any string of at least 32 characters.
        admin_key_file: a file that holds it.
        key_grace_s: seconds after its last confirmation for which a key opens while the database is away.
        failed_tries: wrong keys that may come from one address at once; beyond, one every 6 seconds.
        trusted_proxies: addresses or networks, separated by commas, whose ``X-Forwarded-For`` is believed.
        model: the artifact to serve; by default the one shipped in ``model_zoo``.
        trusted_keys: public keys, separated by commas, whose signatures models must carry.
        upload_timeout_s: seconds within which a whole uploaded model must have arrived.
        retention_days: days for which predictions are kept; by default for ever.
        docs: whether ``/docs`` and ``/openapi.json`` are served.
        workers: threads that decode, infer and commit; by default one for each core.
        queue: requests that may wait for a worker; more are refused with 503.
        uploads: requests with a body that may be in flight at once; more are refused with 503.
        max_body_bytes: largest request body.
        body_timeout_s: seconds within which a whole request body must have arrived.
        header_timeout_s: seconds within which a request's headers must have arrived.
        shutdown_timeout_s: seconds that running requests get when the server is told to stop.

    Raises:
        pydantic.ValidationError: naming each variable that does not fit, without its value.
    """

    model_config = SettingsConfigDict(
        env_prefix="ROSETTE_", env_ignore_empty=True, extra="ignore", frozen=True, hide_input_in_errors=True
    )

    home: Path = Field(default_factory=default_home)
    database_url: SecretStr = SecretStr("")
    database_password_file: Path | None = None
    host: str = "127.0.0.1"
    port: int = Field(default=8000, ge=0, le=65535)
    admin_key: SecretStr | None = None
    admin_key_file: Path | None = None
    key_grace_s: float = Field(default=900, ge=60)
    failed_tries: int = Field(default=10, ge=1)
    trusted_proxies: str | None = None
    model: Path | None = None
    trusted_keys: str | None = None
    upload_timeout_s: float = Field(default=600, gt=0)
    retention_days: int | None = Field(default=None, ge=1, le=36500)
    docs: bool = True
    workers: int = Field(default_factory=usable_cores, ge=1, le=1024)
    queue: int = Field(default=64, ge=0)
    uploads: int = Field(default=128, ge=1)
    max_body_bytes: int = Field(default=2**20, ge=1)
    body_timeout_s: float = Field(default=10, gt=0)
    header_timeout_s: float = Field(default=10, gt=0)
    shutdown_timeout_s: int = Field(default=30, ge=0)

    @field_validator("trusted_keys")
    @classmethod
    def _trusted_keys_are_keys(cls, trusted_keys: str | None) -> str | None:
        TrustedKeys.parse(trusted_keys or "")
        return trusted_keys

    @field_validator("home")
    @classmethod
    def _absolute_home(cls, home: Path) -> Path:
        return home.expanduser().absolute()

    @field_validator("trusted_proxies")
    @classmethod
    def _networks(cls, proxies: str | None) -> str | None:
        return proxies and ",".join(str(ip_network(proxy.strip())) for proxy in proxies.split(","))

    @model_validator(mode="after")
    def _admin_key_is_long_enough(self) -> Self:
        if self.admin_key is not None and self.admin_key_file is not None:
            raise ValueError("ROSETTE_ADMIN_KEY and ROSETTE_ADMIN_KEY_FILE are both set: set only one of them")
        self.read_admin_key()
        return self

    def read_admin_key(self) -> str | None:
        """The administrator's own key, if one is set.

        Raises:
            ValueError: if its file cannot be read, or if it is too short or holds a line break.
        """
        if self.admin_key is not None:
            source, key = "ROSETTE_ADMIN_KEY", self.admin_key.get_secret_value()
        elif self.admin_key_file is not None:
            source = f"ROSETTE_ADMIN_KEY_FILE {self.admin_key_file}"
            try:
                key = self.admin_key_file.read_text(encoding="utf-8")
            except (OSError, UnicodeDecodeError) as error:
                raise ValueError(f"{source} cannot be read: {error}") from error
        else:
            return None
        key = key.strip()
        if len(key) < ADMIN_KEY_MIN_LENGTH:
            raise ValueError(
                f"{source} has {len(key)} characters, expected at least {ADMIN_KEY_MIN_LENGTH}: "
                "make one with `openssl rand -hex 32`"
            )
        if any(ord(character) < 32 or ord(character) == 127 for character in key):
            raise ValueError(f"{source} holds a control character, which no HTTP header can carry")
        return key

    def sqlalchemy_url(self) -> str:
        """The database's URL with the driver that Rosette brings, and the password from its file.

        Raises:
            ValueError: if the file cannot be read or is empty, or if the URL needs no password.
        """
        url = self.database_url.get_secret_value()
        if not url:
            if self.database_password_file is not None:
                raise ValueError("ROSETTE_DATABASE_PASSWORD_FILE is set, but SQLite, the default, takes no password")
            return f"sqlite:///{self.home / 'rosette.db'}"
        scheme, separator, rest = url.partition("://")
        if separator and scheme in {"postgres", "postgresql"}:
            url = f"postgresql+psycopg://{rest}"
        return url if self.database_password_file is None else self._with_password(url, self.database_password_file)

    def _with_password(self, url: str, file: Path) -> str:
        try:
            password = file.read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError) as error:
            raise ValueError(f"ROSETTE_DATABASE_PASSWORD_FILE {file} cannot be read: {error}") from error
        if not password:
            raise ValueError(f"ROSETTE_DATABASE_PASSWORD_FILE {file} is empty, expected the database's password")
        try:
            parsed = make_url(url)
        except ArgumentError as error:
            raise ValueError(
                "ROSETTE_DATABASE_URL is no SQLAlchemy URL, such as postgresql://user@host/name"
            ) from error
        if parsed.password is not None:
            raise ValueError(
                "ROSETTE_DATABASE_URL and ROSETTE_DATABASE_PASSWORD_FILE both give a password: leave one out"
            )
        return parsed.set(password=password).render_as_string(hide_password=False)

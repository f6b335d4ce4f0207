"""The settings, from environment variables that begin with ``ROSETTE_``."""

from __future__ import annotations

import os
import re
from ipaddress import ip_network
from pathlib import Path
from typing import Any, Self
from urllib.parse import urlsplit

from pydantic import Field, SecretStr, field_validator, model_validator
from pydantic_settings import SettingsConfigDict
from sqlalchemy import make_url
from sqlalchemy.exc import ArgumentError

from app import variables
from app.cores import usable_cores
from app.logs import Format, Level
from app.oidc.settings import OidcSettings
from app.secret_files import read_secret_text
from app.signatures import TrustedKeys
from app.webhooks.settings import WebhookSettings

ADMIN_KEY_MIN_LENGTH = 32
ROOT_PATH = re.compile(r"(/[A-Za-z0-9_-]{1,64}){1,8}")
# First parts of the server's paths, which a prefix must not equal.
OWN_PATHS = {"acceptance", "admin", "agreement", "audit", "cases", "diagnose", "docs", "drift", "keys", "livez"} | {
    "login", "logout", "metrics", "models", "predict", "predictions", "readyz", "runs", "slides", "static", "status",
    "ui", "v2", "worklist",
}  # fmt: skip


def default_home() -> Path:
    """``$XDG_DATA_HOME/rosette``, by default ``~/.local/share/rosette``."""
    data = os.environ.get("XDG_DATA_HOME", "")
    return (Path(data) if data.startswith("/") else Path.home() / ".local" / "share") / "rosette"


def _share_of_cores(settings: dict[str, Any]) -> int:
    workers: int = settings.get("workers", 1)
    return max(1, usable_cores() // workers)


class Settings(WebhookSettings, OidcSettings):
    """The server's settings; an empty variable counts as unset.

    Attributes:
        home: folder of the database and the first admin key, created when missing.
        database_url: a SQLAlchemy URL of SQLite or PostgreSQL; by default ``rosette.db`` in ``home``.
        database_password_file: a file with the database's password, instead of one in the URL.
        host: address to listen on.
        port: port to listen on; 0 picks a free one.
        root_path: path prefix under which a proxy serves Rosette, such as ``/rosette``.
        admin_key: the administrator's own admin key, any string of at least 32 characters.
        admin_key_file: a file with the admin key.
        key_grace_s: seconds after its last confirmation for which a key is accepted while the database is unavailable.
        failed_tries: wrong keys that one address may send at once; after that, one every 6 seconds.
        session_idle_s: seconds without a request after which a browser's session ends.
        trusted_proxies: addresses or networks, separated by commas, whose ``X-Forwarded-For`` is trusted.
        model: the artifact to serve; by default the one shipped in ``model_zoo``.
        trusted_keys: public keys, separated by commas, one of which must have signed an uploaded model.
        upload_timeout_s: seconds within which an uploaded model must have arrived completely.
        retention_days: days for which predictions are kept; by default without limit.
        store_patches: whether image files are stored with the predictions.
        store_names: whether names of files are stored with the predictions, where the caller states them.
        blind_review: whether the pages hide the model's answer from a second reader until their verdict is stored.
        slides: folders, separated by colons, whose slides are offered; by default none.
        prevalence: share of positive patches at this site; answers then also state the probability at it.
        docs: whether ``/docs`` and ``/openapi.json`` are served.
        workers: server processes; more than one needs PostgreSQL.
        inference_processes: inference processes of each server process. By default its share of the cores.
        queue: requests that may wait for a worker; more are refused with 503.
        deadline_s: seconds that a request may wait for a worker before it is refused with 503.
        key_rate: patches per second that one key may send; more are refused with 429. By default no limit.
        journal: folder for answers while the database is unavailable; by default ``journal`` in ``home``.
        journal_bytes: largest size of a process's journal; 0 disables the journal.
        connections: open connections of a server process; beyond that, the longest idle one is closed.
        uploads: requests with a body that may be in flight at once; more are refused with 503.
        max_body_bytes: largest request body, and largest image of a batch.
        max_batch_bytes: largest body of a batch.
        batches: batches that may be in flight at once; more are refused with 503.
        body_timeout_s: seconds within which a request body must have arrived completely.
        log_format: format of the log on stderr, ``text`` or ``json``.
        log_level: lowest level of Rosette's and uvicorn's events that is logged.
        otlp_endpoint: base URL of an OpenTelemetry collector for traces; by default no traces are sent.
        header_timeout_s: seconds within which a request's headers must have arrived.
        shutdown_timeout_s: seconds that running requests have to finish when the server stops.

    Raises:
        pydantic.ValidationError: with each invalid variable, without its value, and each name that is almost
            that of a setting.
    """

    model_config = SettingsConfigDict(
        env_prefix="ROSETTE_", env_ignore_empty=True, extra="ignore", frozen=True, hide_input_in_errors=True
    )

    home: Path = Field(default_factory=default_home)
    database_url: SecretStr = SecretStr("")
    database_password_file: Path | None = None
    host: str = "127.0.0.1"
    port: int = Field(default=8000, ge=0, le=65535)
    root_path: str | None = None
    admin_key: SecretStr | None = None
    admin_key_file: Path | None = None
    key_grace_s: float = Field(default=900, ge=60)
    failed_tries: int = Field(default=10, ge=1)
    session_idle_s: float = Field(default=1800, ge=60)
    trusted_proxies: str | None = None
    model: Path | None = None
    trusted_keys: str | None = None
    upload_timeout_s: float = Field(default=600, gt=0)
    retention_days: int | None = Field(default=None, ge=1, le=36500)
    store_patches: bool = False
    store_names: bool = False
    blind_review: bool = False
    slides: str | None = None
    backups: Path | None = None
    certificate: Path | None = None
    prevalence: float | None = Field(default=None, gt=0, lt=1)
    docs: bool = True
    workers: int = Field(default=1, ge=1, le=256)
    inference_processes: int = Field(default_factory=_share_of_cores, ge=1, le=1024)
    queue: int = Field(default=64, ge=0)
    deadline_s: float = Field(default=10, gt=0)
    key_rate: float | None = Field(default=None, gt=0)
    journal: Path | None = None
    journal_bytes: int = Field(default=2**30, ge=0)
    connections: int = Field(default=1024, ge=8)
    uploads: int = Field(default=128, ge=1)
    max_body_bytes: int = Field(default=2**20, ge=1)
    max_batch_bytes: int = Field(default=2**24, ge=1)
    batches: int = Field(default=4, ge=1)
    body_timeout_s: float = Field(default=10, gt=0)
    log_format: Format = "text"
    log_level: Level = "info"
    otlp_endpoint: str | None = None
    header_timeout_s: float = Field(default=10, gt=0)
    shutdown_timeout_s: int = Field(default=30, ge=0)

    @field_validator("trusted_keys")
    @classmethod
    def _trusted_keys_are_keys(cls, trusted_keys: str | None) -> str | None:
        TrustedKeys.parse(trusted_keys or "")
        return trusted_keys

    @field_validator("root_path")
    @classmethod
    def _a_path(cls, root: str | None) -> str | None:
        if root == "/":
            return None
        if root and (not ROOT_PATH.fullmatch(root) or root.split("/")[1] in OWN_PATHS):
            raise ValueError(
                "is no path such as /rosette: it begins with a slash and does not end with one, its parts are of the "
                "characters A-Z a-z 0-9 _ - and the first is no path of the server's own, such as /models"
            )
        return root

    @field_validator("slides")
    @classmethod
    def _absolute_folders(cls, slides: str | None) -> str | None:
        for folder in (slides or "").split(":"):
            if folder and not Path(folder).is_absolute():
                raise ValueError("names a folder that does not begin with a slash: give absolute paths with : between")
        return slides

    @field_validator("home", "journal", "backups", "certificate")
    @classmethod
    def _absolute(cls, folder: Path | None) -> Path | None:
        return folder and folder.expanduser().absolute()

    @field_validator("otlp_endpoint")
    @classmethod
    def _http(cls, endpoint: str | None) -> str | None:
        if endpoint is not None:
            url = urlsplit(endpoint)
            _ = url.port  # raises if it is not a URL
            if (
                url.scheme not in {"http", "https"}
                or not url.hostname
                or "@" in url.netloc
                or url.query
                or url.fragment
            ):
                raise ValueError(
                    "is not a base URL such as http://127.0.0.1:4318; set headers for the collector in "
                    "OTEL_EXPORTER_OTLP_HEADERS"
                )
        return endpoint

    @field_validator("trusted_proxies")
    @classmethod
    def _networks(cls, proxies: str | None) -> str | None:
        return proxies and ",".join(str(ip_network(proxy.strip())) for proxy in proxies.split(","))

    @model_validator(mode="after")
    def _variables_are_settings(self) -> Self:
        if wrong := variables.mistyped(os.environ, type(self).model_fields):
            raise ValueError(wrong)
        return self

    @model_validator(mode="after")
    def _admin_key_is_long_enough(self) -> Self:
        if self.admin_key is not None and self.admin_key_file is not None:
            raise ValueError("ROSETTE_ADMIN_KEY and ROSETTE_ADMIN_KEY_FILE are both set: set only one of them")
        self.read_admin_key()
        return self

    @model_validator(mode="after")
    def _several_processes_share_a_server(self) -> Self:
        if self.workers > 1 and self.sqlalchemy_url().startswith("sqlite"):
            raise ValueError(
                f"{self.workers} processes cannot share an SQLite database: set ROSETTE_DATABASE_URL to a PostgreSQL "
                "database, or ROSETTE_WORKERS to 1 (one process uses all cores)"
            )
        return self

    def read_admin_key(self) -> str | None:
        """The administrator's own key, if one is set.

        Raises:
            ValueError: if its file cannot be read, or the key is too short or contains a line break.
        """
        if self.admin_key is not None:
            source, key = "ROSETTE_ADMIN_KEY", self.admin_key.get_secret_value()
        elif self.admin_key_file is not None:
            source = f"ROSETTE_ADMIN_KEY_FILE {self.admin_key_file}"
            key = read_secret_text("ROSETTE_ADMIN_KEY_FILE", self.admin_key_file)
        else:
            return None
        key = key.strip()
        if len(key) < ADMIN_KEY_MIN_LENGTH:
            raise ValueError(
                f"{source} has {len(key)} characters, expected at least {ADMIN_KEY_MIN_LENGTH}: "
                "make one with `openssl rand -hex 32`"
            )
        if any(ord(character) < 32 or ord(character) == 127 for character in key):
            raise ValueError(f"{source} contains a control character, which an HTTP header cannot contain")
        return key

    @property
    def journal_folder(self) -> Path:
        """The folder of the journals."""
        return self.journal or self.home / "journal"

    @property
    def slide_folders(self) -> tuple[Path, ...]:
        """Folders whose slides are offered."""
        return tuple(Path(folder) for folder in (self.slides or "").split(":") if folder)

    def sqlalchemy_url(self) -> str:
        """The database's URL with Rosette's driver, and the password from its file.

        Raises:
            ValueError: if the file cannot be read or is empty, or if the URL takes no password.
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
        password = read_secret_text("ROSETTE_DATABASE_PASSWORD_FILE", file)
        if not password:
            raise ValueError(f"ROSETTE_DATABASE_PASSWORD_FILE {file} is empty, expected the database's password")
        try:
            parsed = make_url(url)
        except ArgumentError as error:
            raise ValueError(
                "ROSETTE_DATABASE_URL is not a SQLAlchemy URL, such as postgresql://user@host/name"
            ) from error
        if parsed.password is not None:
            raise ValueError(
                "ROSETTE_DATABASE_URL and ROSETTE_DATABASE_PASSWORD_FILE both contain a password: remove one of them"
            )
        return parsed.set(password=password).render_as_string(hide_password=False)

"""Facts about the server's machine for the page of the status: disk, database, backup, certificate."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from cryptography import x509
from sqlalchemy import Engine, text

from app.records.database import transaction
from app.settings import Settings

LOW_SHARE, SOON_DAYS, OLD_DAYS = 0.1, 21, 7
MAX_PEM_BYTES = 2**20


@dataclass(frozen=True)
class Machine:
    """What is known; None where nothing is.

    Attributes:
        free, total: bytes of the disk that holds the home folder.
        database: bytes.
        backup: when the newest file of the folder of backups was written.
        expires: when the proxy's certificate expires.
        faults: why a configured path cannot be read.
    """

    free: int
    total: int
    database: int | None
    backup: datetime | None
    expires: datetime | None
    faults: tuple[str, ...]

    @property
    def low(self) -> bool:
        """Whether less than a tenth of the disk is free."""
        return self.free < LOW_SHARE * self.total

    def days_left(self, now: datetime) -> int | None:
        """Full days until the certificate expires; negative once it has."""
        return (self.expires - now).days if self.expires else None

    def days_old(self, now: datetime) -> int | None:
        """Full days since the last backup."""
        return (now - self.backup).days if self.backup else None


def machine(settings: Settings, database: Engine) -> Machine:
    """Look at the machine.

    Raises:
        RecordsUnavailable: if the database fails.
    """
    disk = shutil.disk_usage(settings.home)
    faults: list[str] = []
    backup = expires = None
    if settings.backups is not None:
        try:
            backup = _newest(settings.backups)
        except OSError as error:
            faults.append(f"ROSETTE_BACKUPS: {error.strerror or error}")
    if settings.certificate is not None:
        try:
            expires = _expiry(settings.certificate)
        except (OSError, ValueError) as error:
            faults.append(f"ROSETTE_CERTIFICATE: {error}")
    return Machine(disk.free, disk.total, _database_bytes(database), backup, expires, tuple(faults))


def _newest(folder: Path) -> datetime | None:
    times = [entry.stat().st_mtime for entry in folder.iterdir() if entry.is_file() and not entry.name.startswith(".")]
    return datetime.fromtimestamp(max(times), UTC) if times else None


def _expiry(file: Path) -> datetime:
    """When the first certificate of a PEM file expires."""
    with file.open("rb") as opened:
        return x509.load_pem_x509_certificate(opened.read(MAX_PEM_BYTES)).not_valid_after_utc


def _database_bytes(database: Engine) -> int | None:
    if database.dialect.name == "postgresql":
        with transaction(database) as connection:
            return int(connection.execute(text("SELECT pg_database_size(current_database())")).scalar_one())
    if database.url.database is None:
        return None
    files = (Path(f"{database.url.database}{suffix}") for suffix in ("", "-wal"))
    return sum(file.stat().st_size for file in files if file.exists())

"""Home folders with a copied database, for tests that do not test the first start."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

from app.records.audit import AuditTrail
from app.records.database import open_database
from app.records.migrations import migrate
from app.registry.registry import Registry
from app.signatures import TrustedKeys
from tests.conftest import shipped_artifact


@cache
def _registered(artifact: Path) -> bytes:
    """An SQLite database in which the migrations ran and this artifact was proved, registered and activated."""
    with TemporaryDirectory() as folder:
        file = Path(folder) / "rosette.db"
        database = open_database(f"sqlite:///{file}")
        migrate(database)
        Registry(database, AuditTrail(database), TrustedKeys.parse("")).release(artifact.read_bytes())
        database.dispose()
        return file.read_bytes()


def furnish(home: Path, model: Path | None) -> None:
    """Give a home without a database the one that a start with the shipped artifact would make, without any key."""
    file = home / "rosette.db"
    if model == shipped_artifact() and not file.exists():
        home.mkdir(mode=0o700, parents=True, exist_ok=True)
        file.write_bytes(_registered(shipped_artifact()))

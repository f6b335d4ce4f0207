"""Home folders with a copied database, for tests that do not test the first start."""

from __future__ import annotations

from functools import cache
from hashlib import sha256
from pathlib import Path
from tempfile import TemporaryDirectory

from app.records.audit import Actor, AuditTrail
from app.records.database import open_database
from app.records.migrations import migrate
from app.registry.registry import Registry, Upload
from app.signatures import TrustedKeys
from tests.conftest import shipped_artifact


@cache
def _registered(artifact: Path, *uploaded: Path) -> bytes:
    """An SQLite database in which the migrations ran and this artifact was proved, registered and activated.

    The others were uploaded by a test, and vetted.
    """
    with TemporaryDirectory() as folder:
        file = Path(folder) / "rosette.db"
        database = open_database(f"sqlite:///{file}")
        migrate(database)
        registry = Registry(database, AuditTrail(database), TrustedKeys.parse(""))
        registry.release(artifact.read_bytes())
        for other in uploaded:
            with other.open("rb") as stream:
                data = stream.read()
                registry.admit(Upload(stream, len(data), sha256(data).hexdigest(), None), Actor("a test"))
        database.dispose()
        return file.read_bytes()


@cache
def migrated() -> bytes:
    """An SQLite database in which the migrations ran, and nothing else."""
    with TemporaryDirectory() as folder:
        file = Path(folder) / "rosette.db"
        database = open_database(f"sqlite:///{file}")
        migrate(database)
        database.dispose()
        return file.read_bytes()


def furnish(home: Path, model: Path | None, *uploaded: Path) -> None:
    """Give a home without a database the one that a start with the shipped artifact would make, without any key.

    Args:
        home: the folder, which is made.
        model: of the server; nothing is done for another than the shipped artifact.
        uploaded: artifacts that the registry shall hold, vetted once for all tests.
    """
    file = home / "rosette.db"
    if model == shipped_artifact() and not file.exists():
        home.mkdir(mode=0o700, parents=True, exist_ok=True)
        file.write_bytes(_registered(shipped_artifact(), *uploaded))

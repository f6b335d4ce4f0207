"""A database of revision 0005 with rows of a real run, without most image files."""

from __future__ import annotations

import json
from base64 import b64decode
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from typing import Any

from alembic import command
from alembic.config import Config
from sqlalchemy import Boolean, Column, DateTime, Engine, MetaData, Table, insert

from app.records.migrations import scripts
from model_zoo.artifact import parse
from tests.conftest import shipped_artifact
from tests.model_zoo.resealing import with_manifest

ROWS = Path(__file__).parent / "data" / "rows_0005.json"
RECORDED = json.loads(ROWS.read_text(encoding="utf-8"))
KEYS: dict[str, str] = RECORDED["keys"]
CODES = [
    "", "review_band", "review_band turning", "turning", "tissue sharpness no_tissue", "", "", "sharpness", "stain",
    "", "tissue sharpness no_tissue", "",
]  # fmt: skip
"""Of the reasons of its predictions, oldest first."""


def artifact(name: str) -> bytes:
    """A shipped INT8 artifact without a decision for orbits, as all were at revision 0005.

    Its manifest has schema 1, too, where that can describe it.
    """
    shipped = {"accurate": "balanced"}.get(name, name)  # the artifact that had this name then
    data = with_manifest(shipped_artifact(name=shipped).read_bytes(), name=name)
    manifest = parse(data)[1]
    if manifest.schema_version == 1:
        return data
    schema = {"schema_version": 1} if str(manifest.input.mask) == "disc" else {}
    return with_manifest(data, orbit=None, metrics=(), **schema)


class Earlier:
    """The rows of that database, about artifacts that are still at hand.

    Attributes:
        tables: rows by table; change them before :meth:`load`.
        artifacts: by name, ``"accurate"``, which serves, and ``"fast"``, which served before.
    """

    def __init__(self) -> None:
        self.artifacts = {name: artifact(name) for name in ("accurate", "fast")}
        ids = {row["name"]: row["id"] for row in RECORDED["tables"]["models"]}
        kept = {name: rows for name, rows in RECORDED["tables"].items() if name != "audit"}
        text = json.dumps(kept)
        for name, data in self.artifacts.items():
            text = text.replace(ids[name], sha256(data).hexdigest())
        self.tables: dict[str, list[dict[str, Any]]] = json.loads(text) | {"audit": RECORDED["tables"]["audit"]}
        for row in self.tables["models"]:
            manifest = parse(self.artifacts[row["name"]])[1]
            row |= {"data": self.artifacts[row["name"]], "version": manifest.version}
        for row in self.tables["idempotency"]:
            row["created_at"] = datetime.now(UTC).isoformat()  # else it would be forgotten by now

    @property
    def predictions(self) -> list[dict[str, Any]]:
        """Oldest first."""
        return sorted(self.tables["predictions"], key=lambda row: str(row["id"]))

    def image(self, idempotency_key: str) -> bytes:
        """The image file that the request with this key sent."""
        [wanted] = [r["prediction_id"] for r in self.tables["idempotency"] if r["idempotency_key"] == idempotency_key]
        [found] = [row["data"]["base64"] for row in self.tables["patches"] if row["prediction_id"] == wanted]
        return b64decode(found)

    def load(self, database: Engine) -> None:
        """Bring an empty database to revision 0005, and insert the rows."""
        config = Config()
        config.set_main_option("script_location", str(scripts()))
        with database.begin() as connection:
            config.attributes["connection"] = connection
            command.upgrade(config, "0005")
        with database.begin() as connection:
            for name, rows in self.tables.items():
                table = Table(name, MetaData(), autoload_with=connection)
                values = [{column.name: _value(column, row[column.name]) for column in table.columns} for row in rows]
                connection.execute(insert(table), values)


def _value(column: Column[Any], stored: Any) -> Any:
    if isinstance(stored, dict):
        return b64decode(stored["base64"])
    if stored is not None and isinstance(column.type, DateTime):
        return datetime.fromisoformat(stored).replace(tzinfo=UTC)
    if stored is not None and isinstance(column.type, Boolean):
        return bool(stored)
    return stored

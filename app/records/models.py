"""The models: artifact bytes and activations."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal

from sqlalchemy import Connection, func, insert, select, update

from app.records.filters import SHA256
from app.records.tables import activations, models

State = Literal["active", "shadow", "vetted", "retired"]

_DESCRIPTION = [column for column in models.columns if column.name != "data"]


@dataclass(frozen=True)
class ModelEntry:
    """A model without its bytes.

    Attributes:
        id: SHA-256 of the artifact's bytes, hexadecimal.
        size: of the artifact, bytes.
        manifest: JSON.
        report: JSON of the vetting report.
        origin: ``"release"`` if it is part of the release, ``"upload"`` if it was uploaded.
    """

    id: str
    name: str
    version: str
    size: int
    signature: bytes | None
    manifest: str
    report: str
    origin: str
    uploaded_by: str
    uploaded_at: datetime
    retired_at: datetime | None = None
    shadow_since: datetime | None = None


@dataclass(frozen=True)
class Activation:
    """An activation of a model."""

    number: int
    model_id: str
    activated_by: str
    activated_at: datetime


def summary(entry: ModelEntry, active: Activation | None) -> dict[str, Any]:
    """A model's entry with its state."""
    state: State = "vetted"
    if entry.retired_at is not None:
        state = "retired"
    elif active is not None and active.model_id == entry.id:
        state = "active"
    elif entry.shadow_since is not None:
        state = "shadow"
    return {
        "id": entry.id,
        "name": entry.name,
        "version": entry.version,
        "state": state,
        "bytes": entry.size,
        "signed": entry.signature is not None,
        "origin": entry.origin,
        "uploaded_by": entry.uploaded_by,
        "uploaded_at": entry.uploaded_at,
        "retired_at": entry.retired_at,
        "shadow_since": entry.shadow_since,
    }


def listing(connection: Connection) -> list[ModelEntry]:
    """Every model, newest first."""
    query = select(*_DESCRIPTION).order_by(models.c.uploaded_at.desc(), models.c.id)
    return [ModelEntry(**row._mapping) for row in connection.execute(query)]


def find(connection: Connection, model_id: str) -> ModelEntry | None:
    if not SHA256.fullmatch(model_id):  # PostgreSQL cannot compare every text
        return None
    row = connection.execute(select(*_DESCRIPTION).where(models.c.id == model_id)).one_or_none()
    return ModelEntry(**row._mapping) if row else None


def data_of(connection: Connection, model_id: str) -> bytes | None:
    """The artifact's bytes."""
    return connection.execute(select(models.c.data).where(models.c.id == model_id)).scalar_one_or_none()


def add(connection: Connection, entry: ModelEntry, data: bytes) -> None:
    connection.execute(insert(models), vars(entry) | {"data": data})


def change(connection: Connection, model_id: str, **values: object) -> None:
    """Set ``signature``, ``retired_at`` or ``shadow_since``."""
    connection.execute(update(models).where(models.c.id == model_id).values(**values))


def shadow_id(connection: Connection) -> str | None:
    """The shadow, if any."""
    return connection.execute(select(models.c.id).where(models.c.shadow_since.is_not(None))).scalar_one_or_none()


def stop_shadow(connection: Connection) -> None:
    connection.execute(update(models).where(models.c.shadow_since.is_not(None)).values(shadow_since=None))


def active(connection: Connection) -> Activation | None:
    """The last activation."""
    row = connection.execute(select(activations).order_by(activations.c.number.desc()).limit(1)).one_or_none()
    return Activation(**row._mapping) if row else None


def before(connection: Connection, current: Activation) -> str | None:
    """The previously active model, skipping retired ones."""
    query = (
        select(activations.c.model_id)
        .join(models, models.c.id == activations.c.model_id)
        .where(activations.c.model_id != current.model_id, models.c.retired_at.is_(None))
        .order_by(activations.c.number.desc())
        .limit(1)
    )
    return connection.execute(query).scalar_one_or_none()


def activated(connection: Connection) -> list[str]:
    """Models that have been active and are not retired, most recently active first."""
    query = (
        select(activations.c.model_id)
        .join(models, models.c.id == activations.c.model_id)
        .where(models.c.retired_at.is_(None))
        .group_by(activations.c.model_id)
        .order_by(func.max(activations.c.number).desc())
    )
    return list(connection.execute(query).scalars())


def activate(connection: Connection, model_id: str, who: str) -> Activation:
    last = active(connection)
    activation = Activation(last.number + 1 if last else 1, model_id, who, datetime.now(UTC))
    connection.execute(insert(activations), vars(activation))
    return activation

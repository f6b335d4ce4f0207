"""The last time that a server saw, to detect a clock that jumped."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    clock = op.create_table(
        "clock",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("seen_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("trusted_at", sa.DateTime(timezone=True)),
        sa.PrimaryKeyConstraint("id", name="pk_clock"),
    )
    seen = [*_newest("predictions", "id", "created_at"), *_newest("audit", "number", "at")]
    if seen:
        op.bulk_insert(clock, [{"id": 1, "seen_at": max(seen)}])


def _newest(table: str, order: str, column: str) -> list[datetime]:
    """The time of the newest row, if there is one."""
    query: sa.Select[Any] = (
        sa.select(sa.column(column)).select_from(sa.table(table)).order_by(sa.column(order).desc()).limit(1)
    )
    return [_aware(value) for value in op.get_bind().execute(query).scalars()]


def _aware(value: datetime | str) -> datetime:
    moment = datetime.fromisoformat(value) if isinstance(value, str) else value
    return moment.astimezone(UTC) if moment.tzinfo else moment.replace(tzinfo=UTC)


def downgrade() -> None:
    op.drop_table("clock")

"""Indexes of slides and cases hold only the predictions that name one: the others cost nothing to insert there."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None

# Rows of a million that share a value, as in 0003.
SHARED = {"case_id": 500, "slide_id": 100}


def upgrade() -> None:
    _make_again(partial=True)


def downgrade() -> None:
    _make_again(partial=False)


def _make_again(partial: bool) -> None:
    for column in SHARED:
        named = sa.text(f"{column} IS NOT NULL") if partial else None
        index = f"ix_predictions_{column}_id"
        op.drop_index(index, "predictions")
        op.create_index(index, "predictions", [column, "id"], sqlite_where=named, postgresql_where=named)
    if op.get_bind().dialect.name == "sqlite":  # which forgot the statistics of the indexes that it dropped
        statistics = sa.table("sqlite_stat1", sa.column("tbl"), sa.column("idx"), sa.column("stat"))
        rows = {f"ix_predictions_{column}_id": f"1000000 {shared} 1" for column, shared in SHARED.items()}
        op.bulk_insert(statistics, [{"tbl": "predictions", "idx": index, "stat": row} for index, row in rows.items()])
        op.execute("ANALYZE sqlite_master")  # has them read

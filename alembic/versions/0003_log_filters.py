"""Cases, slides, idempotency keys, and indexes of the predictions."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

FILTERED = ("label", "decision", "model_name", "model_sha256", "slide_id", "case_id", "patch_sha256")

# Rows of a million that share a value. PostgreSQL measures this; SQLite would use the narrowest matching index.
SHARED = {
    "label": 400_000,
    "decision": 300_000,
    "model_name": 200_000,
    "model_sha256": 200_000,
    "key_id": 100_000,
    "case_id": 500,
    "slide_id": 100,
    "patch_sha256": 2,
}


def upgrade() -> None:
    op.add_column("predictions", sa.Column("case_id", sa.String(64), nullable=True))
    op.add_column("predictions", sa.Column("slide_id", sa.String(64), nullable=True))
    for column in FILTERED:
        op.create_index(f"ix_predictions_{column}_id", "predictions", [column, "id"])
    op.create_index("ix_predictions_key_id_decision_id", "predictions", ["key_id", "decision", "id"])
    op.create_table(
        "idempotency",
        sa.Column("key_id", sa.String(32), nullable=False),
        sa.Column("idempotency_key", sa.String(128), nullable=False),
        sa.Column("fingerprint", sa.String(64), nullable=False),
        sa.Column("prediction_id", sa.String(36), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("key_id", "idempotency_key", name="pk_idempotency"),
    )
    op.create_index("ix_idempotency_prediction_id", "idempotency", ["prediction_id"])
    if op.get_bind().dialect.name == "sqlite":
        op.execute("ANALYZE predictions")  # creates the table of statistics
        op.execute("DELETE FROM sqlite_stat1 WHERE tbl = 'predictions'")
        rows = {f"ix_predictions_{column}_id": f"1000000 {shared} 1" for column, shared in SHARED.items()}
        rows["ix_predictions_key_id_decision_id"] = "1000000 100000 30000 1"
        rows["sqlite_autoindex_predictions_1"] = "1000000 1"
        statistics = sa.table("sqlite_stat1", sa.column("tbl"), sa.column("idx"), sa.column("stat"))
        op.bulk_insert(statistics, [{"tbl": "predictions", "idx": index, "stat": row} for index, row in rows.items()])
        op.execute("ANALYZE sqlite_master")  # loads them


def downgrade() -> None:
    op.drop_table("idempotency")
    op.drop_index("ix_predictions_key_id_decision_id", "predictions")
    for column in FILTERED:
        op.drop_index(f"ix_predictions_{column}_id", "predictions")
    op.drop_column("predictions", "slide_id")
    op.drop_column("predictions", "case_id")

"""A covering index for drift, and stored patches."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

INDEX = "ix_predictions_model_sha256_id"
COVERED = ["probability", "max_deviation", "consistent", "stain_distance"]


def upgrade() -> None:
    _index(COVERED)
    op.create_table(
        "patches",
        sa.Column("prediction_id", sa.String(36), nullable=False),
        sa.Column("data", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("prediction_id", name="pk_patches"),
        sa.ForeignKeyConstraint(["prediction_id"], ["predictions.id"], name="fk_patches_prediction_id_predictions"),
    )


def downgrade() -> None:
    op.drop_table("patches")
    _index([])


def _index(covered: list[str]) -> None:
    """Recreate the index with more columns; SQLite drops its statistics, so they are written again."""
    op.drop_index(INDEX, "predictions")
    op.create_index(INDEX, "predictions", ["model_sha256", "id", *covered])
    if op.get_bind().dialect.name == "sqlite":
        statistics = sa.table("sqlite_stat1", sa.column("tbl"), sa.column("idx"), sa.column("stat"))
        row = {"tbl": "predictions", "idx": INDEX, "stat": "1000000 200000" + " 1" * (1 + len(covered))}
        op.bulk_insert(statistics, [row])
        op.execute("ANALYZE sqlite_master")  # loads them

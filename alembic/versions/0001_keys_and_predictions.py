"""Keys and the prediction log."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "keys",
        sa.Column("id", sa.String(32), nullable=False),
        sa.Column("sha256", sa.String(64), nullable=False),
        sa.Column("role", sa.String(16), nullable=False),
        sa.Column("name", sa.String(200), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("revoked_at", sa.DateTime(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("id", name="pk_keys"),
    )
    op.create_table(
        "predictions",
        sa.Column("id", sa.String(36), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("key_id", sa.String(32), nullable=False),
        sa.Column("model_name", sa.String(63), nullable=False),
        sa.Column("model_version", sa.String(32), nullable=False),
        sa.Column("model_sha256", sa.String(64), nullable=False),
        sa.Column("patch_sha256", sa.String(64), nullable=False),
        sa.Column("patch_format", sa.String(8), nullable=False),
        sa.Column("rotations", sa.String(8), nullable=False),
        sa.Column("label", sa.String(16), nullable=True),
        sa.Column("probability", sa.Double(), nullable=True),
        sa.Column("decision", sa.String(16), nullable=False),
        sa.Column("logit_no_metastasis", sa.Double(), nullable=False),
        sa.Column("logit_metastasis", sa.Double(), nullable=False),
        sa.Column("exact", sa.Boolean(), nullable=True),
        sa.Column("max_deviation", sa.Double(), nullable=False),
        sa.Column("consistent", sa.Boolean(), nullable=True),
        sa.Column("tissue_fraction", sa.Double(), nullable=False),
        sa.Column("sharpness", sa.Double(), nullable=False),
        sa.Column("stain_distance", sa.Double(), nullable=True),
        sa.Column("assessable", sa.Boolean(), nullable=False),
        sa.Column("total_ms", sa.Double(), nullable=False),
        sa.Column("answer", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_predictions"),
    )
    op.create_index("ix_predictions_key_id_id", "predictions", ["key_id", "id"])


def downgrade() -> None:
    op.drop_table("predictions")
    op.drop_table("keys")

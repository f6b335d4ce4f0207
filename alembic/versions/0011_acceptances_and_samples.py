"""Acceptance tests, random samples of answers to judge, and which key of a person was the first."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("keys", sa.Column("person", sa.String(32)))
    op.create_table(
        "acceptances",
        sa.Column("id", sa.String(36), nullable=False),
        sa.Column("model_sha256", sa.String(64), nullable=False),
        sa.Column("outcome", sa.String(16), nullable=False),
        sa.Column("site", sa.String(120), nullable=False),
        sa.Column("patches", sa.Integer(), nullable=False),
        sa.Column("tested_by", sa.String(240), nullable=False),
        sa.Column("tested_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("report", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_acceptances"),
    )
    op.create_index("ix_acceptances_model_sha256_id", "acceptances", ["model_sha256", "id"])
    op.create_table(
        "samples",
        sa.Column("prediction_id", sa.String(36), nullable=False),
        sa.Column("drawn_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("drawn_by", sa.String(240), nullable=False),
        sa.PrimaryKeyConstraint("prediction_id", name="pk_samples"),
        sa.ForeignKeyConstraint(["prediction_id"], ["predictions.id"], name="fk_samples_prediction_id_predictions"),
    )


def downgrade() -> None:
    op.drop_table("samples")
    op.drop_table("acceptances")
    op.drop_column("keys", "person")

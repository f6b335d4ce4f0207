"""Runs of whole slides, and the secret behind the ids of slides."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "slide_secret",
        sa.Column("id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("secret", sa.String(64), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_slide_secret"),
    )
    op.create_table(
        "slide_runs",
        sa.Column("id", sa.String(36), nullable=False),
        sa.Column("slide_id", sa.String(32), nullable=False),
        sa.Column("place", sa.String(32), nullable=False),
        sa.Column("model_sha256", sa.String(64), nullable=False),
        sa.Column("key_id", sa.String(32), nullable=False),
        sa.Column("started_by", sa.String(240), nullable=False),
        sa.Column("prevalence", sa.Double(), nullable=False),
        sa.Column("rotations", sa.String(8), nullable=False),
        sa.Column("shifts", sa.String(8), nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("done", sa.Integer(), nullable=False),
        sa.Column("total", sa.Integer(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("scope", sa.Text()),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("started_at", sa.DateTime(timezone=True)),
        sa.Column("finished_at", sa.DateTime(timezone=True)),
        sa.PrimaryKeyConstraint("id", name="pk_slide_runs"),
    )
    op.create_index("ix_slide_runs_slide_id_id", "slide_runs", ["slide_id", "id"])
    op.create_index("ix_slide_runs_key_id_id", "slide_runs", ["key_id", "id"])
    op.create_index("ix_slide_runs_state_place", "slide_runs", ["state", "place"])


def downgrade() -> None:
    op.drop_table("slide_runs")
    op.drop_table("slide_secret")

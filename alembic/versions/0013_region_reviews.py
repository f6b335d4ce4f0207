"""Reviews of a run's regions by people."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "region_reviews",
        sa.Column("id", sa.String(36), nullable=False),
        sa.Column("run_id", sa.String(36), nullable=False),
        sa.Column("region", sa.Integer(), nullable=False),
        sa.Column("reviewer", sa.String(240), nullable=False),
        sa.Column("reviewed_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("verdict", sa.String(16), nullable=False),
        sa.Column("note", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_region_reviews"),
        sa.ForeignKeyConstraint(["run_id"], ["slide_runs.id"], name="fk_region_reviews_run_id_slide_runs"),
    )
    op.create_index("ix_region_reviews_run_id", "region_reviews", ["run_id"])


def downgrade() -> None:
    op.drop_table("region_reviews")

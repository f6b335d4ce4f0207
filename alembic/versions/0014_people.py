"""People who sign in at an identity provider: rows of ``keys`` without a secret."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0014"
down_revision = "0013"
branch_labels = None
depends_on = None

# An earlier version sees these rows as revoked keys, whose hash no key has.
NO_LONGER = sa.text("UPDATE keys SET sha256 = :nothing, revoked_at = CURRENT_TIMESTAMP WHERE sha256 IS NULL")


def upgrade() -> None:
    with op.batch_alter_table("keys") as batch:
        batch.alter_column("sha256", existing_type=sa.String(64), nullable=True)
        batch.add_column(sa.Column("issuer", sa.String(255)))
        batch.add_column(sa.Column("subject", sa.String(255)))
        batch.add_column(sa.Column("signed_in_at", sa.DateTime(timezone=True)))
    op.create_index("ix_keys_issuer_subject", "keys", ["issuer", "subject"], unique=True)


def downgrade() -> None:
    op.execute(NO_LONGER.bindparams(nothing="0" * 64))
    op.drop_index("ix_keys_issuer_subject", "keys")
    with op.batch_alter_table("keys") as batch:
        batch.drop_column("signed_in_at")
        batch.drop_column("subject")
        batch.drop_column("issuer")
        batch.alter_column("sha256", existing_type=sa.String(64), nullable=False)

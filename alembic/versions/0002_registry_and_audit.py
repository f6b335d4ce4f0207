"""The model registry, the audit trail, reviews, and keys that expire."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

REFUSED = "the audit trail is append-only"

# SQLite's INSERT OR REPLACE removes a row without firing the trigger on DELETE.
SQLITE_TRIGGERS = (
    ("audit_update", "BEFORE UPDATE ON audit", ""),
    ("audit_delete", "BEFORE DELETE ON audit", ""),
    ("audit_replace", "BEFORE INSERT ON audit", "WHEN EXISTS (SELECT 1 FROM audit WHERE number = NEW.number)"),
)


def upgrade() -> None:
    op.add_column("keys", sa.Column("expires_at", sa.DateTime(timezone=True), nullable=True))
    op.add_column("keys", sa.Column("last_used_at", sa.DateTime(timezone=True), nullable=True))
    op.create_table(
        "models",
        sa.Column("id", sa.String(64), nullable=False),
        sa.Column("name", sa.String(63), nullable=False),
        sa.Column("version", sa.String(32), nullable=False),
        sa.Column("size", sa.Integer(), nullable=False),
        sa.Column("data", sa.LargeBinary(), nullable=False),
        sa.Column("signature", sa.LargeBinary(), nullable=True),
        sa.Column("manifest", sa.Text(), nullable=False),
        sa.Column("report", sa.Text(), nullable=False),
        sa.Column("origin", sa.String(16), nullable=False),
        sa.Column("uploaded_by", sa.String(240), nullable=False),
        sa.Column("uploaded_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("retired_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("shadow_since", sa.DateTime(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("id", name="pk_models"),
    )
    op.create_table(
        "activations",
        sa.Column("number", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("model_id", sa.String(64), nullable=False),
        sa.Column("activated_by", sa.String(240), nullable=False),
        sa.Column("activated_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("number", name="pk_activations"),
        sa.ForeignKeyConstraint(["model_id"], ["models.id"], name="fk_activations_model_id_models"),
    )
    op.create_table(
        "shadow_scores",
        sa.Column("prediction_id", sa.String(36), nullable=False),
        sa.Column("shadow_id", sa.String(64), nullable=False),
        sa.Column("active_id", sa.String(64), nullable=False),
        sa.Column("shadow_label", sa.String(16), nullable=True),
        sa.Column("active_label", sa.String(16), nullable=True),
        sa.Column("shadow_probability", sa.Double(), nullable=True),
        sa.Column("active_probability", sa.Double(), nullable=True),
        sa.PrimaryKeyConstraint("prediction_id", "shadow_id", name="pk_shadow_scores"),
        sa.ForeignKeyConstraint(["shadow_id"], ["models.id"], name="fk_shadow_scores_shadow_id_models"),
    )
    op.create_index("ix_shadow_scores_shadow_id_active_id", "shadow_scores", ["shadow_id", "active_id"])
    op.create_table(
        "reviews",
        sa.Column("id", sa.String(36), nullable=False),
        sa.Column("prediction_id", sa.String(36), nullable=False),
        sa.Column("reviewer", sa.String(240), nullable=False),
        sa.Column("reviewed_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("verdict", sa.String(16), nullable=False),
        sa.Column("note", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_reviews"),
        sa.ForeignKeyConstraint(["prediction_id"], ["predictions.id"], name="fk_reviews_prediction_id_predictions"),
    )
    op.create_index("ix_reviews_prediction_id", "reviews", ["prediction_id"])
    op.create_table(
        "audit",
        sa.Column("number", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("at", sa.String(27), nullable=False),
        sa.Column("who", sa.String(240), nullable=False),
        sa.Column("address", sa.String(64), nullable=False),
        sa.Column("action", sa.String(64), nullable=False),
        sa.Column("subject", sa.String(240), nullable=False),
        sa.Column("before", sa.Text(), nullable=True),
        sa.Column("after", sa.Text(), nullable=True),
        sa.Column("previous", sa.String(64), nullable=False),
        sa.Column("hash", sa.String(64), nullable=False),
        sa.PrimaryKeyConstraint("number", name="pk_audit"),
    )
    if op.get_bind().dialect.name == "sqlite":
        for name, event, condition in SQLITE_TRIGGERS:
            op.execute(f"CREATE TRIGGER {name} {event} {condition} BEGIN SELECT RAISE(ABORT, '{REFUSED}'); END")
    else:
        op.execute(
            "CREATE FUNCTION audit_refuses() RETURNS trigger LANGUAGE plpgsql AS "
            f"$$ BEGIN RAISE EXCEPTION '{REFUSED}'; END $$"
        )
        op.execute(
            "CREATE TRIGGER audit_change BEFORE UPDATE OR DELETE ON audit FOR EACH ROW EXECUTE FUNCTION audit_refuses()"
        )
        op.execute("CREATE TRIGGER audit_truncate BEFORE TRUNCATE ON audit EXECUTE FUNCTION audit_refuses()")


def downgrade() -> None:
    op.drop_table("audit")
    if op.get_bind().dialect.name == "postgresql":
        op.execute("DROP FUNCTION audit_refuses()")
    op.drop_table("reviews")
    op.drop_table("shadow_scores")
    op.drop_table("activations")
    op.drop_table("models")
    op.drop_column("keys", "last_used_at")
    op.drop_column("keys", "expires_at")

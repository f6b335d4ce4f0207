"""The state of each reviewed answer, and the names of files where they are stored."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None

# Of each person the latest verdict counts; more of one than of the other decide.
FILL = """
INSERT INTO verdicts (prediction_id, state, verdict, readers)
SELECT prediction_id,
       CASE WHEN agree <> disagree THEN 'judged' WHEN agree > 0 THEN 'disagreed' ELSE 'open' END,
       CASE WHEN agree > disagree THEN 'agree' WHEN disagree > agree THEN 'disagree' END,
       readers
FROM (
    SELECT prediction_id,
           SUM(CASE WHEN verdict = 'agree' THEN 1 ELSE 0 END) AS agree,
           SUM(CASE WHEN verdict = 'disagree' THEN 1 ELSE 0 END) AS disagree,
           COUNT(*) AS readers
    FROM reviews
    WHERE id IN (SELECT MAX(id) FROM reviews GROUP BY prediction_id, reviewer)
    GROUP BY prediction_id
) AS counted
"""


def upgrade() -> None:
    op.create_table(
        "verdicts",
        sa.Column("prediction_id", sa.String(36), nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("verdict", sa.String(16)),
        sa.Column("readers", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("prediction_id", name="pk_verdicts"),
        sa.ForeignKeyConstraint(["prediction_id"], ["predictions.id"], name="fk_verdicts_prediction_id_predictions"),
    )
    op.create_index("ix_verdicts_state_prediction_id", "verdicts", ["state", "prediction_id"])
    op.create_index("ix_reviews_reviewer_prediction_id", "reviews", ["reviewer", "prediction_id"])
    op.execute(FILL)
    op.add_column("predictions", sa.Column("file_name", sa.String(200)))


def downgrade() -> None:
    op.drop_column("predictions", "file_name")
    op.drop_index("ix_reviews_reviewer_prediction_id", "reviews")
    op.drop_table("verdicts")

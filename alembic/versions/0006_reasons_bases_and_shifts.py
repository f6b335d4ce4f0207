"""Reason codes, basis, shifts, and stated scale."""

from __future__ import annotations

import json

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

DRIFT_INDEX, DECISION_INDEX = "ix_predictions_model_sha256_id", "ix_predictions_decision_id"
DRIFT = ["model_sha256", "id", "probability", "max_deviation", "consistent", "stain_distance"]
DECISION = ["decision", "id"]
SHARED = {"model_sha256": 200_000, "decision": 300_000}  # as in 0003

ADDED = ("microns_per_pixel", "shift_deviation", "shifts", "orbit_logit_metastasis", "orbit_logit_no_metastasis")

# The beginnings of the reasons of earlier revisions.
CODES = (
    ("probability in the review band ", "review_band"),
    ("turning the patch moves the probability ", "turning"),
    ("tissue covers ", "tissue"),
    ("there is no tissue ", "no_tissue"),
    ("sharpness ", "sharpness"),
    ("stain distance ", "stain"),
)
TOGETHER = 1000


def upgrade() -> None:
    op.add_column("predictions", sa.Column("basis", sa.String(8), nullable=False, server_default="single"))
    op.add_column("predictions", sa.Column("reason_codes", sa.String(100), nullable=False, server_default=""))
    op.add_column("predictions", sa.Column("orbit_logit_no_metastasis", sa.Double(), nullable=True))
    op.add_column("predictions", sa.Column("orbit_logit_metastasis", sa.Double(), nullable=True))
    op.add_column("predictions", sa.Column("shifts", sa.String(8), nullable=False, server_default="none"))
    op.add_column("predictions", sa.Column("shift_deviation", sa.Double(), nullable=True))
    op.add_column("predictions", sa.Column("microns_per_pixel", sa.Double(), nullable=True))
    op.add_column("shadow_scores", sa.Column("basis", sa.String(8), nullable=False, server_default="single"))
    _fill_reason_codes()
    _index(DRIFT_INDEX, [*DRIFT, "basis"])
    _index(DECISION_INDEX, [*DECISION, "reason_codes"])


def downgrade() -> None:
    _index(DECISION_INDEX, DECISION)
    _index(DRIFT_INDEX, DRIFT)
    op.drop_column("shadow_scores", "basis")
    for column in (*ADDED, "reason_codes", "basis"):
        op.drop_column("predictions", column)


def _fill_reason_codes() -> None:
    """Derive the codes from the reasons of every review or not assessable answer."""
    connection = op.get_bind()
    rows = sa.table(
        "predictions", *map(sa.column, ("id", "decision", "answer", "reason_codes"))
    )  # as they are at this revision
    change = sa.update(rows).where(rows.c.id == sa.bindparam("row")).values(reason_codes=sa.bindparam("codes"))
    for decision in ("review", "not_assessable"):
        last = ""
        while True:
            some = connection.execute(
                sa.select(rows.c.id, rows.c.answer)
                .where(rows.c.decision == decision, rows.c.id > last)
                .order_by(rows.c.id)
                .limit(TOGETHER)
            ).all()
            if not some:
                break
            last = some[-1].id
            connection.execute(change, [{"row": row.id, "codes": _codes(row.answer)} for row in some])


def _codes(answer: str) -> str:
    found = []
    for text in json.loads(answer)["reasons"]:
        code = next((code for start, code in CODES if text.startswith(start)), "other")
        if code not in found:
            found.append(code)
    return " ".join(found)


def _index(name: str, columns: list[str]) -> None:
    """Recreate the index; SQLite drops its statistics, so they are written again."""
    op.drop_index(name, "predictions")
    op.create_index(name, "predictions", columns)
    if op.get_bind().dialect.name == "sqlite":
        statistics = sa.table("sqlite_stat1", sa.column("tbl"), sa.column("idx"), sa.column("stat"))
        row = f"1000000 {SHARED[columns[0]]}" + " 1" * (len(columns) - 1)
        op.execute(statistics.delete().where(statistics.c.idx == name))
        op.bulk_insert(statistics, [{"tbl": "predictions", "idx": name, "stat": row}])
        op.execute("ANALYZE sqlite_master")  # loads them

"""The tables."""

from __future__ import annotations

from sqlalchemy import Boolean, Column, DateTime, Double, Index, MetaData, String, Table, Text

metadata = MetaData(
    naming_convention={
        "pk": "pk_%(table_name)s",
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s_%(referred_table_name)s",
    }
)

keys = Table(
    "keys",
    metadata,
    Column("id", String(32), primary_key=True),
    Column("sha256", String(64), nullable=False),
    Column("role", String(16), nullable=False),
    Column("name", String(200), nullable=False),
    Column("created_at", DateTime(timezone=True), nullable=False),
    Column("revoked_at", DateTime(timezone=True)),
)

predictions = Table(
    "predictions",
    metadata,
    Column("id", String(36), primary_key=True),
    Column("created_at", DateTime(timezone=True), nullable=False),
    Column("key_id", String(32), nullable=False),
    Column("model_name", String(63), nullable=False),
    Column("model_version", String(32), nullable=False),
    Column("model_sha256", String(64), nullable=False),
    Column("patch_sha256", String(64), nullable=False),
    Column("patch_format", String(8), nullable=False),
    Column("rotations", String(8), nullable=False),
    Column("label", String(16)),
    Column("probability", Double()),
    Column("decision", String(16), nullable=False),
    Column("logit_no_metastasis", Double(), nullable=False),
    Column("logit_metastasis", Double(), nullable=False),
    Column("exact", Boolean()),
    Column("max_deviation", Double(), nullable=False),
    Column("consistent", Boolean()),
    Column("tissue_fraction", Double(), nullable=False),
    Column("sharpness", Double(), nullable=False),
    Column("stain_distance", Double()),
    Column("assessable", Boolean(), nullable=False),
    Column("total_ms", Double(), nullable=False),
    Column("answer", Text(), nullable=False),
    Index(None, "key_id", "id"),
)

"""The tables."""

from __future__ import annotations

from datetime import UTC, datetime

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    DateTime,
    Dialect,
    Double,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    Text,
    TypeDecorator,
    text,
)


class UtcTime(TypeDecorator[datetime]):
    """A time, aware and in UTC, also from SQLite, which does not store the zone."""

    impl = DateTime(timezone=True)
    cache_ok = True
    python_type = datetime

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        return None if value is None else value.astimezone(UTC)

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        if value is None or value.tzinfo is not None:
            return value.astimezone(UTC) if value else None
        return value.replace(tzinfo=UTC)


metadata = MetaData(
    naming_convention={
        "pk": "pk_%(table_name)s",
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s_%(referred_table_name)s",
    }
)

# A person who signs in at an identity provider has a row without ``sha256``, with ``issuer`` and ``subject``.
keys = Table(
    "keys",
    metadata,
    Column("id", String(32), primary_key=True),
    Column("sha256", String(64)),
    Column("role", String(16), nullable=False),
    Column("name", String(200), nullable=False),
    Column("created_at", UtcTime(), nullable=False),
    Column("revoked_at", UtcTime()),
    Column("expires_at", UtcTime()),
    Column("last_used_at", UtcTime()),
    Column("person", String(32)),
    Column("issuer", String(255)),
    Column("subject", String(255)),
    Column("signed_in_at", UtcTime()),
    Index(None, "issuer", "subject", unique=True),
)

predictions = Table(
    "predictions",
    metadata,
    Column("id", String(36), primary_key=True),
    Column("created_at", UtcTime(), nullable=False),
    Column("key_id", String(32), nullable=False),
    Column("model_name", String(63), nullable=False),
    Column("model_version", String(32), nullable=False),
    Column("model_sha256", String(64), nullable=False),
    Column("patch_sha256", String(64), nullable=False),
    Column("patch_format", String(8), nullable=False),
    Column("case_id", String(64)),
    Column("slide_id", String(64)),
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
    Column("basis", String(8), nullable=False, server_default="single"),
    # Codes of the reasons, separated by spaces; empty for none.
    Column("reason_codes", String(100), nullable=False, server_default=""),
    Column("orbit_logit_no_metastasis", Double()),
    Column("orbit_logit_metastasis", Double()),
    Column("shifts", String(8), nullable=False, server_default="none"),
    Column("shift_deviation", Double()),
    Column("microns_per_pixel", Double()),
    Column("file_name", String(200)),
    Index(None, "key_id", "id"),
    Index(None, "key_id", "decision", "id"),
    Index(None, "label", "id"),
    Index("ix_predictions_decision_id", "decision", "id", "reason_codes"),
    Index(None, "model_name", "id"),
    # A covering index for drift.
    Index(
        "ix_predictions_model_sha256_id",
        *("model_sha256", "id", "probability", "max_deviation", "consistent", "stain_distance", "basis"),
    ),
    # A covering index for the worklist.
    Index(
        "ix_predictions_worklist",
        *("id", "case_id", "slide_id", "decision", "model_sha256", "basis", "probability", "max_deviation"),
    ),
    # Only of predictions that name one.
    *(
        Index(f"ix_predictions_{name}_id", name, "id", sqlite_where=text(named), postgresql_where=text(named))
        for name, named in (("slide_id", "slide_id IS NOT NULL"), ("case_id", "case_id IS NOT NULL"))
    ),
    Index(None, "patch_sha256", "id"),
)

# The prediction of the first request with an Idempotency-Key.
idempotency = Table(
    "idempotency",
    metadata,
    Column("key_id", String(32), primary_key=True),
    Column("idempotency_key", String(128), primary_key=True),
    Column("fingerprint", String(64), nullable=False),
    Column("prediction_id", String(36), nullable=False),
    Column("created_at", UtcTime(), nullable=False),
    Index(None, "prediction_id"),
)

# Artifact bytes are written once. ``id`` is their SHA-256; ``manifest`` and ``report`` are JSON.
models = Table(
    "models",
    metadata,
    Column("id", String(64), primary_key=True),
    Column("name", String(63), nullable=False),
    Column("version", String(32), nullable=False),
    Column("size", Integer(), nullable=False),
    Column("data", LargeBinary(), nullable=False),
    Column("signature", LargeBinary()),
    Column("manifest", Text(), nullable=False),
    Column("report", Text(), nullable=False),
    Column("origin", String(16), nullable=False),
    Column("uploaded_by", String(240), nullable=False),
    Column("uploaded_at", UtcTime(), nullable=False),
    Column("retired_at", UtcTime()),
    Column("shadow_since", UtcTime()),
)

# The last row is the active model.
activations = Table(
    "activations",
    metadata,
    Column("number", Integer(), primary_key=True, autoincrement=False),
    Column("model_id", String(64), ForeignKey("models.id"), nullable=False),
    Column("activated_by", String(240), nullable=False),
    Column("activated_at", UtcTime(), nullable=False),
)

# Image files as they were sent, if patches are stored.
patches = Table(
    "patches",
    metadata,
    Column("prediction_id", String(36), ForeignKey("predictions.id"), primary_key=True),
    Column("data", LargeBinary(), nullable=False),
)

# Probabilities of a shadow and of the active model; null where not assessable.
shadow_scores = Table(
    "shadow_scores",
    metadata,
    Column("prediction_id", String(36), primary_key=True),
    Column("shadow_id", String(64), ForeignKey("models.id"), primary_key=True),
    Column("active_id", String(64), nullable=False),
    Column("shadow_label", String(16)),
    Column("active_label", String(16)),
    Column("shadow_probability", Double()),
    Column("active_probability", Double()),
    Column("basis", String(8), nullable=False, server_default="single"),
    Index(None, "shadow_id", "active_id"),
)

# Reviews by people; they do not change a prediction.
reviews = Table(
    "reviews",
    metadata,
    Column("id", String(36), primary_key=True),
    Column("prediction_id", String(36), ForeignKey("predictions.id"), nullable=False),
    Column("reviewer", String(240), nullable=False),
    Column("reviewed_at", UtcTime(), nullable=False),
    Column("verdict", String(16), nullable=False),
    Column("note", Text(), nullable=False),
    Index(None, "prediction_id"),
    Index(None, "reviewer", "prediction_id"),
)

# The state of each answer that was reviewed, from its reviews: see app/records/verdicts.py.
verdicts = Table(
    "verdicts",
    metadata,
    Column("prediction_id", String(36), ForeignKey("predictions.id"), primary_key=True),
    Column("state", String(16), nullable=False),
    Column("verdict", String(16)),
    Column("readers", Integer(), nullable=False),
    Index(None, "state", "prediction_id"),
)

# Browser sessions. ``id`` is the SHA-256 of the cookie's token.
sessions = Table(
    "sessions",
    metadata,
    Column("id", String(64), primary_key=True),
    Column("key_id", String(32), nullable=False),
    Column("csrf", String(64), nullable=False),
    Column("created_at", UtcTime(), nullable=False),
    Column("last_seen_at", UtcTime(), nullable=False),
)

# Append-only: triggers refuse UPDATE, DELETE and REPLACE.
audit = Table(
    "audit",
    metadata,
    Column("number", BigInteger(), primary_key=True, autoincrement=False),
    Column("at", String(27), nullable=False),
    Column("who", String(240), nullable=False),
    Column("address", String(64), nullable=False),
    Column("action", String(64), nullable=False),
    Column("subject", String(240), nullable=False),
    Column("before", Text()),
    Column("after", Text()),
    Column("previous", String(64), nullable=False),
    Column("hash", String(64), nullable=False),
)

clock = Table(
    "clock",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("seen_at", UtcTime(), nullable=False),
    Column("trusted_at", UtcTime()),
)

# The one row says behind what webhooks go on, and which server may send them until when.
webhook_cursor = Table(
    "webhook_cursor",
    metadata,
    Column("id", Integer(), primary_key=True, autoincrement=False),
    Column("prediction_id", String(36), nullable=False),
    Column("audit_number", BigInteger(), nullable=False),
    Column("holder", String(32), nullable=False),
    Column("held_until", UtcTime(), nullable=False),
)

# Ids of slides are HMACs of their paths under the one row's secret.
slide_secret = Table(
    "slide_secret",
    metadata,
    Column("id", Integer(), primary_key=True, autoincrement=False),
    Column("secret", String(64), nullable=False),
)

# ``place`` is the data folder that holds the run's files; ``scope`` is JSON.
slide_runs = Table(
    "slide_runs",
    metadata,
    Column("id", String(36), primary_key=True),
    Column("slide_id", String(32), nullable=False),
    Column("place", String(32), nullable=False),
    Column("model_sha256", String(64), nullable=False),
    Column("key_id", String(32), nullable=False),
    Column("started_by", String(240), nullable=False),
    Column("prevalence", Double(), nullable=False),
    Column("rotations", String(8), nullable=False),
    Column("shifts", String(8), nullable=False),
    Column("state", String(16), nullable=False),
    Column("done", Integer(), nullable=False),
    Column("total", Integer(), nullable=False),
    Column("reason", Text(), nullable=False),
    Column("scope", Text()),
    Column("created_at", UtcTime(), nullable=False),
    Column("started_at", UtcTime()),
    Column("finished_at", UtcTime()),
    Index(None, "slide_id", "id"),
    Index(None, "key_id", "id"),
    Index(None, "state", "place"),
)

# Acceptance tests of models on a site's labelled patches; ``report`` is JSON.
acceptances = Table(
    "acceptances",
    metadata,
    Column("id", String(36), primary_key=True),
    Column("model_sha256", String(64), nullable=False),
    Column("outcome", String(16), nullable=False),
    Column("site", String(120), nullable=False),
    Column("patches", Integer(), nullable=False),
    Column("tested_by", String(240), nullable=False),
    Column("tested_at", UtcTime(), nullable=False),
    Column("report", Text(), nullable=False),
    Index(None, "model_sha256", "id"),
)

# Answers that were drawn at random to be judged.
samples = Table(
    "samples",
    metadata,
    Column("prediction_id", String(36), ForeignKey("predictions.id"), primary_key=True),
    Column("drawn_at", UtcTime(), nullable=False),
    Column("drawn_by", String(240), nullable=False),
)

# Verdicts on the regions of a run; rows are only added. ``region`` is the number in its regions.geojson.
region_reviews = Table(
    "region_reviews",
    metadata,
    Column("id", String(36), primary_key=True),
    Column("run_id", String(36), ForeignKey("slide_runs.id"), nullable=False),
    Column("region", Integer(), nullable=False),
    Column("reviewer", String(240), nullable=False),
    Column("reviewed_at", UtcTime(), nullable=False),
    Column("verdict", String(16), nullable=False),
    Column("note", Text(), nullable=False),
    Index(None, "run_id"),
)

"""The caller of a request: role, name and address."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from app.records.audit import Actor

OWN_KEY_ID = "settings"


class Role(StrEnum):
    """Role of a key.

    ``predict`` sends patches and reads its own answers, ``read`` reads all answers, ``review`` also reviews them,
    ``metrics`` only reads the metrics, ``admin`` may do everything.
    """

    PREDICT = "predict"
    READ = "read"
    REVIEW = "review"
    METRICS = "metrics"
    ADMIN = "admin"


@dataclass(frozen=True)
class Caller:
    """The owner of the request's key, and the address (empty until the gate sets it)."""

    key_id: str
    role: Role
    name: str
    address: str = ""

    @property
    def actor(self) -> Actor:
        """The caller in the audit trail: ``NAME (KEY_ID)``, or ``settings`` for the administrator's own key."""
        who = OWN_KEY_ID if self.key_id == OWN_KEY_ID else f"{self.name} ({self.key_id})"
        return Actor(who, self.address)

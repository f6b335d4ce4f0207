"""Who calls: the role, name and address behind a request."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from app.records.audit import Actor

OWN_KEY_ID = "settings"


class Role(StrEnum):
    """What a key may do.

    ``predict`` asks and sees its own answers, ``read`` sees everybody's, ``review`` also judges them, ``metrics`` reads
    the server's figures and nothing else, ``admin`` does everything.
    """

    PREDICT = "predict"
    READ = "read"
    REVIEW = "review"
    METRICS = "metrics"
    ADMIN = "admin"


@dataclass(frozen=True)
class Caller:
    """Whose key came with a request, and from which address (empty until the gate has filled it in)."""

    key_id: str
    role: Role
    name: str
    address: str = ""

    @property
    def actor(self) -> Actor:
        """The caller in the audit trail: ``NAME (KEY_ID)``, or ``settings`` for the administrator's own key."""
        who = OWN_KEY_ID if self.key_id == OWN_KEY_ID else f"{self.name} ({self.key_id})"
        return Actor(who, self.address)

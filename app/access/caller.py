"""The caller of a request: role, name and address."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from app.records.audit import Actor
from app.records.filters import Scope

OWN_KEY_ID = "settings"


class Role(StrEnum):
    """Role of a key.

    ``predict`` sends patches and reads its own answers, ``pathologist`` also reviews them and those of its cases,
    ``read`` reads all answers, ``review`` also reviews them, ``metrics`` only reads the metrics, ``admin`` may do
    everything.
    """

    PREDICT = "predict"
    PATHOLOGIST = "pathologist"
    READ = "read"
    REVIEW = "review"
    METRICS = "metrics"
    ADMIN = "admin"


@dataclass(frozen=True)
class Caller:
    """The owner of the request's key, and the address (empty until the gate sets it).

    Attributes:
        person: id of the key that this one replaced, directly or through others; empty if it replaced none.
        issuer: the identity provider where the person signed in; empty for the holder of a key.
    """

    key_id: str
    role: Role
    name: str
    address: str = ""
    person: str = ""
    issuer: str = ""

    @property
    def actor(self) -> Actor:
        """The caller in the audit trail: ``NAME (KEY_ID)``, or ``settings`` for the administrator's own key."""
        who = OWN_KEY_ID if self.key_id == OWN_KEY_ID else f"{self.name} ({self.key_id})"
        return Actor(who, self.address, f"{self.name} ({self.person})" if self.person else "")

    @property
    def scope(self) -> Scope | None:
        """The answers that the caller may read; None for all."""
        match self.role:
            case Role.PREDICT:
                return Scope(self.key_id)
            case Role.PATHOLOGIST:
                return Scope(self.key_id, cases=True)
            case _:
                return None

    @property
    def reads_blind(self) -> bool:
        """Whether others' verdicts are hidden until the caller's own is stored."""
        return self.role in {Role.REVIEW, Role.PATHOLOGIST}

"""People who sign in at an identity provider: rows of the keys without a secret, known by issuer and subject."""

from __future__ import annotations

import secrets
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum

from sqlalchemy import Connection, delete, insert, select, update

from app.access.caller import Caller, Role
from app.access.key_entry import KeyEntry, entry_of
from app.access.keys import KEY_ID, NAME_LENGTH, NO_SUCH_KEY, Keys
from app.problems import IsNoPerson, PersonEnabled, SignInRefused, UnknownKey
from app.records.audit import Actor, AuditTrail, Event
from app.records.tables import keys, sessions

SUBJECT_LENGTH = 255  # OpenID Connect Core 1.0, section 2


class Refusal(StrEnum):
    """Why a sign-in is refused.

    ``no-attempt``: this browser did not begin it, or too long ago. ``wrong-state``, ``wrong-issuer``: the response
    belongs to another sign-in or comes from another provider. ``provider-refused``: the provider reported an error.
    ``wrong-code``, ``wrong-token``: the code or the ID token is not valid. ``no-role``: the person has no role here.
    ``disabled``: an administrator disabled the person.
    """

    NO_ATTEMPT = "no-attempt"
    WRONG_STATE = "wrong-state"
    WRONG_ISSUER = "wrong-issuer"
    PROVIDER_REFUSED = "provider-refused"
    WRONG_CODE = "wrong-code"
    WRONG_TOKEN = "wrong-token"  # noqa: S105 - a code
    NO_ROLE = "no-role"
    DISABLED = "disabled"


@dataclass(frozen=True)
class Identity:
    """Who signed in, as a verified ID token says.

    Attributes:
        subject: the person's id at the issuer, 1 to 255 ASCII characters.
        name: for people; may be empty or anything.
        role: the role that the token's claim gives; None if it gives none.
    """

    issuer: str
    subject: str
    name: str
    role: Role | None


class People:
    """The people of one database.

    A person's role is that of the last sign-in. Their name is that of the first: reviews belong to name and id, so that
    nobody becomes a second reader by another name at the provider. Every method raises RecordsUnavailable when the
    database fails.
    """

    def __init__(self, audit: AuditTrail, of: Keys) -> None:
        self._audit = audit
        self._keys = of

    def enter(self, identity: Identity, address: str) -> Caller:
        """The caller that a person is after a sign-in; stores a new person, and the role.

        Raises:
            SignInRefused: if the person has no role, which also ends their sessions, or is disabled.
        """
        refusal: SignInRefused | None = None
        with self._audit.transaction() as connection:
            before = _found(connection, identity)
            actor = _caller(before, address).actor if before else Actor(identity.issuer, address)
            if before and before.revoked_at:
                refusal = self._refuse(connection, actor, identity, Refusal.DISABLED, before)
            elif identity.role is None:
                refusal = self._refuse(connection, actor, identity, Refusal.NO_ROLE, before)
            else:
                entry = self._entered(connection, identity, identity.role, before, address)
        if refusal:
            raise refusal
        return _caller(entry, address)

    def enable(self, person_id: str, actor: Actor) -> KeyEntry:
        """Let a disabled person sign in again.

        Raises:
            UnknownKey: if there is no row with this id.
            IsNoPerson: if it is a key.
            PersonEnabled: if the person is not disabled.
        """
        if KEY_ID.fullmatch(person_id) is None:
            raise UnknownKey(NO_SUCH_KEY)
        with self._audit.transaction() as connection:
            row = connection.execute(select(keys).where(keys.c.id == person_id)).one_or_none()
            if row is None:
                raise UnknownKey(NO_SUCH_KEY)
            before = entry_of(row)
            if not before.issuer:
                raise IsNoPerson("A revoked key stays revoked: create a new one. Only people can be enabled again.")
            if before.revoked_at is None:
                raise PersonEnabled(f"{before.name} is not disabled: nothing was changed.")
            after = replace(before, revoked_at=None)
            # Sessions from before would go on with it.
            connection.execute(delete(sessions).where(sessions.c.key_id == person_id))
            connection.execute(update(keys).where(keys.c.id == person_id).values(revoked_at=None))
            self._audit.append(connection, actor, Event("key.enable", person_id, before.summary(), after.summary()))
        return after

    def _entered(
        self, connection: Connection, identity: Identity, role: Role, before: KeyEntry | None, address: str
    ) -> KeyEntry:
        now = self._keys.now()
        if before is None:
            entry = _person(identity, role, now)
            values = {name: value for name, value in vars(entry).items() if name != "person"}
            connection.execute(insert(keys), values)
            event = Event("key.create", entry.id, after=entry.summary())
            self._audit.append(connection, _caller(entry, address).actor, event)
            return entry
        entry = replace(before, role=role, signed_in_at=now, last_used_at=now)
        connection.execute(
            update(keys).where(keys.c.id == entry.id).values(role=role.value, signed_in_at=now, last_used_at=now)
        )
        if role is not before.role:
            event = Event("key.role", entry.id, before.summary(), entry.summary())
            self._audit.append(connection, _caller(entry, address).actor, event)
        return entry

    def _refuse(
        self, connection: Connection, actor: Actor, identity: Identity, reason: Refusal, entry: KeyEntry | None
    ) -> SignInRefused:
        about = {"reason": reason.value, "issuer": identity.issuer, "subject": identity.subject}
        self._audit.append(connection, actor, Event("session.refuse", entry.id if entry else "none", after=about))
        if entry:
            open_ones = delete(sessions).where(sessions.c.key_id == entry.id).returning(sessions.c.key_id)
            for key_id in connection.execute(open_ones).scalars().all():
                self._audit.append(connection, actor, Event("session.close", key_id))
        if reason is Refusal.DISABLED:
            return SignInRefused(
                reason, "An administrator of this server has disabled your access: ask them to enable it."
            )
        return SignInRefused(
            reason,
            "You have signed in at the identity provider, but it gives you no role here: ask those who manage your "
            "account there for a group or role that may use Rosette, and sign in again.",
        )


def _found(connection: Connection, identity: Identity) -> KeyEntry | None:
    known = keys.c.issuer == identity.issuer, keys.c.subject == identity.subject
    row = connection.execute(select(keys).where(*known)).one_or_none()
    return entry_of(row) if row else None


def _person(identity: Identity, role: Role, now: datetime) -> KeyEntry:
    return KeyEntry(
        id=secrets.token_hex(6),
        role=role,
        name=shown(identity.name) or shown(identity.subject) or "person",
        created_at=now,
        expires_at=None,
        last_used_at=now,
        revoked_at=None,
        person="",
        issuer=identity.issuer,
        subject=identity.subject,
        signed_in_at=now,
    )


def shown(name: str) -> str:
    """A name from elsewhere, as names of keys are: at most 120 printable characters, with single spaces."""
    printable = "".join(character if character.isprintable() else " " for character in name)
    return " ".join(printable.split())[:NAME_LENGTH].strip()


def _caller(entry: KeyEntry, address: str) -> Caller:
    return Caller(entry.id, entry.role, entry.name, address, entry.person, entry.issuer)

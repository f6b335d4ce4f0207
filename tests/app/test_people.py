"""People without a key, in both databases."""

from __future__ import annotations

from dataclasses import replace

import pytest
from alembic import command
from alembic.config import Config
from sqlalchemy import Engine, insert, text
from sqlalchemy.exc import IntegrityError

from app.access.caller import Caller, Role
from app.access.keys import Keys
from app.access.people import Identity, People, shown
from app.access.rotation import KeyRotation
from app.access.sessions import LONGEST, Sessions
from app.problems import HasNoKey, IsNoPerson, LastAdminKey, PersonEnabled, SignInRefused, UnknownKey
from app.records.audit import AuditTrail
from app.records.migrations import migrate, scripts
from app.records.tables import keys as table
from tests.app.conftest import TESTER, Clock

ISSUER = "https://login.example.org/clinic"
ADA = Identity(ISSUER, "248289761001", "Ada", Role.PATHOLOGIST)


def test_people_of_the_database(database: Engine, clock: Clock) -> None:
    migrate(database)
    trail = AuditTrail(database)
    keys = Keys(database, trail, clock=clock)
    people = People(trail, keys)

    ada = people.enter(ADA, "10.0.0.1")
    assert (ada.name, ada.role, ada.issuer, ada.actor.reviewer) == (
        "Ada",
        Role.PATHOLOGIST,
        ISSUER,
        f"Ada ({ada.key_id})",
    )
    again = people.enter(replace(ADA, name="Someone else", role=Role.REVIEW), "")
    assert (again.key_id, again.name, again.role) == (ada.key_id, "Ada", Role.REVIEW)
    for other in (
        replace(ADA, issuer="https://login.example.org/other"),
        replace(ADA, subject="248289761002"),
        replace(ADA, subject=ADA.subject + " "),
    ):
        assert people.enter(other, "").key_id != ada.key_id
    assert people.enter(replace(ADA, subject="x" * 255, name="\n" * 9), "").name == "x" * 120

    for key_id in (ada.key_id, "\0", "000000000000"):
        with pytest.raises((HasNoKey, UnknownKey)):
            KeyRotation(trail, keys).rotate(key_id, 7, TESTER)
    assert keys.caller(f"rsk_{ada.key_id}_{'A' * 43}".encode()) is None

    keys.revoke(ada.key_id, TESTER)
    with pytest.raises(SignInRefused, match="disabled") as refused:
        people.enter(ADA, "10.0.0.1")
    assert refused.value.reason == "disabled"
    with pytest.raises(SignInRefused, match="no role"):
        people.enter(replace(ADA, subject="guest", role=None), "")
    assert [row.action for row in trail.page(3).entries] == ["session.refuse", "session.refuse", "key.revoke"]
    people.enable(ada.key_id, TESTER)
    assert people.enter(ADA, "").key_id == ada.key_id
    machine = keys.add(Role.READ, "scanner", TESTER)
    keys.revoke(machine.id, TESTER)
    for key_id, problem in ((machine.id, IsNoPerson), (ada.key_id, PersonEnabled), ("\0", UnknownKey)):
        with pytest.raises(problem):
            people.enable(key_id, TESTER)
    assert trail.verify().broken is None


def test_sessions_of_people_are_short_and_of_this_provider(database: Engine, clock: Clock) -> None:
    migrate(database)
    trail = AuditTrail(database)
    keys = Keys(database, trail, clock=clock)
    people = People(trail, keys)

    def sessions(issuer: str) -> Sessions:
        return Sessions(database, keys, trail, LONGEST.total_seconds(), clock, issuer=issuer, people_s=3600)

    ours, machine = sessions(ISSUER), keys.add(Role.READ, "Ward board", TESTER)
    token, of_key = ours.open(people.enter(ADA, "")), ours.open(_caller(keys, machine.key))
    clock.now += 3599
    assert ours.find(token) is not None
    for other in (sessions(""), sessions("https://other.example.org")):
        assert other.find(token) is None
        assert other.find(of_key) is not None
    clock.now += 1
    assert ours.find(token) is None
    assert ours.find(of_key) is not None

    token = ours.open(people.enter(ADA, ""))
    keys.revoke(people.enter(ADA, "").key_id, TESTER)
    assert ours.find(token) is None
    people.enable(_id_of(keys, ADA), TESTER)
    assert ours.find(token) is None, "no session comes back to life"

    token = ours.open(people.enter(ADA, ""))
    with pytest.raises(SignInRefused):
        people.enter(replace(ADA, role=None), "")
    assert ours.find(token) is None


def test_an_administrator_remains_who_needs_no_provider(database: Engine, clock: Clock) -> None:
    migrate(database)
    trail = AuditTrail(database)
    keys = Keys(database, trail, clock=clock)
    person = People(trail, keys).enter(replace(ADA, role=Role.ADMIN), "")
    machine = keys.add(Role.ADMIN, "the key", TESTER)
    with pytest.raises(LastAdminKey):
        keys.revoke(machine.id, TESTER)
    keys.revoke(person.key_id, TESTER)


def test_an_earlier_version_takes_people_for_revoked_keys(database: Engine, clock: Clock) -> None:
    migrate(database)
    trail = AuditTrail(database)
    keys = Keys(database, trail, clock=clock)
    key = keys.add(Role.READ, "kept", TESTER)
    person = People(trail, keys).enter(ADA, "")
    with database.begin() as connection:
        config = Config()
        config.set_main_option("script_location", str(scripts()))
        config.attributes["connection"] = connection
        command.downgrade(config, "0013")
        rows = connection.execute(text("SELECT id, sha256, revoked_at FROM keys")).all()
    found = {row.id: (row.sha256, row.revoked_at is not None) for row in rows}
    assert found[person.key_id] == ("0" * 64, True)
    assert not found[key.id][1]
    migrate(database)
    assert keys.caller(key.key.encode()) is not None
    row = {"id": "0" * 12, "role": "read", "name": "a", "created_at": keys.now(), "issuer": "i", "subject": "s"}
    with database.connect() as connection, pytest.raises(IntegrityError):
        connection.execute(insert(table), [row, row | {"id": "1" * 12}])


def test_names_from_elsewhere() -> None:
    assert shown("  Dr.\u202e Ada\n\tGrünwald\x00 ") == "Dr. Ada Grünwald"
    assert len(shown("a b" * 100)) <= 120
    assert shown("\n") == ""


def _caller(keys: Keys, key: str) -> Caller:
    found = keys.caller(key.encode())
    assert found is not None
    return found


def _id_of(keys: Keys, identity: Identity) -> str:
    [found] = [entry.id for entry in keys.listing() if entry.subject == identity.subject]
    return found

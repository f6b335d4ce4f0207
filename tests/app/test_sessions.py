"""Sessions: their end, and their isolation."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import Engine, func, select

from app.access.caller import OWN_KEY_ID, Caller, Role
from app.access.keys import Keys
from app.access.sessions import Sessions
from app.problems import RecordsUnavailable
from app.records.audit import AuditTrail
from app.records.migrations import migrate
from app.records.tables import sessions as table
from tests.app.conftest import TESTER, Clock

OWN = "an own key of at least thirty-two characters"
HOUR = 3600


@pytest.fixture
def keys(database: Engine, clock: Clock) -> Keys:
    migrate(database)
    return Keys(database, AuditTrail(database), clock=clock)


@pytest.fixture
def sessions(database: Engine, keys: Keys, clock: Clock) -> Sessions:
    return Sessions(database, keys, AuditTrail(database), idle_s=1800, clock=clock)


@pytest.fixture
def caller(keys: Keys) -> Caller:
    caller = keys.caller(keys.add(Role.REVIEW, "somebody", TESTER).key.encode())
    assert caller is not None
    return caller


def stored(database: Engine) -> int:
    with database.begin() as connection:
        return connection.execute(select(func.count()).select_from(table)).scalar_one()


def test_a_session_is_its_keys(sessions: Sessions, caller: Caller, database: Engine) -> None:
    token = sessions.open(caller)
    found = sessions.find(token)
    assert found is not None
    assert found.caller == caller
    assert sessions.find(token + "x") is None
    assert sessions.find("") is None
    other = sessions.find(sessions.open(caller))
    assert other is not None
    assert other.csrf != found.csrf
    with database.begin() as connection:
        rows = str(connection.execute(select(table)).all())
    assert token not in rows


def test_it_ends_when_idle_and_not_while_it_is_used(sessions: Sessions, caller: Caller, clock: Clock) -> None:
    token = sessions.open(caller)
    for _ in range(5):
        clock.now += 1700
        assert sessions.find(token) is not None
    clock.now += 1800
    assert sessions.find(token) is None


def test_it_ends_after_twelve_hours_however_much_it_is_used(sessions: Sessions, caller: Caller, clock: Clock) -> None:
    token = sessions.open(caller)
    for _ in range(12 * HOUR // 600 - 1):
        clock.now += 600
        assert sessions.find(token) is not None
    clock.now += 600
    assert sessions.find(token) is None


def test_it_dies_with_its_key(sessions: Sessions, keys: Keys, clock: Clock) -> None:
    soon = datetime.fromtimestamp(clock.now, UTC) + timedelta(minutes=5)
    expiring, revoked = keys.add(Role.READ, "a", TESTER, soon), keys.add(Role.READ, "b", TESTER)
    tokens = [sessions.open(Caller(made.id, made.role, made.name)) for made in (expiring, revoked)]
    keys.revoke(revoked.id, TESTER)
    assert [sessions.find(token) is not None for token in tokens] == [True, False]
    clock.now += 300
    assert sessions.find(tokens[0]) is None


def test_signing_out_ends_one_session(sessions: Sessions, caller: Caller) -> None:
    left, kept = sessions.open(caller), sessions.open(caller)
    sessions.close(left, caller.actor)
    sessions.close("nobody's", caller.actor)
    assert sessions.find(left) is None
    assert sessions.find(kept) is not None


def test_signing_in_and_out_is_in_the_audit_trail(sessions: Sessions, caller: Caller, database: Engine) -> None:
    somebody = replace(caller, address="192.0.2.7")
    token = sessions.open(somebody)
    for _ in range(2):  # the second one ends nothing
        sessions.close(token, somebody.actor)
    told = [entry for entry in AuditTrail(database).page(10).entries[::-1] if entry.action.startswith("session.")]
    assert [(entry.action, entry.who, entry.address, entry.subject, entry.before, entry.after) for entry in told] == [
        (action, f"somebody ({caller.key_id})", "192.0.2.7", caller.key_id, None, None)
        for action in ("session.open", "session.close")
    ]


def test_ended_sessions_are_removed_when_another_begins(
    sessions: Sessions, caller: Caller, clock: Clock, database: Engine
) -> None:
    for _ in range(3):
        sessions.open(caller)
    clock.now += 1800
    sessions.open(caller)
    assert stored(database) == 1


def test_the_own_keys_session_dies_when_the_settings_name_another(database: Engine, clock: Clock, keys: Keys) -> None:
    def with_own(own: str | None) -> Sessions:
        audit = AuditTrail(database)
        return Sessions(database, Keys(database, audit, own, clock=clock), audit, 1800, clock)

    token = with_own(OWN).open(Caller(OWN_KEY_ID, Role.ADMIN, OWN_KEY_ID))
    found = with_own(OWN).find(token)
    assert found is not None
    assert found.caller.role is Role.ADMIN
    for other in (OWN + "!", None):
        assert with_own(other).find(token) is None
        with_own(other).close(token, TESTER)
    assert with_own(OWN).find(token) is not None


def test_a_session_goes_on_for_a_while_when_the_database_is_away(
    sessions: Sessions, keys: Keys, caller: Caller, database: Engine, clock: Clock
) -> None:
    made = keys.add(Role.READ, "b", TESTER, datetime.fromtimestamp(clock.now, UTC) + timedelta(minutes=5))
    expiring = sessions.open(Caller(made.id, made.role, made.name))
    seen, unseen, closed = (sessions.open(caller) for _ in range(3))
    assert sessions.find(seen) is not None
    assert sessions.find(closed) is not None
    assert sessions.find(expiring) is not None
    sessions.close(closed, caller.actor)
    with database.begin() as connection:
        table.drop(connection)
    clock.now += 899
    found = sessions.find(seen)
    assert found is not None
    assert found.caller == caller
    for token in (unseen, closed, expiring):
        with pytest.raises(RecordsUnavailable):
            sessions.find(token)
    clock.now += 1
    with pytest.raises(RecordsUnavailable):
        sessions.find(seen)

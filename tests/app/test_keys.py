"""Keys: validity, expiry, and what is stored."""

from __future__ import annotations

import json
import re
import stat
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta, timezone
from hashlib import sha256
from pathlib import Path

import pytest
from sqlalchemy import Engine, event, select, text

from app.access.caller import OWN_KEY_ID, Caller, Role
from app.access.key_cache import SIZE, CachedKey, KeyCache
from app.access.key_entry import KeyEntry
from app.access.keys import Keys
from app.problems import InvalidParameter, KeyRevoked, LastAdminKey, RecordsUnavailable, UnknownKey
from app.records.audit import Actor, AuditRow, AuditTrail
from app.records.migrations import migrate
from app.records.tables import keys as table
from tests.app.conftest import TESTER, Clock


@pytest.fixture
def audit(database: Engine) -> AuditTrail:
    migrate(database)
    return AuditTrail(database)


@pytest.fixture
def keys(database: Engine, audit: AuditTrail, clock: Clock) -> Keys:
    return Keys(database, audit, clock=clock)


@pytest.fixture
def elsewhere(database: Engine, audit: AuditTrail, clock: Clock) -> Keys:
    """Another server of the same database."""
    return Keys(database, audit, clock=clock)


@contextmanager
def away(database: Engine) -> Iterator[None]:
    """The database fails whoever asks about keys."""
    with database.begin() as connection:
        connection.execute(text("ALTER TABLE keys RENAME TO away"))
    try:
        yield
    finally:
        with database.begin() as connection:
            connection.execute(text("ALTER TABLE away RENAME TO keys"))


def trail(audit: AuditTrail) -> list[AuditRow]:
    """What was audited, oldest first."""
    return audit.page(1000).entries[::-1]


def last_used(keys: Keys) -> datetime | None:
    [entry] = keys.listing()
    return entry.last_used_at


@pytest.mark.parametrize("role", list(Role))
def test_a_key_opens_with_its_role_and_name(keys: Keys, role: Role) -> None:
    made = keys.add(role, "  Dr. Ada Łovelace ", TESTER)
    assert re.fullmatch(r"rsk_[0-9a-f]{12}_[A-Za-z0-9_-]{43}", made.key)
    assert made.key[4:16] == made.id
    for _ in range(2):  # from the database, and from memory
        assert keys.caller(made.key.encode()) == Caller(made.id, role, "Dr. Ada Łovelace")
    assert made.key not in repr(made)


def test_callers_act_by_name_key_and_address() -> None:
    assert Caller("0123456789ab", Role.READ, "Ada", "192.0.2.1").actor == Actor("Ada (0123456789ab)", "192.0.2.1")
    assert Caller(OWN_KEY_ID, Role.ADMIN, OWN_KEY_ID).actor == Actor("settings")
    longest = Caller("0123456789ab", Role.READ, "x" * 120)
    assert len(longest.actor.who) <= 240


@pytest.mark.parametrize("name", ["", "  ", "x" * 121, "two\nlines", "\x1b[2J", "right\u202eleft", "\x00"])
def test_a_name_must_be_one_that_can_be_read(keys: Keys, audit: AuditTrail, name: str) -> None:
    with pytest.raises(InvalidParameter, match="expected 1 to 120 printable"):
        keys.add(Role.READ, name, TESTER)
    assert (keys.listing(), trail(audit)) == ([], [])


def test_only_the_hash_is_stored_and_the_trail_has_neither(keys: Keys, audit: AuditTrail, database: Engine) -> None:
    made = keys.add(Role.READ, "somebody", TESTER)
    keys.revoke(made.id, TESTER)
    with database.connect() as connection:
        row = connection.execute(select(table)).one()
    digest = sha256(made.key.encode()).hexdigest()
    assert row.sha256 == digest
    for stored in (repr(row), repr(trail(audit))):
        assert made.key[17:] not in stored
    assert digest not in repr(trail(audit))


def test_other_keys_do_not_open(keys: Keys) -> None:
    key = keys.add(Role.READ, "somebody", TESTER).key
    other = keys.add(Role.READ, "somebody else", TESTER).key
    assert keys.caller(key.encode()) is not None
    for wrong in (
        "",
        "x",
        key[:-1],
        key + "A",
        key.upper(),
        key[:16] + other[16:],
        f"rsk_000000000000_{key[17:]}",
        key[:-1] + "\n",
    ):
        assert keys.caller(wrong.encode()) is None
    assert keys.caller(b"\xff" * 60) is None


def test_a_revoked_key_is_worthless_at_once(keys: Keys) -> None:
    made = keys.add(Role.READ, "left", TESTER)
    assert keys.caller(made.key.encode()) is not None
    revoked = keys.revoke(made.id, TESTER)
    assert (revoked.id, revoked.role, revoked.name) == (made.id, Role.READ, "left")
    assert keys.known(made.key.encode()) is None
    assert keys.caller(made.key.encode()) is None
    assert keys.listing()[0].revoked_at == revoked.revoked_at is not None
    with pytest.raises(KeyRevoked, match=made.id):
        keys.revoke(made.id, TESTER)
    with pytest.raises(UnknownKey):
        keys.revoke("x\x00", TESTER)


def test_a_key_revoked_elsewhere_opens_for_a_minute_at_most(keys: Keys, elsewhere: Keys, clock: Clock) -> None:
    made = keys.add(Role.READ, "left", TESTER)
    assert keys.caller(made.key.encode()) is not None
    elsewhere.revoke(made.id, TESTER)
    clock.now += 59.9
    assert keys.caller(made.key.encode()) is not None
    clock.now += 0.1
    assert keys.known(made.key.encode()) is None
    assert keys.caller(made.key.encode()) is None
    assert not keys.remembered(made.key.encode())


def test_a_revocation_that_overtakes_a_lookup_is_not_undone_by_it(keys: Keys, database: Engine) -> None:
    """The lookup has read the valid row; before it remembers that, the key is revoked."""
    made = keys.add(Role.READ, "left", TESTER)
    once = iter([True])

    def revoke_between(*_: object) -> None:
        if next(once, False):
            revoking = threading.Thread(target=keys.revoke, args=(made.id, TESTER))
            revoking.start()
            revoking.join()

    event.listen(database, "checkin", revoke_between)
    assert keys.caller(made.key.encode()) is not None
    assert keys.known(made.key.encode()) is None
    assert keys.caller(made.key.encode()) is None


def test_an_expired_key_is_worthless_to_the_second_even_from_memory(keys: Keys, clock: Clock) -> None:
    expires_at = datetime.fromtimestamp(clock.now + 30, UTC)
    made = keys.add(Role.READ, "guest", TESTER, expires_at.astimezone(timezone(timedelta(hours=-5))))
    assert made.expires_at == keys.listing()[0].expires_at == expires_at
    assert keys.caller(made.key.encode()) is not None
    clock.now += 29.9
    assert keys.known(made.key.encode()) is not None
    clock.now += 0.1
    assert keys.known(made.key.encode()) is None
    assert not keys.remembered(made.key.encode())
    assert keys.caller(made.key.encode()) is None


@pytest.mark.parametrize(
    ("expires_at", "message"),
    [
        (datetime(2030, 1, 1), "has no time zone"),  # noqa: DTZ001 - that is the error
        (datetime(2001, 1, 1, tzinfo=UTC), "within the next 100 years"),
        (datetime.fromtimestamp(Clock().now, UTC), "within the next 100 years"),
        (datetime(9999, 12, 31, 23, tzinfo=timezone(timedelta(hours=-12))), "within the next 100 years"),
    ],
)
def test_expiries_lie_ahead(keys: Keys, expires_at: datetime, message: str) -> None:
    with pytest.raises(InvalidParameter, match=message):
        keys.add(Role.READ, "guest", TESTER, expires_at)
    assert keys.listing() == []


def test_a_known_key_asks_the_database_once_a_minute(keys: Keys, database: Engine, clock: Clock) -> None:
    key = keys.add(Role.READ, "busy", TESTER).key.encode()
    assert keys.known(key) is None
    assert keys.caller(key) is not None
    asked: list[str] = []
    event.listen(database, "before_cursor_execute", lambda _, __, statement, *___: asked.append(statement))
    clock.now += 59
    assert keys.caller(key) == keys.known(key) is not None
    assert asked == []
    clock.now += 1
    assert keys.caller(key) is not None
    assert asked


def test_the_last_use_is_noted_once_a_minute_and_not_from_memory(keys: Keys, elsewhere: Keys, clock: Clock) -> None:
    key = keys.add(Role.READ, "somebody", TESTER).key.encode()
    assert last_used(keys) is None
    begin = datetime.fromtimestamp(clock.now, UTC)
    keys.caller(key)
    assert last_used(keys) == begin
    clock.now += 59
    assert keys.caller(key) is not None
    assert elsewhere.caller(key) is not None
    assert last_used(keys) == begin
    clock.now += 1
    assert keys.caller(key) is not None
    assert last_used(keys) == begin + timedelta(seconds=60)


def test_a_use_that_cannot_be_noted_shuts_nobody_out(keys: Keys, database: Engine) -> None:
    key = keys.add(Role.READ, "somebody", TESTER).key.encode()
    refusal = {
        "sqlite": "CREATE TRIGGER sealed BEFORE UPDATE ON keys BEGIN SELECT RAISE(ABORT, 'sealed'); END",
        "postgresql": "ALTER TABLE keys ADD CONSTRAINT sealed CHECK (last_used_at IS NULL)",
    }
    with database.begin() as connection:
        connection.execute(text(refusal[database.dialect.name]))
    assert keys.caller(key) is not None
    assert last_used(keys) is None


def test_known_keys_open_for_the_grace_while_the_database_is_away(keys: Keys, database: Engine, clock: Clock) -> None:
    known, unknown = (keys.add(Role.READ, "somebody", TESTER).key.encode() for _ in range(2))
    caller = keys.caller(known)
    with away(database):
        with pytest.raises(RecordsUnavailable):
            keys.caller(unknown)
        clock.now += 61
        assert keys.known(known) is None
        assert keys.caller(known) == caller
        assert keys.known(known) == caller, "for some seconds the absent database is not asked again"
        clock.now += 5
        assert keys.known(known) is None
        clock.now += 899 - 61 - 5
        assert keys.caller(known) == caller
        clock.now += 1
        assert keys.known(known) is None
        with pytest.raises(RecordsUnavailable):
            keys.caller(known)
    assert keys.caller(known) == caller


def test_an_expiry_counts_while_the_database_is_away(keys: Keys, database: Engine, clock: Clock) -> None:
    expires_at = datetime.fromtimestamp(clock.now + 120, UTC)
    key = keys.add(Role.READ, "guest", TESTER, expires_at).key.encode()
    assert keys.caller(key) is not None
    with away(database):
        clock.now += 119
        assert keys.caller(key) is not None
        clock.now += 1
        with pytest.raises(RecordsUnavailable):
            keys.caller(key)
    assert keys.caller(key) is None


def test_a_key_revoked_meanwhile_gets_no_grace_afterwards(
    keys: Keys, elsewhere: Keys, database: Engine, clock: Clock
) -> None:
    made = keys.add(Role.READ, "left", TESTER)
    assert keys.caller(made.key.encode()) is not None
    elsewhere.revoke(made.id, TESTER)
    clock.now += 60
    assert keys.caller(made.key.encode()) is None
    with away(database), pytest.raises(RecordsUnavailable):
        keys.caller(made.key.encode())


def test_a_clock_set_back_makes_nobody_known_for_longer(keys: Keys, elsewhere: Keys, clock: Clock) -> None:
    made = keys.add(Role.READ, "left", TESTER)
    assert keys.caller(made.key.encode()) is not None
    elsewhere.revoke(made.id, TESTER)
    clock.now -= 3600
    assert keys.known(made.key.encode()) is None
    assert keys.caller(made.key.encode()) is None


def test_as_many_verdicts_are_kept_as_fit_and_those_used_last() -> None:
    def verdict(number: int) -> CachedKey:
        return CachedKey(Caller(str(number), Role.READ, "x"), None, 0, 60)

    verdicts = KeyCache(900)
    for number in range(SIZE):
        verdicts.keep(str(number), verdict(number), verdicts.revocations)
    assert verdicts.find("0", 1) == verdict(0)
    verdicts.keep("one more", verdict(-1), verdicts.revocations)
    assert verdicts.find("0", 1) == verdict(0)
    assert verdicts.find("1", 1) is None
    assert verdicts.find("one more", 1) == verdict(-1)


def test_many_threads_agree(keys: Keys) -> None:
    """While 4 threads ask for 8 keys, half of them are revoked: those never open again, the others always do."""
    made = [keys.add(Role.READ, f"machine {number}", TESTER) for number in range(8)]
    staying, leaving = made[:4], made[4:]
    gone = threading.Event()
    errors: list[str] = []

    def ask(_: int) -> None:
        last_round = False
        while not last_round:
            last_round = gone.is_set()
            errors.extend(key.name for key in staying if keys.caller(key.key.encode()) is None)
            found = [keys.caller(key.key.encode()) for key in leaving]
            if last_round:
                errors.extend(caller.name for caller in found if caller)

    with ThreadPoolExecutor(4) as pool:
        asking = [pool.submit(ask, number) for number in range(4)]
        try:
            for key in leaving:
                keys.revoke(key.id, TESTER)
        finally:
            gone.set()
        for each in asking:
            each.result(60)
    assert errors == []


def test_making_and_revoking_are_audited(keys: Keys, audit: AuditTrail, clock: Clock) -> None:
    made = keys.add(Role.REVIEW, "Ada", Actor("Grace (0123456789ab)", "192.0.2.1"))
    keys.revoke(made.id, Actor("shell:root"))
    created, revoked = trail(audit)
    after = {"role": "review", "name": "Ada", "expires_at": None, "revoked_at": None}
    assert (created.who, created.address, created.action, created.subject) == (
        "Grace (0123456789ab)",
        "192.0.2.1",
        "key.create",
        made.id,
    )
    assert (created.before, json.loads(created.after or "")) == (None, after)
    assert (revoked.who, revoked.action, revoked.subject) == ("shell:root", "key.revoke", made.id)
    assert json.loads(revoked.before or "") == after
    at = datetime.fromtimestamp(clock.now, UTC).isoformat()
    assert json.loads(revoked.after or "") == after | {"revoked_at": at}
    assert audit.verify().broken is None


def test_what_cannot_be_audited_does_not_happen(keys: Keys, audit: AuditTrail, database: Engine) -> None:
    made = keys.add(Role.READ, "stays", TESTER)
    before = keys.listing()
    with database.begin() as connection:
        connection.execute(text("ALTER TABLE audit RENAME TO away"))
    with pytest.raises(RecordsUnavailable):
        keys.add(Role.READ, "unseen", TESTER)
    with pytest.raises(RecordsUnavailable):
        keys.revoke(made.id, TESTER)
    assert keys.listing() == before
    assert keys.caller(made.key.encode()) is not None


def test_the_last_admin_that_can_get_in_stays(keys: Keys, audit: AuditTrail, database: Engine, clock: Clock) -> None:
    first = keys.add(Role.ADMIN, "first", TESTER)
    keys.add(Role.READ, "no admin", TESTER)
    guest = keys.add(Role.ADMIN, "guest", TESTER, datetime.fromtimestamp(clock.now + 60, UTC))
    clock.now += 60
    with pytest.raises(LastAdminKey, match=first.id):
        keys.revoke(first.id, TESTER)
    assert keys.caller(first.key.encode()) is not None
    keys.revoke(guest.id, TESTER)  # it opens nothing, so nothing is lost
    second = keys.add(Role.ADMIN, "second", TESTER)
    keys.revoke(first.id, TESTER)
    with pytest.raises(LastAdminKey):
        keys.revoke(second.id, TESTER)
    Keys(database, audit, own_key="x" * 32, clock=clock).revoke(second.id, TESTER)


def test_two_admins_who_revoke_each_other_leave_one(keys: Keys, elsewhere: Keys) -> None:
    made = [keys.add(Role.ADMIN, f"admin {number}", TESTER) for number in range(2)]
    start = threading.Barrier(2)

    def revoke(server: Keys, key: KeyEntry) -> bool:
        start.wait(30)
        try:
            server.revoke(key.id, TESTER)
        except LastAdminKey:
            return False
        return True

    with ThreadPoolExecutor(2) as pool:
        done = list(pool.map(revoke, (keys, elsewhere), made))
    assert sorted(done) == [False, True]
    assert sum(entry.revoked_at is None for entry in keys.listing()) == 1


def test_the_administrators_own_key_opens_and_is_never_stored(
    audit: AuditTrail, database: Engine, clock: Clock, tmp_path: Path
) -> None:
    own = "ein Schlüssel mit Umlaut und Leerzeichen"
    keys = Keys(database, audit, own, clock=clock)
    assert keys.caller(own.encode()) == Caller(OWN_KEY_ID, Role.ADMIN, "settings")
    assert keys.known(own.encode()) is not None
    assert keys.caller(own.encode() + b"x") is None
    clock.now += 10_000
    with away(database):
        assert keys.caller(own.encode()) is not None
    assert keys.ensure_admin(tmp_path) is None
    assert not (tmp_path / "admin.key").exists()
    assert (keys.listing(), trail(audit)) == ([], [])


def test_the_first_admin_key_is_written_for_its_owner_only(keys: Keys, audit: AuditTrail, tmp_path: Path) -> None:
    file = keys.ensure_admin(tmp_path)
    assert file == tmp_path / "admin.key"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    caller = keys.caller(file.read_bytes().strip())
    assert caller is not None
    assert caller.role is Role.ADMIN
    assert keys.ensure_admin(tmp_path) is None
    assert [path.name for path in tmp_path.iterdir() if "admin" in path.name] == ["admin.key"]
    [entry] = trail(audit)
    assert (entry.who, entry.action, entry.subject) == ("rosette", "key.create", caller.key_id)


def test_a_start_that_was_killed_after_writing_the_file_is_completed(keys: Keys, tmp_path: Path) -> None:
    file = tmp_path / "admin.key"
    file.write_text("rsk_0123456789ab_" + "A" * 43 + "\n")
    assert keys.ensure_admin(tmp_path) == file
    assert keys.caller(file.read_bytes().strip()) == Caller("0123456789ab", Role.ADMIN, "first admin key")


def test_a_file_that_holds_something_else_is_left_alone(keys: Keys, audit: AuditTrail, tmp_path: Path) -> None:
    (tmp_path / "admin.key").write_text("a diary")
    with pytest.raises(ValueError, match="contains no Rosette key"):
        keys.ensure_admin(tmp_path)
    assert (keys.listing(), trail(audit)) == ([], [])
    assert (tmp_path / "admin.key").read_text() == "a diary"

"""Wrong keys are rate-limited per client, also behind proxies."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from threading import Event

import httpx
import pytest
from pydantic import ValidationError
from sqlalchemy import Engine, event
from starlette.types import Message, Receive, Scope, Send

from app.access import lookup
from app.access.address import client_address, neighbourhood
from app.access.caller import Role
from app.access.gate import Gate
from app.access.keys import Keys
from app.access.lookup import Lookup
from app.access.sessions import Session, Sessions
from app.access.throttle import SIZE, FailedTries
from app.problem_response import response_of
from app.problems import RecordsUnavailable, TooManyTries
from app.records.audit import AuditTrail
from app.records.database import open_database
from app.records.migrations import migrate
from app.settings import Settings
from tests.app.conftest import TESTER, Clock, RunningServer, assert_problem

WRONG = "rsk_000000000000_" + "A" * 43


def waits(tries: FailedTries, address: str) -> str | None:
    """The seconds that a client must wait, None if it need not."""
    try:
        tries.check(address)
    except TooManyTries as problem:
        return problem.headers["Retry-After"]
    return None


def test_ten_tries_at_once_and_then_one_every_six_seconds() -> None:
    clock = Clock()
    tries = FailedTries(10, clock)
    for _ in range(10):
        assert waits(tries, "192.0.2.1") is None
        tries.count("192.0.2.1")
    assert waits(tries, "192.0.2.1") == "6"
    clock.now += 5.5
    assert waits(tries, "192.0.2.1") == "1"
    clock.now += 0.5
    assert waits(tries, "192.0.2.1") is None
    tries.count("192.0.2.1")
    assert waits(tries, "192.0.2.1") == "6"


def test_a_bucket_fills_up_again_and_no_further() -> None:
    clock = Clock()
    tries = FailedTries(2, clock)
    for _ in range(2):
        tries.count("192.0.2.1")
    clock.now += 3600
    for _ in range(2):
        assert waits(tries, "192.0.2.1") is None
        tries.count("192.0.2.1")
    assert waits(tries, "192.0.2.1") == "6"


def test_every_client_has_a_bucket_and_an_ipv6_client_is_a_network() -> None:
    tries = FailedTries(1, Clock())
    tries.count("192.0.2.1")
    tries.count("2001:db8:0:1::1")
    assert waits(tries, "192.0.2.1") == "6"
    assert waits(tries, "192.0.2.2") is None
    assert waits(tries, "2001:db8:0:1:ffff::2") == "6"
    assert waits(tries, "2001:db8:0:2::1") is None


def test_as_many_clients_are_remembered_as_fit() -> None:
    tries = FailedTries(1, Clock())
    tries.count("192.0.2.1")
    for number in range(SIZE - 1):
        tries.count(f"10.0.{number // 256}.{number % 256}")
    assert waits(tries, "192.0.2.1") == "6"
    tries.count("192.0.2.2")
    assert waits(tries, "192.0.2.1") is None
    assert waits(tries, "192.0.2.2") == "6"


@pytest.mark.parametrize(
    ("client", "address"),
    [
        (("192.0.2.1", 1), "192.0.2.1"),
        (("::ffff:192.0.2.1", 1), "192.0.2.1"),
        (("2001:DB8:0::1", 1), "2001:db8::1"),
        (("fe80::1%" + "x" * 200, 1), "fe80::1"),
        (("<script>", 1), "unknown"),
        (("", 0), "unknown"),
        (None, "unknown"),
    ],
)
def test_addresses_are_addresses(client: tuple[str, int] | None, address: str) -> None:
    assert client_address({"type": "http", "client": client}) == address
    assert neighbourhood(address)


@pytest.fixture
def keys(database: Engine, clock: Clock) -> Keys:
    migrate(database)
    return Keys(database, AuditTrail(database), clock=clock)


@pytest.fixture
def gate(keys: Keys, clock: Clock, database: Engine) -> Gate:
    sessions = Sessions(database, keys, AuditTrail(database), idle_s=1800, clock=clock)
    return Gate(
        _empty,
        Lookup(keys, FailedTries(3, clock), sessions),
        open_paths=["/open"],
        is_page=lambda path: path == "/page",
        page_refused=lambda _, problem: response_of(problem),
        bodies=1,
    )


async def _empty(_: Scope, __: Receive, send: Send) -> None:
    await send({"type": "http.response.start", "status": 204, "headers": []})
    await send({"type": "http.response.body"})


@pytest.fixture
def statements(database: Engine) -> list[str]:
    """Every statement that reaches the database."""
    seen: list[str] = []
    event.listen(database, "before_cursor_execute", lambda _, __, statement, *___: seen.append(statement))
    return seen


def ask(gate: Gate, key: str | None, address: str = "192.0.2.1", path: str = "/") -> httpx.Response:
    async def request() -> httpx.Response:
        transport = httpx.ASGITransport(gate, client=(address, 1))
        headers = {} if key is None else {"Authorization": f"Bearer {key}"}
        async with httpx.AsyncClient(transport=transport) as client:
            return await client.get(f"http://x{path}", headers=headers)

    return asyncio.run(request())


def test_beyond_the_burst_nothing_is_looked_up(
    gate: Gate, keys: Keys, clock: Clock, database: Engine, statements: list[str]
) -> None:
    good = keys.add(Role.READ, "somebody", TESTER).key
    for _ in range(3):
        assert_problem(ask(gate, WRONG), 401, "unauthorized")
    statements.clear()
    for key in (WRONG, good):
        response = ask(gate, key)
        assert_problem(response, 429, "too-many-tries")
        assert response.headers["retry-after"] == "6"
    assert statements == []
    assert ask(gate, None, path="/open").status_code == 204
    assert ask(gate, good, address="192.0.2.2").status_code == 204
    assert ask(gate, good).status_code == 204, "a key that is known passes from everywhere"
    clock.now += 6
    assert_problem(ask(gate, WRONG), 401, "unauthorized")
    assert_problem(ask(gate, WRONG), 429, "too-many-tries")


def test_right_keys_and_missing_ones_take_no_tokens(gate: Gate, keys: Keys, clock: Clock) -> None:
    good = keys.add(Role.READ, "somebody", TESTER).key
    for _ in range(5):
        assert ask(gate, good).status_code == 204
        assert_problem(ask(gate, None), 401, "unauthorized")
        clock.now += 61  # so that the next one is looked up again
    for _ in range(3):
        assert_problem(ask(gate, WRONG), 401, "unauthorized")
    assert_problem(ask(gate, WRONG), 429, "too-many-tries")


def test_a_key_that_was_known_lately_is_no_guess(gate: Gate, keys: Keys, clock: Clock) -> None:
    """Otherwise one attacker behind the clinic's own address could lock everybody out."""
    made = keys.add(Role.READ, "somebody", TESTER)
    assert ask(gate, made.key).status_code == 204
    clock.now += 899
    for _ in range(3):
        ask(gate, WRONG)
    assert_problem(ask(gate, WRONG), 429, "too-many-tries")
    assert ask(gate, made.key).status_code == 204
    keys.revoke(made.id, TESTER)
    assert_problem(ask(gate, made.key), 429, "too-many-tries")


def test_tries_at_the_same_time_are_not_looked_up_either(gate: Gate, statements: list[str]) -> None:
    """Of many at once, at most the burst and those that were already being looked up reach the database."""

    async def together() -> list[int]:
        transport = httpx.ASGITransport(gate, client=("192.0.2.1", 1))
        async with httpx.AsyncClient(transport=transport, headers={"Authorization": f"Bearer {WRONG}"}) as client:
            return [each.status_code for each in await asyncio.gather(*[client.get("http://x/") for _ in range(40)])]

    statements.clear()
    found = asyncio.run(together())
    assert set(found) == {401, 429}
    looked_up = sum("FROM keys" in statement for statement in statements)
    assert found.count(401) == looked_up
    assert 3 <= looked_up <= 6


def test_a_known_key_is_answered_without_leaving_the_event_loop(gate: Gate, keys: Keys) -> None:
    """Driven by hand, without an event loop: whatever waited for a thread would raise."""
    good = keys.add(Role.READ, "somebody", TESTER).key
    assert ask(gate, good).status_code == 204
    sent: list[Message] = []

    async def send(message: Message) -> None:
        sent.append(message)

    async def receive() -> Message:
        raise AssertionError("nothing is read")

    headers = [(b"authorization", f"Bearer {good}".encode())]
    scope: Scope = {"type": "http", "method": "GET", "path": "/", "headers": headers, "client": ("2001:db8::1", 1)}
    with pytest.raises(StopIteration):
        gate(scope, receive, send).send(None)
    assert sent[0]["status"] == 204
    assert scope["state"]["caller"].actor.who == f"somebody ({good[4:16]})"
    assert scope["state"]["caller"].actor.address == "2001:db8::1"


@pytest.fixture(scope="module")
def strict(tmp_path_factory: pytest.TempPathFactory, artifact_path: Path) -> Iterator[RunningServer]:
    """A server that stands behind a proxy on this machine, and behind another one."""
    settings = {"failed_tries": 2, "trusted_proxies": "127.0.0.1, 198.51.100.0/24"}
    with RunningServer(tmp_path_factory.mktemp("home"), artifact_path, **settings) as running:
        yield running


def try_wrong_key(server: RunningServer, *forwarded: str) -> httpx.Response:
    headers = [("Authorization", f"Bearer {WRONG}"), *(("X-Forwarded-For", value) for value in forwarded)]
    return httpx.get(f"{server.url}/predictions", headers=headers)


@pytest.mark.parametrize(
    ("forwarded", "address"),
    [
        (["203.0.113.1"], "203.0.113.1"),
        (["10.1.1.1, 203.0.113.2"], "203.0.113.2"),
        (["10.1.1.1, 203.0.113.3, 198.51.100.7"], "203.0.113.3"),
        (["10.1.1.1", "203.0.113.4"], "203.0.113.4"),
        (["203.0.113.5:4711"], "203.0.113.5"),
        (["[2001:db8::5]:4711"], "2001:db8::5"),
        (["10.1.1.1, " + "x" * 200], "unknown"),
        ([], "127.0.0.1"),
    ],
)
def test_behind_a_proxy_the_rightmost_untrusted_address_counts(
    strict: RunningServer, forwarded: list[str], address: str
) -> None:
    headers = [("Authorization", f"Bearer {strict.key}"), *(("X-Forwarded-For", value) for value in forwarded)]
    body = {"role": "predict", "name": f"made from {address}"}
    response = httpx.post(f"{strict.url}/admin/keys", json=body, headers=headers)
    assert response.status_code == 201
    [entry] = [each for each in strict.services.audit.page(200).entries if each.subject == response.json()["id"]]
    assert (entry.action, entry.address) == ("key.create", address)


def test_clients_behind_a_proxy_are_slowed_one_by_one(strict: RunningServer) -> None:
    for number in range(2):
        assert_problem(try_wrong_key(strict, f"10.1.1.{number}, 203.0.113.77"), 401, "unauthorized")
    slowed = try_wrong_key(strict, "10.1.1.9, 203.0.113.77")
    assert_problem(slowed, 429, "too-many-tries")
    assert 1 <= int(slowed.headers["retry-after"]) <= 6
    assert_problem(try_wrong_key(strict, "203.0.113.78"), 401, "unauthorized")
    assert strict.client.get("/predictions").status_code == 200


@pytest.mark.parametrize("proxies", ["*", "proxy.example", "10.0.0.1/8", "10.0.0.1,", "10.0.0.0/33"])
def test_proxies_are_addresses_or_networks(proxies: str) -> None:
    with pytest.raises(ValidationError, match="trusted_proxies"):
        Settings(trusted_proxies=proxies)


def test_a_forwarded_address_from_anybody_else_is_ignored(tmp_path: Path, artifact_path: Path) -> None:
    settings = {"failed_tries": 2, "trusted_proxies": "198.51.100.7"}
    with RunningServer(tmp_path, artifact_path, **settings) as running:
        for number in range(2):
            assert_problem(try_wrong_key(running, f"203.0.113.{number}"), 401, "unauthorized")
        assert_problem(try_wrong_key(running, "203.0.113.99"), 429, "too-many-tries")


class HangingSessions(Sessions):
    """Sessions whose database answers when it is told to."""

    answers = Event()

    def find(self, token: str) -> Session | None:
        self.answers.wait(60)
        return None


def test_a_query_that_hangs_while_the_server_stops_is_not_complained_of(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(lookup, "PATIENCE_S", 0.01)
    engine = open_database(f"sqlite:///{tmp_path / 'a.db'}")
    keys = Keys(engine, AuditTrail(engine))
    sessions = HangingSessions(engine, keys, AuditTrail(engine), idle_s=1800)

    async def asks() -> None:
        with pytest.raises(RecordsUnavailable, match="the session cannot be checked"):
            await Lookup(keys, FailedTries(1, Clock()), sessions).session("token", "::1")

    try:
        asyncio.run(asks())
    finally:
        sessions.answers.set()
        engine.dispose()
    assert "Exception in callback" not in caplog.text

"""Limits of bytes, time, headers and waiting requests, through raw sockets."""

from __future__ import annotations

import json
import logging
import select
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import httpx
import pytest

from app import protocol as protocol_module
from app.threads import Threads
from tests.app.conftest import RunningServer, all_at_work, assert_problem

PNG = {"Content-Type": "image/png"}
MEBIBYTE = 2**20


@contextmanager
def connected(server: RunningServer) -> Iterator[socket.socket]:
    with socket.create_connection(("127.0.0.1", server.port), timeout=120) as connection:
        yield connection


def head(server: RunningServer, *headers: str, key: str | None = None, path: str = "/predict") -> bytes:
    lines = [
        f"POST {path} HTTP/1.1",
        "Host: x",
        f"Authorization: Bearer {key or server.key}",
        "Content-Type: image/png",
    ]
    return ("\r\n".join([*lines, *headers]) + "\r\n\r\n").encode()


def response_of(connection: socket.socket) -> tuple[int, str, dict[str, object]]:
    """Status, head and JSON body of a response after which the server closes the connection."""
    received = b""
    try:
        while chunk := connection.recv(65536):
            received += chunk
    except ConnectionResetError:
        pass
    top, _, body = received.partition(b"\r\n\r\n")
    return int(top.split()[1]), top.decode().lower(), json.loads(body)


def next_response(connection: socket.socket) -> bytes:
    """One whole response of a connection that stays open."""
    received = b""
    while b"\r\n\r\n" not in received:
        received += connection.recv(4096)
    top, _, body = received.partition(b"\r\n\r\n")
    length = int(top.lower().partition(b"content-length:")[2].split()[0])
    while len(body) < length:
        body += connection.recv(4096)
    return top + body


def pour(connection: socket.socket, size: int) -> None:
    """Send a body of zeros until it is all sent or the other side has had enough."""
    try:
        for _ in range(size // 65536):
            connection.sendall(bytes(65536))
    except OSError:  # refused, or closed by the test
        pass


@pytest.fixture
def bytes_read(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Every read of the server from a socket, in bytes; the server's own code runs unchanged."""
    reads: list[int] = []
    original = protocol_module.PatientProtocol.buffer_updated

    def counted(protocol: protocol_module.PatientProtocol, nbytes: int) -> None:
        reads.append(nbytes)
        original(protocol, nbytes)

    monkeypatch.setattr(protocol_module.PatientProtocol, "buffer_updated", counted)
    return reads


REFUSED = [
    ("wrong", "/predict", 401),
    ("rsk_000000000000_" + "A" * 43, "/predict", 401),
    (None, "/predict?x=1", 422),
    (None, "/nope", 404),
    (None, "/predictions", 405),
]
LENGTH = f"Content-Length: {64 * MEBIBYTE}"


@pytest.mark.parametrize(
    ("key", "path", "status", "announce"),
    [(*refused, announce) for refused in REFUSED for announce in (LENGTH, "Transfer-Encoding: chunked")]
    + [(None, "/predict", 413, LENGTH)],
)
def test_at_most_64_kib_of_a_refused_64_mib_body_are_read(
    server: RunningServer, bytes_read: list[int], key: str | None, path: str, status: int, announce: str
) -> None:
    with connected(server) as connection:
        connection.sendall(head(server, announce, key=key, path=path))
        if "chunked" in announce:
            connection.sendall(b"%x\r\n" % (64 * MEBIBYTE))
        sender = threading.Thread(target=pour, args=(connection, 64 * MEBIBYTE))
        sender.start()
        found, top, problem = response_of(connection)
        connection.close()
        sender.join()
    assert (found, problem["status"]) == (status, status)
    assert "connection: close" in top
    assert 0 < sum(bytes_read) <= 64 * 1024


def test_a_chunked_body_is_cut_off_at_the_bound(server: RunningServer, bytes_read: list[int]) -> None:
    with connected(server) as connection:
        connection.sendall(head(server, "Transfer-Encoding: chunked") + b"%x\r\n" % (64 * MEBIBYTE))
        sender = threading.Thread(target=pour, args=(connection, 64 * MEBIBYTE))
        sender.start()
        status, top, problem = response_of(connection)
        connection.close()
        sender.join()
    assert (status, problem["type"]) == (413, "/problems/body-too-large")
    assert "connection: close" in top
    assert 0 < sum(bytes_read) <= MEBIBYTE + 2 * 65536


def test_a_body_of_10_mb_is_refused_before_it_is_read(server: RunningServer, bytes_read: list[int]) -> None:
    with connected(server) as connection:
        connection.sendall(head(server, "Content-Length: 10000000"))
        status, _, problem = response_of(connection)
    assert (status, problem["type"]) == (413, "/problems/body-too-large")
    assert 0 < sum(bytes_read) < 1024


@pytest.mark.parametrize(
    ("header", "status"),
    [
        pytest.param(LENGTH, 413, id="refused-body"),
        pytest.param("Content-Length: -1", 400, id="malformed"),
        pytest.param("X: " + "x" * 100_000, 431, id="headers"),
    ],
)
def test_who_is_still_sending_when_refused_is_not_cut_off_from_the_answer(
    server: RunningServer, header: str, status: int
) -> None:
    """As a proxy does that writes and reads at once: an error in writing makes it forget the answer."""
    with connected(server) as connection:
        connection.sendall(head(server, header))
        select.select([connection], [], [], 20)  # the answer is there, and not yet read
        for _ in range(3):
            connection.sendall(bytes(1024))
        received = b"".join(iter(partial(connection.recv, 65536), b""))
    assert received.startswith(f"HTTP/1.1 {status} ".encode())
    assert json.loads(received.partition(b"\r\n\r\n")[2])["status"] == status


def test_who_keeps_sending_when_refused_is_cut_off_in_the_end(server: RunningServer) -> None:
    with connected(server) as connection:
        connection.sendall(head(server, LENGTH))
        with pytest.raises(OSError, match=r"(?i)reset|broken pipe"):
            connection.sendall(bytes(64 * MEBIBYTE))


def test_whoever_waits_for_permission_gets_it_only_with_a_key(server: RunningServer, png: bytes) -> None:
    expect = ("Expect: 100-continue", f"Content-Length: {len(png)}", "Connection: close")
    with connected(server) as connection:
        connection.sendall(head(server, *expect, key="wrong"))
        assert response_of(connection)[0] == 401
    with connected(server) as connection:
        connection.sendall(head(server, *expect))
        assert connection.recv(1024).startswith(b"HTTP/1.1 100 ")
        connection.sendall(png)
        assert response_of(connection)[0] == 200


def test_a_connection_serves_many_requests_after_a_refusal_without_body(server: RunningServer, png: bytes) -> None:
    with connected(server) as connection:
        for _ in range(3):
            connection.sendall(b"GET /predictions HTTP/1.1\r\nHost: x\r\n\r\n")
            assert next_response(connection).startswith(b"HTTP/1.1 401")
        connection.sendall(head(server, f"Content-Length: {len(png)}", "Connection: close") + png)
        assert response_of(connection)[0] == 200


def test_pipelined_requests_are_answered_in_order(server: RunningServer, png: bytes) -> None:
    request = head(server, f"Content-Length: {len(png)}", path="/predict?rotations=none") + png
    last = b"GET /livez HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
    with connected(server) as connection:
        connection.sendall(request + request + last)
        received = b""
        while chunk := connection.recv(65536):
            received += chunk
    assert received.count(b"HTTP/1.1 200 OK") == 3
    assert received.endswith(b'{"status":"alive"}')


@pytest.fixture(scope="module")
def hasty(tmp_path_factory: pytest.TempPathFactory, artifact_path: Path) -> Iterator[RunningServer]:
    """A server with short patience, one worker and no queue."""
    settings = {"body_timeout_s": 0.5, "header_timeout_s": 0.5, "inference_processes": 1, "queue": 0, "uploads": 2}
    with RunningServer(tmp_path_factory.mktemp("home"), artifact_path, **settings) as running:
        yield running


def test_a_body_that_trickles_is_given_up(hasty: RunningServer) -> None:
    with connected(hasty) as connection:
        connection.sendall(head(hasty, "Content-Length: 1000"))
        stop = threading.Event()

        def trickle() -> None:
            while not stop.wait(0.05):
                try:
                    connection.sendall(b"x")
                except OSError:
                    return

        trickling = threading.Thread(target=trickle)
        trickling.start()
        status, top, problem = response_of(connection)
        stop.set()
        trickling.join()
    assert (status, problem["type"]) == (408, "/problems/body-too-slow")
    assert "connection: close" in top


@pytest.mark.parametrize("sent", [b"", b"GET /livez HTTP/1.1\r\nHost"])
def test_headers_that_do_not_arrive_are_given_up(hasty: RunningServer, sent: bytes) -> None:
    with connected(hasty) as connection:
        connection.sendall(sent)
        assert connection.recv(1024) == b""


def test_headers_of_a_later_request_must_arrive_too(hasty: RunningServer) -> None:
    with connected(hasty) as connection:
        connection.sendall(b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n")
        assert next_response(connection).endswith(b'{"status":"alive"}')
        connection.sendall(b"GET /livez HTTP/1.1\r\nHost")
        assert connection.recv(1024) == b""


def test_an_upload_that_breaks_off_does_no_harm(server: RunningServer) -> None:
    before = server.recorded()
    with connected(server) as connection:
        connection.sendall(head(server, "Content-Length: 1000") + b"x" * 500)
    assert server.client.get("/livez").status_code == 200
    assert server.recorded() == before


@pytest.mark.parametrize(
    ("request_bytes", "status", "slug"),
    [
        (b"GET / HTTP/1.1\r\nHost: x\r\nX: " + b"x" * 100_000 + b"\r\n\r\n", 431, "headers-too-large"),
        (b"nonsense\r\n\r\n", 400, "malformed-request"),
        (b"GET / HTTP/1.1\r\n\r\n", 400, "malformed-request"),
        (b"GET /livez\r\n\r\n", 400, "malformed-request"),
        (b"GET / HTTP/1.1\r\nHost: x\r\nA: \x00\r\n\r\n", 400, "malformed-request"),
        (b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n", 400, "malformed-request"),
        (b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n", 400, "malformed-request"),
    ],
)
def test_what_is_not_http_is_a_problem_too(server: RunningServer, request_bytes: bytes, status: int, slug: str) -> None:
    with connected(server) as connection:
        connection.sendall(request_bytes)
        found, top, problem = response_of(connection)
    assert (found, problem["type"]) == (status, f"/problems/{slug}")
    assert "content-type: application/problem+json" in top


def test_what_does_not_fit_is_refused_at_once(
    hasty: RunningServer, png: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    """One process, no queue: while it is at work, the next request is told to come again."""
    with all_at_work(hasty, png):
        response = hasty.client.post("/predict", content=png, headers=PNG)
        assert_problem(response, 503, "busy")
        assert response.headers["retry-after"] == "1"
        assert response.headers["connection"] == "close"
        with caplog.at_level(logging.DEBUG, "rosette.access"):
            without_key = httpx.post(f"{hasty.url}/predict", content=png, headers=PNG)
            assert httpx.get(f"{hasty.url}/livez").status_code == 200  # by then the line before is written
        assert_problem(without_key, 503, "busy")
        [line] = [record for record in caplog.records if record.getMessage().startswith("POST /predict 503 in")]
        assert line.levelno == logging.DEBUG, "in overload there would be a thousand lines a second"
        assert httpx.get(f"{hasty.url}/readyz").status_code == 200
    assert hasty.client.post("/predict", content=png, headers=PNG).status_code == 200


def test_bodies_in_flight_are_bounded(hasty: RunningServer, png: bytes) -> None:
    """Two uploads hang; a third is refused, a request without a body is not; then there is room again."""
    with connected(hasty) as first, connected(hasty) as second:
        for connection in (first, second):
            connection.sendall(head(hasty, "Content-Length: 1000", "Expect: 100-continue"))
            assert connection.recv(1024).startswith(b"HTTP/1.1 100 ")
        response = hasty.client.post("/predict", content=png, headers=PNG)
        assert_problem(response, 503, "busy")
        assert response.headers["connection"] == "close"
        assert hasty.client.get("/predictions").status_code == 200
        for connection in (first, second):
            assert response_of(connection)[0] == 408
    assert hasty.client.post("/predict", content=png, headers=PNG).status_code == 200


def test_a_failed_call_gives_its_place_back() -> None:
    import asyncio

    threads = Threads(1, queue=0, deadline_s=10, name="test")

    async def fail_twice() -> None:
        for _ in range(2):
            with pytest.raises(ZeroDivisionError):
                await threads.run(lambda: 1 // 0)

    threads.start()
    asyncio.run(fail_twice())
    assert asyncio.run(threads.run(lambda: 3)) == 3
    threads.stop()

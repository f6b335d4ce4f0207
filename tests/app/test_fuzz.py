"""For any request, the server answers as documented, continues to run and does not grow.

The routes from their own description, and HTTP itself from sockets.
"""

from __future__ import annotations

import random
import re
import socket
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import httpx
import pytest
import requests
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from schemathesis import Case, GenerationMode
from schemathesis.checks import load_all_checks
from schemathesis.core.failures import FailureGroup
from schemathesis.core.result import Ok
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    negative_data_rejection,
    response_schema_conformance,
    status_code_conformance,
)

from app.api.body import MULTIPART
from model_zoo.synthetic import synthetic_patch
from tests.app.conftest import encoded
from tests.app.mutations import ANY, seeds
from tests.conftest import shipped_artifact
from tests.processes import KEY, Server, memory_kb, serving
from tests.scale import scaled

pytestmark = pytest.mark.soak

load_all_checks()
schemathesis.openapi.format("binary", st.sampled_from(seeds()) | st.binary(max_size=100))
CHECKS = [status_code_conformance, content_type_conformance, response_schema_conformance]
# A server whose database and model are well says no other 5xx to one client that asks one thing at a time.
TOLERATED = ("/problems/busy", "/problems/vetting-unavailable")
UNROUTED = ("/problems/not-found", "/problems/method-not-allowed")  # the path was spoilt: no request to the route
POSITIVE, NEGATIVE = GenerationMode.POSITIVE, GenerationMode.NEGATIVE
GROWTH = 1.5
FORMS, REQUESTS, CONNECTIONS = scaled(300, 1200), scaled(300, 1000), 32


@pytest.fixture
def server(tmp_path: Path, artifact_path: Path, database_url: str) -> Iterator[Server]:
    given = {"ROSETTE_DATABASE_URL": database_url, "ROSETTE_ADMIN_KEY": KEY, "ROSETTE_FAILED_TRIES": "1000000"}
    given |= {
        "ROSETTE_STORE_PATCHES": "true",
        "ROSETTE_LOG_LEVEL": "error",
        "ROSETTE_HEADER_TIMEOUT_S": "2",
        "ROSETTE_BODY_TIMEOUT_S": "2",
    }
    with serving(tmp_path / "home", artifact_path, **given) as server:
        server.wait_until_it_listens()
        yield server


@pytest.fixture
def client(server: Server) -> Iterator[httpx.Client]:
    headers = {"Authorization": f"Bearer {KEY}"}
    with httpx.Client(base_url=server.url or "", headers=headers, timeout=120, trust_env=False) as client:
        yield client


def ask(client: httpx.Client) -> dict[str, Any]:
    response = client.post(
        "/predict?rotations=none",
        content=encoded(synthetic_patch("tumour", 7)),
        headers={"Content-Type": "image/png"},
    )
    assert response.status_code == 200, response.text
    answer: dict[str, Any] = response.json()
    return answer


@contextmanager
def unharmed(server: Server, client: httpx.Client) -> Iterator[dict[str, Any]]:
    """Before and after the block a patch has the same logits; the block does not make the server grow."""
    before = ask(client)
    resident = memory_kb(server.process.pid, "Pss_Anon")
    yield before
    assert server.process.poll() is None
    assert ask(client)["logits"] == before["logits"]
    assert memory_kb(server.process.pid, "Pss_Anon") < GROWTH * resident


def check(case: Case[Any], url: str, key: str, session: requests.Session, seen: Counter[int]) -> None:
    response = case.call(base_url=url, session=session, headers={"Authorization": f"Bearer {key}"}, timeout=120)
    seen[response.status_code] += 1
    if response.status_code >= 500:
        assert response.json()["type"] in TOLERATED, response.text
    elif response.status_code not in (404, 405) or response.json()["type"] not in UNROUTED:
        # What was spoilt may be whole again where a path's parameter is replaced, or a query's, an empty list, is not
        # sent; a batch names what is no image.
        sent = {name for name, _ in parse_qsl(urlsplit(str(response.request.url)).query, keep_blank_values=True)}
        whole = "{" in case.path or not set(case.query) <= sent
        rejects = () if whole or case.path == "/predict/batch" else (negative_data_rejection,)
        case.validate_response(response, checks=[*CHECKS, *rejects])
    if "unexpected" in case.query:
        assert response.status_code in (403, 422), response.text


@pytest.mark.parametrize(
    ("database_url", "role"),
    [
        pytest.param("sqlite", "admin", marks=pytest.mark.nightly),
        ("postgresql", "admin"),
        ("sqlite", "predict"),
        pytest.param("postgresql", "predict", marks=pytest.mark.nightly),  # to whom most routes are closed
    ],
    indirect=["database_url"],
)
def test_every_route_answers_as_it_is_described(server: Server, client: httpx.Client, role: str) -> None:
    url = server.url or ""
    made = client.post("/admin/keys", json={"role": "predict", "name": "fuzzer"}).json()
    key = KEY if role == "admin" else made["key"]
    original = client.get("/readyz").json()["sha256"]
    fast = shipped_artifact(name="fast").read_bytes()
    uploaded = client.post("/admin/models", content=fast, headers={"Content-Type": "application/octet-stream"})
    failures: dict[str, BaseException] = {}
    seen: defaultdict[str, Counter[int]] = defaultdict(Counter)
    with unharmed(server, client) as answer, requests.Session() as session:
        session.trust_env = False
        known = {"prediction_id": answer["id"], "model_id": uploaded.json()["id"], "key_id": made["id"]}
        schema = schemathesis.openapi.from_dict(client.get("/openapi.json").json())
        for found in schema.get_all_operations():
            assert isinstance(found, Ok)
            operation = found.ok()
            for mode, query in ((POSITIVE, {}), (POSITIVE, {"unexpected": "1"}), (NEGATIVE, {})):
                if mode is NEGATIVE and not (list(operation.iter_parameters()) or list(operation.body)):
                    continue  # nothing of it can be spoilt
                places = st.sampled_from([{}, known, known, dict.fromkeys(known, "\0")])
                strategy = st.tuples(operation.as_strategy(generation_mode=mode), places)
                run = partial(check, url=url, key=key, session=session, seen=seen[operation.label])
                try:
                    fuzz(strategy, query, examples_of(operation.label, role), run)
                except (Exception, FailureGroup) as failure:
                    failures[f"{operation.label} with {mode.value} data and {query}"] = failure
        if role == "admin":
            assert client.post(f"/admin/models/{original}/activate").status_code == 200
    if failures:
        raise BaseExceptionGroup(f"not as described: {', '.join(failures)}", list(failures.values()))
    assert {200, 422} <= set(seen["POST /predict"])
    assert {200, 422} <= set(seen["POST /predict/batch"])
    if role == "admin":
        assert {201, 404, 422} <= set(seen["POST /predictions/{prediction_id}/reviews"])


def examples_of(label: str, role: str) -> int:
    if label.startswith("POST /predict"):
        return scaled(16, 60)
    if role == "predict" and label.startswith(("POST /admin", "DELETE /admin", "GET /admin")):
        return 3  # which are all forbidden
    return (
        scaled(3, 10) if label == "POST /admin/models" else scaled(6, 30)
    )  # each artifact is vetted in a process of its own


def fuzz(
    strategy: st.SearchStrategy[tuple[Case[Any], dict[str, str]]],
    query: dict[str, str],
    examples: int,
    run: Callable[[Case[Any]], None],
) -> None:
    @settings(
        max_examples=3 if query else examples,
        derandomize=True,
        database=None,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(drawn=strategy)
    def each(drawn: tuple[Case[Any], dict[str, str]]) -> None:
        case, known = drawn
        case.query = {**case.query, **query}
        case.path_parameters = {name: known.get(name, value) for name, value in case.path_parameters.items()}
        run(case)

    each()


def forms(chance: random.Random) -> Iterator[tuple[bytes, str]]:
    """Multipart bodies with their content types, mostly spoilt."""
    part = b'Content-Disposition: form-data; name="file"; filename="x"\r\nContent-Type: image/png\r\n\r\n' + seeds()[0]
    for _ in range(FORMS):
        boundary = chance.choice((b"b", b"b" * 70, b"-", b"a'()+_,-./:=?", b"\xfe"))
        body = (b"--" + boundary + b"\r\n" + part + b"\r\n") * chance.choice((1, 1, 2, 3))
        body += b"--" + boundary + b"--\r\n"
        for _ in range(chance.randrange(3)):
            body = chance.choice(ANY)(chance, body)[: 2**18]
        said = chance.choice((boundary, boundary, boundary, b"", b"other", b'"' + boundary, b"x" * 300))
        kind = chance.choice((MULTIPART, MULTIPART, "Multipart/Form-Data;x=1", "multipart/mixed"))
        yield body, f"{kind}; boundary={said.decode('latin-1')}"


@pytest.mark.parametrize("path", ["/predict", "/predict/batch"])
@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_spoilt_forms_are_answered_or_refused(server: Server, client: httpx.Client, path: str) -> None:
    statuses: Counter[int] = Counter()
    with unharmed(server, client):
        for body, content_type in forms(random.Random(path)):
            response = client.post(
                f"{path}?rotations=none", content=body, headers={b"Content-Type": content_type.encode("latin-1")}
            )
            statuses[response.status_code] += 1
            if response.status_code != 200:
                assert 400 <= response.status_code < 500, response.text
                assert response.headers["content-type"] == "application/problem+json"
    assert set(statuses) == {200, 415, 422}


LIVE = b"GET /livez HTTP/1.1\r\nHost: x\r\n"
POST = (
    b"POST /predict?rotations=none HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer %s\r\nContent-Type: image/png\r\n"
    % KEY.encode()
)
CHUNKED = POST + b"Transfer-Encoding: chunked\r\n"
CLOSE = b"Connection: close\r\n\r\n"
# What is sent, and the statuses that the answer to it may begin with; none for a mere close.
SMUGGLED: list[tuple[bytes, list[int | None]]] = [
    (b"\r\n" * 10_000, [431, None]),
    (b"\0" * 100, [400]),
    (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", [400]),  # TLS
    (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", [400]),
    (b"GET /livez\r\n\r\n", [400]),
    (b"GET  /livez HTTP/1.1\r\nHost: x\r\n\r\n", [200, 400]),
    (b"GET /livez HTTP/9.9\r\nHost: x\r\n\r\n", [400]),
    (b"GET livez HTTP/1.1\r\nHost: x\r\n\r\n", [400]),
    (b"GET /\xff\xfe HTTP/1.1\r\nHost: x\r\n" + CLOSE, [400, 401]),
    (b"CONNECT x:1 HTTP/1.1\r\nHost: x\r\n" + CLOSE, [400, 401]),
    (b"GET http://y/livez HTTP/1.1\r\nHost: x\r\n" + CLOSE, [200, 400]),
    (b"OPTIONS * HTTP/1.1\r\nHost: x\r\n" + CLOSE, [400, 401]),
    (LIVE + b"Host: y\r\n" + CLOSE, [400]),
    (LIVE + b"A : b\r\n" + CLOSE, [400]),
    (LIVE + b" folded: x\r\n" + CLOSE, [400]),
    (LIVE + b"A: b\rc\r\n" + CLOSE, [400]),
    (LIVE + b"A: b\0c\r\n" + CLOSE, [400]),
    (LIVE + b"A: b\r\n" * 20_000 + CLOSE, [431]),
    (LIVE + b"A" * 100_000 + b": b\r\n" + CLOSE, [431]),
    (LIVE + b"Expect: nonsense\r\nUpgrade: websocket\r\n" + CLOSE, [200, 400]),
    (POST + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + LIVE + CLOSE, [400]),
    (POST + b"Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n" + LIVE + CLOSE, [400]),
    (POST + b"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", [400, 415, 422]),
    (POST + b"Transfer-Encoding: chunked, gzip\r\n\r\n0\r\n\r\n", [400]),
    (POST + b"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n", [400, None]),
    (POST + b"Content-Length: 5, 5\r\n\r\nhello", [400]),
    (POST + b"Content-Length: +5\r\n\r\nhello", [400]),
    (POST + b"Content-Length: 0x5\r\n\r\nhello", [400]),
    (POST + b"Content-Length: " + b"9" * 5000 + b"\r\n\r\nhello", [400]),
    (POST + b"Content-Length: 18446744073709551615\r\n\r\nhello", [413]),
    (CHUNKED + b"\r\n-1\r\nhello\r\n0\r\n\r\n", [400, None]),
    (CHUNKED + b"\r\nzz\r\nhello\r\n0\r\n\r\n", [400, None]),
    (CHUNKED + b"\r\n" + b"f" * 16 + b"\r\nhello\r\n0\r\n\r\n", [400, 408, 413]),
    (CHUNKED + b"\r\n" + b"f" * 17 + b"\r\nhello\r\n0\r\n\r\n", [400, None]),
    (CHUNKED + b"\r\n5;" + b"x" * 100_000 + b"\r\nhello\r\n0\r\n\r\n", [400, 408, 422, 431]),
    (CHUNKED + b"\r\n5\r\nhelloworld\r\n0\r\n\r\n", [400, None]),
    (CHUNKED + b"\r\n0\r\nTrailer: x\r\n" + b"T: x\r\n" * 20_000, [400, 408, 422, 431]),
    (LIVE + b"\r\n" + b"nonsense\r\n\r\n", [200, None]),
    (b"nonsense\r\n\r\n" + LIVE + CLOSE, [400]),
    (b"GET /nope HTTP/1.1\r\nHost: x\r\n\r\n" * 50 + LIVE + CLOSE, [401]),
]


def said_to(server: Server, request: bytes) -> list[int]:
    """The statuses of what the server says until it closes the connection, which it must do by itself."""
    port = int((server.url or "").rpartition(":")[2])
    received = b""
    with socket.create_connection(("127.0.0.1", port), timeout=120) as connection, suppress(ConnectionError):
        connection.sendall(request)
        while piece := connection.recv(65536):
            received += piece
    assert received == b"" or received.startswith(b"HTTP/1.1 "), received[:100]
    return [int(status) for status in re.findall(rb"HTTP/1\.1 (\d{3}) ", received)]


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_what_is_hardly_http_is_refused_or_closed(server: Server, client: httpx.Client) -> None:
    with unharmed(server, client), ThreadPoolExecutor(CONNECTIONS) as pool:
        found = list(pool.map(partial(said_to, server), [request for request, _ in SMUGGLED]))
    wrong = [
        (request[:200], statuses)
        for (request, expected), statuses in zip(SMUGGLED, found, strict=True)
        if next(iter(statuses), None) not in expected or any(status >= 500 for status in statuses)
    ]
    assert wrong == []


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_spoilt_requests_are_answered_refused_or_closed(server: Server, client: httpx.Client) -> None:
    chance, image = random.Random(0), seeds()[0]
    whole = [
        LIVE + CLOSE,
        POST + b"Content-Length: %d\r\n" % len(image) + CLOSE + image,
        CHUNKED + CLOSE + b"".join(b"%x\r\n%s\r\n" % (len(piece), piece) for piece in (image[:99], image[99:], b"")),
        LIVE + b"\r\n" + POST + b"Content-Length: %d\r\n\r\n" % len(image) + image + LIVE + CLOSE,
    ]
    requests = [chance.choice(ANY)(chance, chance.choice(whole)) for _ in range(REQUESTS)]
    with unharmed(server, client), ThreadPoolExecutor(CONNECTIONS) as pool:
        found = list(pool.map(partial(said_to, server), whole + requests))
    assert found[: len(whole)] == [[200], [200], [200], [200, 200, 200]]
    assert {status for statuses in found for status in statuses} <= {
        100,
        200,
        400,
        401,
        404,
        405,
        408,
        413,
        415,
        422,
        431,
    }

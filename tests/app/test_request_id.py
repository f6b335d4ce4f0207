"""Every response has the request id of the log."""

from __future__ import annotations

import socket
from uuid import UUID

import httpx
import pytest

from app import request_id
from tests.app.conftest import RunningServer

HEADER = request_id.HEADER


@pytest.mark.parametrize("presented", ["a", "A-z_0.9", "x" * 128])
def test_a_fit_id_is_given_back(server: RunningServer, presented: str) -> None:
    assert server.client.get("/livez", headers={HEADER: presented}).headers[HEADER] == presented


@pytest.mark.parametrize("presented", ["", "x" * 129, "a b", "a;b", "{}", "a\x80", "a\tb"])
def test_an_unfit_id_is_replaced(server: RunningServer, presented: str) -> None:
    given = httpx.get(f"{server.url}/livez", headers={HEADER.encode(): presented.encode("latin-1")}).headers[HEADER]
    assert given != presented
    assert UUID(given).version == 7
    assert len(given) == 32


def test_two_ids_are_none(server: RunningServer) -> None:
    response = httpx.get(f"{server.url}/livez", headers=[(HEADER, "one"), (HEADER, "two")])
    assert UUID(response.headers[HEADER]).version == 7


def test_ids_differ(server: RunningServer) -> None:
    assert len({server.client.get("/livez").headers[HEADER] for _ in range(10)}) == 10


def test_every_refusal_carries_the_id(server: RunningServer, png: bytes) -> None:
    mine = {HEADER: "mine"}
    client = server.client
    responses = [
        httpx.get(f"{server.url}/predictions", headers=mine),
        client.get("/nowhere", headers=mine),
        client.put("/predict", headers=mine),
        client.get("/predictions?what=1", headers=mine),
        client.post("/predict", content=b"x" * 2_000_000, headers=mine | {"Content-Type": "image/png"}),
        client.post("/predict", content=png, headers=mine | {"Content-Type": "text/plain"}),
        client.post("/predict", content=png[:60], headers=mine | {"Content-Type": "image/png"}),
    ]
    assert [response.status_code for response in responses] == [401, 404, 405, 422, 413, 415, 422]
    assert {tuple(response.headers.get_list(HEADER)) for response in responses} == {("mine",)}


def test_what_is_not_http_gets_an_id_too(server: RunningServer) -> None:
    with socket.create_connection(("127.0.0.1", server.port)) as connection:
        connection.sendall(b"GARBAGE\r\n\r\n")
        connection.settimeout(120)
        answer = b"".join(iter(lambda: connection.recv(65536), b""))
    assert answer.startswith(b"HTTP/1.1 400")
    [line] = [line for line in answer.split(b"\r\n") if line.lower().startswith(b"x-request-id: ")]
    assert UUID(line.partition(b" ")[2].decode()).version == 7

"""Chunked bodies as proxies send them: the size line may arrive without data of the chunk."""

from __future__ import annotations

import httpx

from tests.app.conftest import RunningServer
from tests.app.test_bounds import connected, head, next_response

CHUNK = 1000


def test_a_chunks_length_may_come_alone(server: RunningServer, png: bytes) -> None:
    with connected(server) as connection, httpx.Client(base_url=server.url, trust_env=False) as other:

        def send(piece: bytes) -> None:
            connection.sendall(piece)
            for _ in range(2):  # when another connection is answered, the server has read what came before
                assert other.get("/livez").status_code == 200

        send(head(server, "Transfer-Encoding: chunked"))
        for start in range(0, len(png), CHUNK):
            chunk = png[start : start + CHUNK]
            send(f"{len(chunk):x}\r\n".encode())
            send(chunk)
            send(b"\r\n")
        send(b"0\r\n\r\n")
        assert b"HTTP/1.1 200 OK" in next_response(connection)

"""A response leaves in one piece, so that the client wakes up once for it; one that is streamed does not wait."""

from __future__ import annotations

from tests.app.conftest import RunningServer
from tests.app.test_bounds import connected, head


def test_a_response_leaves_in_one_piece(server: RunningServer, png: bytes) -> None:
    with connected(server) as connection:
        for rotations in ("none", "full", "none"):
            path = f"/predict?rotations={rotations}"
            connection.sendall(head(server, f"Content-Length: {len(png)}", path=path) + png)
            received = connection.recv(2**16)
            top, _, body = received.partition(b"\r\n\r\n")
            assert top.startswith(b"HTTP/1.1 200 ")
            assert len(body) == int(top.lower().partition(b"content-length: ")[2].split()[0])


def test_a_response_to_head_has_only_its_head(server: RunningServer) -> None:
    with connected(server) as connection:
        connection.sendall(b"HEAD /livez HTTP/1.1\r\nHost: x\r\n\r\nGET /livez HTTP/1.1\r\nHost: x\r\n\r\n")
        received = b""
        while received.count(b"HTTP/1.1 200 ") < 2 or not received.endswith(b"}"):
            received += connection.recv(2**16)
        first, second = received.split(b"HTTP/1.1 200 ")[1:]
        assert first.endswith(b"\r\n\r\n")
        assert second.endswith(b"}")


def test_a_streamed_response_arrives_whole(server: RunningServer, png: bytes) -> None:
    answered = server.client.post("/predict?rotations=none", content=png, headers={"Content-Type": "image/png"})
    assert answered.status_code == 200
    for name in ("export.csv", "export.jsonl"):
        with server.client.stream("GET", f"/predictions/{name}") as exported:
            assert exported.status_code == 200
            assert answered.json()["id"].encode() in b"".join(exported.iter_bytes())

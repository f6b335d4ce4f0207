"""HTTP/1.1 of other clients: offers of HTTP/2, transfer codings, malformed chunks, trailers."""

from __future__ import annotations

import json
import shutil
import subprocess
import threading
from pathlib import Path
from socket import SHUT_WR, create_connection, socket
from typing import Any

import pytest

from tests.app.conftest import RunningServer
from tests.app.test_bounds import connected, head, next_response, response_of
from tests.processes import KEY, memory_kb, serving

CURL = ["Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c", "HTTP2-Settings: AAMAAABkAAQCAAAAAAIAAAAA"]
JAVA = [
    "Connection: Upgrade, HTTP2-Settings",
    "HTTP2-Settings: AAEAAEAAAAIAAAAAAAMAAAAAAAQBAAAAAAUAAEAAAAYABgAA",
    "Upgrade: h2c",
    "User-Agent: Java-http-client/17.0.15",
]
JAVA_CLIENT = """
import java.net.URI;
import java.net.http.*;
import java.nio.file.*;

public class Post {
    public static void main(String[] arguments) throws Exception {
        HttpClient client = HttpClient.newHttpClient();
        for (int i = 0; i < 2; i++) {
            HttpRequest request = HttpRequest.newBuilder(URI.create(arguments[0]))
                .header("Content-Type", "image/png").header("Authorization", "Bearer " + arguments[1])
                .POST(HttpRequest.BodyPublishers.ofFile(Path.of(arguments[2]))).build();
            HttpResponse<String> response = client.send(request, HttpResponse.BodyHandlers.ofString());
            System.out.println(response.statusCode() + " " + response.body());
        }
    }
}
"""


def chunked(data: bytes, size: int = 1000) -> bytes:
    pieces = [data[begin : begin + size] for begin in range(0, len(data), size)]
    return b"".join(b"%x\r\n%s\r\n" % (len(piece), piece) for piece in pieces) + b"0\r\n\r\n"


def body_of(response: bytes) -> dict[str, Any]:
    assert response.startswith(b"HTTP/1.1 200 "), response
    found: dict[str, Any] = json.loads(response[response.index(b"{") :])
    return found


@pytest.fixture
def logits(server: RunningServer, png: bytes) -> list[float]:
    """What an ordinary request is answered."""
    response = server.client.post("/predict", content=png, headers={"Content-Type": "image/png"})
    found: list[float] = response.json()["logits"]
    return found


@pytest.mark.parametrize("offer", [CURL, JAVA], ids=["curl", "Java"])
@pytest.mark.parametrize("piece", [1000, 90, 1], ids=["at once", "in pieces", "byte by byte"])
def test_an_offer_of_http_2_is_ignored(
    server: RunningServer, png: bytes, logits: list[float], offer: list[str], piece: int
) -> None:
    """Also on the next requests of the connection, whose bodies come with a length and in chunks."""
    with connected(server) as connection:
        for framing, body in (
            (f"Content-Length: {len(png)}", png),
            ("Transfer-Encoding: chunked", chunked(png)),
            (f"Content-Length: {len(png)}", png),
        ):
            request = head(server, *offer, framing) + body
            top = request.index(b"\r\n\r\n") + 10
            for begin in range(0, top, piece):
                connection.sendall(request[begin : min(begin + piece, top)])
            connection.sendall(request[top:])
            assert body_of(next_response(connection))["logits"] == logits
        connection.sendall(
            b"GET /livez HTTP/1.1\r\nHost: x\r\n" + "\r\n".join(offer).encode() + b"\r\n\r\n"
            b"GET /livez HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
        )
        received = b""
        while read := connection.recv(65536):
            received += read
        assert received.count(b'{"status":"alive"}') == 2


@pytest.mark.parametrize("offer", [CURL, JAVA], ids=["curl", "Java"])
def test_a_refusal_reaches_who_offers_http_2(server: RunningServer, png: bytes, offer: list[str]) -> None:
    with connected(server) as connection:
        connection.sendall(head(server, *offer, f"Content-Length: {len(png)}", key="wrong") + png)
        status, _, problem = response_of(connection)
    assert (status, problem["type"]) == (401, "/problems/unauthorized")


def test_http_2_without_an_offer_is_refused_by_its_name(server: RunningServer) -> None:
    with connected(server) as connection:
        connection.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
        status, _, problem = response_of(connection)
    assert (status, problem["type"]) == (400, "/problems/malformed-request")
    assert str(problem["detail"]).startswith("expected HTTP/1.1, found HTTP/2")


def test_curl_posts_with_http2(server: RunningServer, png: bytes, tmp_path: Path, logits: list[float]) -> None:
    if shutil.which("curl") is None or "HTTP2" not in subprocess.check_output(["curl", "--version"], text=True):
        pytest.skip("no curl with HTTP/2 is installed")
    (tmp_path / "patch.png").write_bytes(png)
    command = ["curl", "--silent", "--show-error", "--http2", "--header", f"Authorization: Bearer {server.key}"]
    command += ["--header", "Content-Type: image/png", "--data-binary", f"@{tmp_path / 'patch.png'}"]
    url = f"{server.url}/predict"
    done = subprocess.run([*command, url, "--next", *command[1:], url], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    decoder, text, answers = json.JSONDecoder(), done.stdout, []
    while text:
        answer, end = decoder.raw_decode(text)
        answers.append(answer["logits"])
        text = text[end:].lstrip()
    assert answers == [logits, logits]


def test_javas_own_client_posts(server: RunningServer, png: bytes, tmp_path: Path, logits: list[float]) -> None:
    if shutil.which("java") is None:
        pytest.skip("no Java is installed: on Debian, the package default-jre-headless")
    (tmp_path / "patch.png").write_bytes(png)
    (tmp_path / "Post.java").write_text(JAVA_CLIENT)
    command = ["java", "Post.java", f"{server.url}/predict", server.key, "patch.png"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    answers = [line.split(" ", 1) for line in done.stdout.splitlines()]
    assert [status for status, _ in answers] == ["200", "200"]
    assert [json.loads(body)["logits"] for _, body in answers] == [logits, logits]


@pytest.mark.parametrize(
    "headers",
    [
        ["Transfer-Encoding: gzip, chunked"],
        ["Transfer-Encoding: gzip", "Transfer-Encoding: chunked"],
        ["Transfer-Encoding: gzip"],
        ["Transfer-Encoding: identity"],
        ["Transfer-Encoding: chunked, chunked"],
        [*JAVA, "Transfer-Encoding: gzip, chunked"],
    ],
)
def test_other_transfer_codings_are_refused(server: RunningServer, png: bytes, headers: list[str]) -> None:
    before = server.recorded()
    with connected(server) as connection:
        connection.sendall(head(server, *headers) + chunked(png))
        status, _, problem = response_of(connection)
    assert (status, problem["type"]) == (400, "/problems/malformed-request")
    assert server.recorded() == before


def test_connect_is_refused(server: RunningServer) -> None:
    with connected(server) as connection:
        connection.sendall(b"CONNECT x:443 HTTP/1.1\r\nHost: x\r\n\r\n")
        status, _, problem = response_of(connection)
    assert (status, problem["type"]) == (400, "/problems/malformed-request")


@pytest.mark.parametrize(
    "body",
    [
        b"zz\r\nhello\r\n0\r\n\r\n",
        b"5\r\nhello!\r\n0\r\n\r\n",
        b"-5\r\nhello\r\n0\r\n\r\n",
        b"fffffffffffffffff\r\n",
        b"5\r\nhello\r\nzz\r\n",
        b"5\r\nhello\r\n0\r\nno colon\r\n\r\n",
    ],
)
@pytest.mark.parametrize("offer", [[], JAVA], ids=["plain", "with an offer"])
def test_a_malformed_chunk_is_answered(server: RunningServer, body: bytes, offer: list[str]) -> None:
    before = server.recorded()
    with connected(server) as connection:
        connection.sendall(head(server, *offer, "Transfer-Encoding: chunked"))
        connection.sendall(body)
        status, top, problem = response_of(connection)
    assert (status, problem["type"]) == (400, "/problems/malformed-request")
    assert "connection: close" in top
    assert server.recorded() == before


def test_a_malformed_chunk_behind_a_whole_request_leaves_its_answer_alone(server: RunningServer, png: bytes) -> None:
    with connected(server) as connection:
        first = head(server, f"Content-Length: {len(png)}") + png
        connection.sendall(first)
        answered = next_response(connection)
        connection.sendall(head(server, "Transfer-Encoding: chunked") + b"zz\r\n")
        status, _, _ = response_of(connection)
    assert body_of(answered)["decision"]
    assert status == 400


TRAILERS = {
    "one long": b"X-Long: " + b"x" * 200_000,
    "many": b"".join(b"X-%d: y\r\n" % number for number in range(20_000)),
    "one long name": b"x" * 200_000,
    "extensions of the last chunk": b"",
}


@pytest.mark.parametrize("trailers", TRAILERS)
@pytest.mark.parametrize("path", ["/login", "/predict"])
def test_trailers_are_bounded(server: RunningServer, trailers: str, path: str) -> None:
    content = "application/x-www-form-urlencoded" if path == "/login" else "image/png"
    top = head(server, "Transfer-Encoding: chunked", path=path).replace(b"image/png", content.encode())
    last = b"0\r\n" if TRAILERS[trailers] else b"0;" + b"x" * 200_000
    with connected(server) as connection:
        connection.sendall(top + b"1\r\nx\r\n")
        threading.Thread(target=_send, args=[connection, last + TRAILERS[trailers]]).start()
        status, _, problem = response_of(connection)
    assert (status, problem["type"]) == (431, "/problems/headers-too-large")


def test_few_trailers_are_ignored(server: RunningServer, png: bytes, logits: list[float]) -> None:
    body = chunked(png)[:-2] + b"X-Checksum: 1\r\nAuthorization: Bearer nobody\r\nHost: y\r\n\r\n"
    with connected(server) as connection:
        for _ in range(2):
            connection.sendall(head(server, "Transfer-Encoding: chunked") + body)
            assert body_of(next_response(connection))["logits"] == logits


def test_tiny_chunks_are_no_trailers(server: RunningServer, png: bytes, logits: list[float]) -> None:
    with connected(server) as connection:
        connection.sendall(head(server, "Transfer-Encoding: chunked") + chunked(png, size=1))
        assert body_of(next_response(connection))["logits"] == logits


def test_memory_stays_flat_under_trailers(tmp_path: Path, artifact_path: Path) -> None:
    with serving(tmp_path, artifact_path, ROSETTE_ADMIN_KEY=KEY) as server:
        port = int(server.wait_until_it_listens().rpartition(":")[2])
        before = memory_kb(server.process.pid, "Pss_Anon")
        connections = [create_connection(("127.0.0.1", port), timeout=60) for _ in range(8)]
        top = b"POST /login HTTP/1.1\r\nHost: x\r\nContent-Type: application/x-www-form-urlencoded\r\n"
        top += b"Transfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\nX-Long: "
        threads = [threading.Thread(target=_send, args=[each, top + b"x" * 24_000_000]) for each in connections]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        after = memory_kb(server.process.pid, "Pss_Anon")
        for connection in connections:
            connection.close()
    assert after - before < 10_000


def _send(connection: socket, data: bytes) -> None:
    try:
        connection.sendall(data)
        connection.shutdown(SHUT_WR)
    except OSError:  # the server has had enough
        pass

"""An identity provider that does what it is told to do wrong."""

from __future__ import annotations

import gzip
import json
import threading
import time
import warnings
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from joserfc import jwk, jws
from joserfc.jwk import ECKey, OctKey, RSAKey

NONCE, ACCESS = "the nonce", "an access token"
Key = RSAKey | ECKey | OctKey | jwk.OKPKey


@cache
def rsa(kid: str, bits: int = 2048) -> RSAKey:
    """A key of this name, made once."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of short keys
        return RSAKey.generate_key(bits, {"kid": kid})


class FalseProvider:
    """Serves metadata, keys and tokens, each of which a test may change.

    Attributes:
        metadata: changes of the discovery document; None leaves a member out.
        keys: the public keys.
        token: what the token endpoint answers.
        raw: bytes, headers and status in place of an answer, by path.
        asked: how often each path was asked for.
    """

    def __init__(self, port: int) -> None:
        self.issuer = f"http://127.0.0.1:{port}"
        self.key = rsa("one")
        self.metadata: dict[str, Any] = {}
        self.keys: list[Any] = [dict(self.key.as_dict(private=False))]
        self.token: dict[str, Any] = {}
        self.raw: dict[str, tuple[bytes, dict[str, str], int]] = {}
        self.asked: Counter[str] = Counter()
        self.goes_on = threading.Event()
        self.goes_on.set()

    def claims(self, **changes: Any) -> dict[str, Any]:
        """Those of a good token; None leaves one out."""
        now = int(time.time())
        good = {"iss": self.issuer, "aud": "rosette", "sub": "ada", "iat": now, "exp": now + 300, "nonce": NONCE}
        return {name: value for name, value in (good | changes).items() if value is not None}

    def sign(self, claims: dict[str, Any], key: Key | None = None, **header: Any) -> None:
        """Answer with this token from now on."""
        key = key or self.key
        header = {"alg": "RS256", "kid": key.kid} | header
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of algorithms that we try because they are bad
            registry = jws.JWSRegistry(algorithms=[header["alg"]], strict_check_header=False)
            signed = jws.serialize_compact(header, json.dumps(claims), key, registry=registry)
        self.token = {"id_token": signed, "access_token": ACCESS, "token_type": "Bearer"}

    def answer(self, path: str) -> tuple[bytes, dict[str, str], int]:
        self.asked[path] += 1
        self.goes_on.wait(60)
        if path in self.raw:
            return self.raw[path]
        told = {
            "/.well-known/openid-configuration": {
                "issuer": self.issuer,
                "authorization_endpoint": f"{self.issuer}/authorize",
                "token_endpoint": f"{self.issuer}/token",
                "jwks_uri": f"{self.issuer}/keys",
            }
            | self.metadata,
            "/keys": {"keys": self.keys},
            "/token": self.token,
        }[path]
        return json.dumps({name: value for name, value in told.items() if value is not None}).encode(), {}, 200


@contextmanager
def false_provider() -> Iterator[FalseProvider]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body, headers, status = provider.answer(self.path)
            self.send_response(status)
            for name, value in (
                {"Content-Type": "application/json", "Content-Length": str(len(body))} | headers
            ).items():
                self.send_header(name, value)
            self.end_headers()
            try:
                self.wfile.write(body)
            except (BrokenPipeError, ConnectionResetError):
                self.close_connection = True

        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            self.do_GET()

        def log_message(self, *_: object) -> None:
            """Nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        provider = FalseProvider(server.server_port)
        thread = threading.Thread(target=server.serve_forever, args=[0.05])
        thread.start()
        try:
            yield provider
        finally:
            provider.goes_on.set()
            server.shutdown()
            thread.join()


def compressed(size: int) -> tuple[bytes, dict[str, str], int]:
    """An answer of few bytes that stand for many."""
    return gzip.compress(b"{" + b" " * size + b"}"), {"Content-Encoding": "gzip"}, 200

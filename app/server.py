"""The HTTP server around the application: what it reads, how long it waits, how it stops."""

from __future__ import annotations

import asyncio
import json
import socket
import sys
from collections.abc import Callable
from typing import Any

import h11
import uvicorn
from fastapi import FastAPI
from uvicorn.config import LOGGING_CONFIG
from uvicorn.protocols.http.h11_impl import H11Protocol

from app.problems import MEDIA_TYPE, problem_body
from app.settings import Settings

READ_SIZE = 16 * 1024
MAX_HEADERS = 32 * 1024

# uvicorn shows its own loggers only.
LOGGING = LOGGING_CONFIG | {
    "loggers": LOGGING_CONFIG["loggers"] | {"rosette": {"handlers": ["default"], "level": "INFO"}}
}


class PatientProtocol(H11Protocol, asyncio.BufferedProtocol):
    """HTTP/1.1 that reads no more of a body than it must before the application asks for it.

    uvicorn reads ahead: with its own protocols some 300 KB of a body arrive while a key is looked up.
    Here one read fetches at most 16 KB, and reading stops until the application calls for the body.
    Headers must arrive in time, and protocol errors are answered with problem+json.
    """

    header_timeout_s = 10.0

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._buffer = bytearray(READ_SIZE)
        self._header_timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._watch_headers()

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_watching_headers()
        super().connection_lost(exc)

    def get_buffer(self, sizehint: int) -> bytearray:
        return self._buffer

    def buffer_updated(self, nbytes: int) -> None:
        self.data_received(bytes(self._buffer[:nbytes]))

    def handle_events(self) -> None:
        before = self.cycle
        super().handle_events()
        if self.conn.their_state is h11.IDLE:
            if self.conn.trailing_data[0]:
                self._watch_headers()
            return
        self._stop_watching_headers()
        arrived = self.cycle is not before or self.cycle.body  # a chunk's length alone wakes nobody who would read on
        if self.conn.their_state is h11.SEND_BODY and not self.cycle.response_complete and arrived:
            self.flow.pause_reading()

    def send_400_response(self, msg: str) -> None:
        error = sys.exc_info()[1]
        status = error.error_status_hint if isinstance(error, h11.RemoteProtocolError) else 400
        if status == 431:
            body = problem_body("headers-too-large", "The headers are too large", 431, f"Over {MAX_HEADERS} bytes.")
        else:
            body = problem_body("malformed-request", "The request is not HTTP/1.1", 400, str(error) or msg)
        content = json.dumps(body).encode()
        headers = [
            ("Content-Type", MEDIA_TYPE),
            ("Content-Length", str(len(content))),
            ("Connection", "close"),
        ]
        if self.conn.our_state in {h11.IDLE, h11.SEND_RESPONSE}:
            for event in (
                h11.Response(status_code=body["status"], headers=headers),
                h11.Data(data=content),
                h11.EndOfMessage(),
            ):
                self.transport.write(self.conn.send(event) or b"")
        self.transport.close()

    def _watch_headers(self) -> None:
        if self._header_timer is None:
            self._header_timer = self.loop.call_later(self.header_timeout_s, self.transport.close)

    def _stop_watching_headers(self) -> None:
        if self._header_timer is not None:
            self._header_timer.cancel()
            self._header_timer = None


class Server(uvicorn.Server):
    """A uvicorn server that calls ``ready`` with its port once it listens."""

    def __init__(self, config: uvicorn.Config, ready: Callable[[int], None]) -> None:
        super().__init__(config)
        self._ready = ready

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.started:
            self._ready(self.servers[0].sockets[0].getsockname()[1])


def make_server(app: FastAPI, settings: Settings, ready: Callable[[int], None]) -> Server:
    """A server for the application; ``run()`` blocks until SIGINT or SIGTERM, and lets requests finish."""
    protocol = type("Protocol", (PatientProtocol,), {"header_timeout_s": settings.header_timeout_s})
    config = uvicorn.Config(
        app,
        host=settings.host,
        port=settings.port,
        loop="asyncio",
        http=protocol,
        ws="none",
        proxy_headers=False,
        server_header=False,
        h11_max_incomplete_event_size=MAX_HEADERS,
        timeout_keep_alive=5,
        timeout_graceful_shutdown=settings.shutdown_timeout_s,
        log_config=LOGGING,
        log_level="info",
    )
    return Server(config, ready)

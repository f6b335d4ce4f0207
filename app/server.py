"""The HTTP server around the application: what it reads, how long it waits, how it stops."""

from __future__ import annotations

import asyncio
import json
import socket
import sys
from collections.abc import Callable
from functools import partial
from typing import Any
from weakref import ref

import httptools
import uvicorn
from fastapi import FastAPI
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle
from uvicorn.supervisors import Multiprocess

from app import logs, request_id
from app.main import create_app
from app.memory import keep_what_is_there
from app.problems import MEDIA_TYPE, problem_body
from app.settings import Settings

READ_SIZE = 16 * 1024
MAX_HEADERS = 32 * 1024
LEAVE_S = 1.0
START_S = 60.0


class PatientProtocol(asyncio.BufferedProtocol):
    """HTTP/1.1 that reads no more of a body than it must before the application asks for it.

    uvicorn reads ahead: with its own protocols some 300 KB of a body arrive while a key is looked up.
    Here one read fetches at most 16 KB, and reading stops until the application calls for the body.
    Headers are bounded and must arrive in time, and protocol errors are answered with problem+json.
    (uvloop reads into a buffer of ours only if the protocol is nothing but a BufferedProtocol, so uvicorn's is held.)
    """

    def __init__(self, config: Config, **options: Any) -> None:
        self._http = _Parser(config, **options)
        self._buffer = bytearray(READ_SIZE)
        self.connection_lost = self._http.connection_lost  # type: ignore[method-assign]
        self.connection_made = self._http.connection_made  # type: ignore[method-assign, assignment]
        self.pause_writing = self._http.pause_writing  # type: ignore[method-assign]
        self.resume_writing = self._http.resume_writing  # type: ignore[method-assign]

    def get_buffer(self, sizehint: int) -> bytearray:
        return self._buffer

    def buffer_updated(self, nbytes: int) -> None:
        self._http.data_received(bytes(self._buffer[:nbytes]))


class _Transport:
    """A transport that, closed before it was all read, first says that no more will be written, and waits.

    Data that nobody has read makes the kernel reset a closed connection, and who is still sending then may never see
    the answer: a proxy would say 502 in its place. Nothing is read while it waits. A second ``close`` does not wait.

    Attributes:
        unread: whether the client may still be sending what nobody will read.
    """

    def __init__(self, transport: asyncio.Transport) -> None:
        self.unread = False
        self._transport = transport
        self._leaving = False
        self.write = transport.write

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)

    def is_closing(self) -> bool:
        return self._leaving or self._transport.is_closing()

    def close(self) -> None:
        if self.is_closing() or not self.unread:
            self._transport.close()
            return
        self._leaving = True
        self._transport.pause_reading()
        self._transport.write_eof()
        asyncio.get_running_loop().call_later(LEAVE_S, self._transport.close)


class _Parser(HttpToolsProtocol):
    def __init__(self, config: Config, **options: Any) -> None:
        super().__init__(config, **options)
        self._header_timeout_s = config.header_timeout_s
        self._header_timer: asyncio.TimerHandle | None = None
        self._header_bytes = 0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        self._transport = _Transport(transport)
        super().connection_made(self._transport)  # type: ignore[arg-type] # stands in for it
        self._watch_headers()

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_watching_headers()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self.transport.is_closing():
            return
        if not self._transport.unread:
            self._header_bytes += len(data)
            if self._header_bytes > MAX_HEADERS + READ_SIZE:
                self._refuse("headers-too-large", "The headers are too large", 431, f"Over {MAX_HEADERS} bytes.")
                return
        before = self.cycle
        super().data_received(data)
        cycle: RequestResponseCycle | None = self.cycle
        if cycle is None or not cycle.more_body or cycle.response_complete:
            return
        if cycle is not before or cycle.body:  # a chunk's length alone wakes nobody who would read on
            self.flow.pause_reading()

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._watch_headers()

    def on_headers_complete(self) -> None:
        self._transport.unread = True
        self._stop_watching_headers()
        version = self.parser.get_http_version()
        if version not in ("1.0", "1.1"):
            raise ValueError("expected HTTP/1.1")
        if version == "1.1" and [name for name, _ in self.headers].count(b"host") != 1:
            raise ValueError("expected exactly one Host header")
        super().on_headers_complete()
        state = self.scope["state"]
        # Not the cycle itself: it refers to the state, and only the garbage collector could free the two.
        cycle = ref(self.cycle)
        state["gone"] = partial(_is, "disconnected", cycle)
        state["unread"] = partial(_is, "more_body", cycle)

    def on_message_complete(self) -> None:
        self._transport.unread = False
        self._header_bytes = 0
        super().on_message_complete()

    def send_400_response(self, msg: str) -> None:
        error = sys.exc_info()[1]
        cause = error.__context__ if isinstance(error, httptools.HttpParserCallbackError) else error
        self._refuse("malformed-request", "The request is not HTTP/1.1", 400, str(cause or error or msg))

    def _refuse(self, slug: str, title: str, status: int, detail: str) -> None:
        cycle: RequestResponseCycle | None = self.cycle
        self._transport.unread = cycle is None or cycle.response_complete
        if self._transport.unread:
            content = json.dumps(problem_body(slug, title, status, detail)).encode()
            headers = (
                f"Content-Type: {MEDIA_TYPE}\r\nContent-Length: {len(content)}\r\nConnection: close\r\n"
                f"{request_id.HEADER}: {request_id.new()}\r\n\r\n"
            )
            self.transport.write(STATUS_LINE[status] + headers.encode() + content)
        self.transport.close()

    def _watch_headers(self) -> None:
        if self._header_timer is None:
            self._header_timer = self.loop.call_later(self._header_timeout_s, self.transport.close)

    def _stop_watching_headers(self) -> None:
        if self._header_timer is not None:
            self._header_timer.cancel()
            self._header_timer = None


def _is(what: str, cycle: ref[RequestResponseCycle]) -> bool:
    return getattr(cycle(), what, False)


class Config(uvicorn.Config):
    """How Rosette is served; can be handed to another process."""

    def __init__(self, app: FastAPI | str, settings: Settings) -> None:
        super().__init__(
            app,
            factory=isinstance(app, str),
            workers=settings.workers,
            host=settings.host,
            port=settings.port,
            loop="uvloop",
            http=PatientProtocol,  # type: ignore[arg-type] # asyncio takes any protocol
            ws="none",
            proxy_headers=False,
            server_header=False,
            timeout_keep_alive=5,
            timeout_graceful_shutdown=settings.shutdown_timeout_s,
            log_config=None,
            access_log=False,
        )
        self.header_timeout_s = settings.header_timeout_s


class Server(uvicorn.Server):
    """A uvicorn server that calls ``ready`` with its port once it listens."""

    def __init__(self, config: Config, ready: Callable[[int], None]) -> None:
        super().__init__(config)
        self._ready = ready

    async def _serve(self, sockets: list[socket.socket] | None = None) -> None:
        await super()._serve(sockets)
        # uvicorn would end the process by the signal that told it to stop; who stopped cleanly exits with 0.
        self._captured_signals.clear()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.started:
            self._ready(self.servers[0].sockets[0].getsockname()[1])


class Supervisor(Multiprocess):
    """Several server processes behind one socket; calls ``ready`` with its port once all of them listen."""

    def __init__(self, config: Config, ready: Callable[[int], None]) -> None:
        self._listening = config.bind_socket()
        super().__init__(config, [self._listening])
        self._ready = ready

    def init_processes(self) -> None:
        super().init_processes()
        if all(process.wait_until_ready(START_S, self.should_exit) for process in self.processes):
            self._ready(self._listening.getsockname()[1])


def make_server(app: FastAPI, settings: Settings, ready: Callable[[int], None]) -> Server:
    """A server for the application; ``run()`` blocks until SIGINT or SIGTERM, and lets requests finish."""
    logs.configure(settings.log_format, settings.log_level)
    return Server(Config(app, settings), ready)


def make_supervisor(settings: Settings, ready: Callable[[int], None]) -> Supervisor:
    """Server processes that read their settings from the environment; ``run()`` blocks until SIGINT or SIGTERM.

    A process that ends or hangs is replaced; at the end each lets its requests finish.
    """
    logs.configure(settings.log_format, settings.log_level)
    return Supervisor(Config("app.server:application", settings), ready)


def application() -> FastAPI:
    """The application of one process among several."""
    settings = Settings()
    logs.configure(settings.log_format, settings.log_level)
    app = create_app(settings)
    keep_what_is_there()
    return app

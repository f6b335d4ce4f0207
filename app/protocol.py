"""HTTP/1.1 as uvicorn and httptools speak it, with bounds on what a client may make the server read and keep."""

from __future__ import annotations

import asyncio
import sys
from functools import partial
from typing import TYPE_CHECKING, Any, cast
from weakref import ref

import httptools
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle

from app.problem_response import fault_of, headers_and_body

if TYPE_CHECKING:
    from app.server import Config

READ_SIZE = 16 * 1024
MAX_HEADERS = 32 * 1024
LEAVE_S = 1.0


class PatientProtocol(asyncio.BufferedProtocol):  # uvloop takes our buffer only if it is nothing else
    """HTTP/1.1 that reads no more of a body than it must before the application asks for it.

    Here one read fetches at most 16 KB, and reading stops until the application calls for the body; uvicorn reads ahead
    some 300 KB. Headers are bounded and must arrive in time, and protocol errors are answered with problem+json.
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
    """

    def __init__(self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop) -> None:
        self.unread = False  # whether the client may still be sending what nobody will read
        self._transport, self._loop = transport, loop
        self._leaving, self._head = False, b""

    def write(self, data: bytes) -> None:
        """Write; a response's head waits for the body behind it, at most until the loop's next round."""
        if not self._head and data.startswith(b"HTTP/"):
            self._head, self._alone = data, self._loop.call_soon(self.write, b"")
            return
        if self._head:
            self._alone.cancel()
            data, self._head = self._head + data, b""
        self._transport.write(data)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)

    def is_closing(self) -> bool:
        return self._leaving or self._transport.is_closing()

    def close(self) -> None:
        if self._head:
            self.write(b"")
        if self.is_closing() or not self.unread:
            self._transport.close()
            return
        self._leaving = True
        self._transport.pause_reading()
        self._transport.write_eof()
        self._loop.call_later(LEAVE_S, self._transport.close)


class _WithoutUpgrades:
    """httptools' parser, for which an offer to speak another protocol is as good as none (RFC 9110, section 7.8).

    httptools takes a request with such an offer for one without a body, and whatever comes behind for the other
    protocol. So the request's head is parsed once more without its ``Upgrade``, by a parser that goes on from there.

    Args:
        protocol: gets the callbacks; while ``should_upgrade`` says so, it disregards those that tell of a head's end.
    """

    def __init__(self, protocol: _Parser) -> None:
        self._protocol = protocol
        self._renew()

    def feed_data(self, data: bytes) -> None:
        view = memoryview(data)
        while True:
            try:
                self._parser.feed_data(view)
                return
            except httptools.HttpParserUpgrade as upgrade:
                method, version = self._parser.get_method(), self._parser.get_http_version().encode()
                view = view[upgrade.args[0] :]
                head = [b"%s %s HTTP/%s\r\n" % (method, self._protocol.url, version)]
                head += [b"%s: %s\r\n" % each for each in self._protocol.headers if each[0] != b"upgrade"]
            self._renew()
            self._parser.feed_data(b"".join(head) + b"\r\n")

    def _renew(self) -> None:
        self._parser = httptools.HttpRequestParser(self._protocol)
        self._parser.set_dangerous_leniencies(lenient_data_after_close=True)  # as uvicorn does
        self.get_method, self.get_http_version = self._parser.get_method, self._parser.get_http_version
        self.should_upgrade, self.should_keep_alive = self._parser.should_upgrade, self._parser.should_keep_alive


class _Parser(HttpToolsProtocol):
    def __init__(self, config: Config, **options: Any) -> None:
        super().__init__(config, **options)
        self._idle = config.idle
        self._max_connections = config.max_connections
        self.parser = cast(httptools.HttpRequestParser, _WithoutUpgrades(self))
        self._header_timeout_s = config.header_timeout_s
        self._header_timer: asyncio.TimerHandle | None = None
        self._header_bytes = self._idle_bytes = 0
        self._in_headers = False

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        self._transport = _Transport(transport, self.loop)
        super().connection_made(self._transport)  # type: ignore[arg-type] # stands in for it
        self._idle[self] = None
        if len(self.connections) > self._max_connections and self._idle:
            longest_idle = cast(_Parser, next(iter(self._idle)))
            del self._idle[longest_idle]
            longest_idle.transport.close()
        self._watch_headers()

    def connection_lost(self, exc: Exception | None) -> None:
        self._idle.pop(self, None)
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
        self._idle_bytes += len(data)
        super().data_received(data)
        if self._in_headers:
            self._watch_headers()
        cycle: RequestResponseCycle | None = self.cycle
        if self._idle_bytes > MAX_HEADERS + READ_SIZE and self._transport.unread and not self.transport.is_closing():
            detail = f"Over {MAX_HEADERS} bytes of a chunked body belong to no chunk: they are its trailers."
            self._refuse("headers-too-large", "The trailers are too large", 431, detail)
            return
        if cycle is None or not cycle.more_body or cycle.response_complete:
            return
        if cycle is not before or cycle.body:  # a chunk's length alone wakes nobody who would read on
            self.flow.pause_reading()

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._in_headers = True

    def on_headers_complete(self) -> None:
        if self.parser.should_upgrade() and self.parser.get_method() != b"CONNECT":
            return
        self._idle.pop(self, None)
        self._transport.unread, self._idle_bytes = True, 0
        self._stop_watching_headers()
        if (version := self.parser.get_http_version()) not in ("1.0", "1.1"):
            raise ValueError("expected HTTP/1.1")
        hosts, codings = 0, []
        for name, value in self.headers:
            if name == b"host":
                hosts += 1
            elif name == b"transfer-encoding":
                codings.append(value.strip().lower())
        if version == "1.1" and hosts != 1:
            raise ValueError("expected exactly one Host header")
        if self.parser.get_method() == b"CONNECT":
            raise ValueError("expected another method than CONNECT: this is no proxy")
        if codings not in ([], [b"chunked"]):
            raise ValueError("expected no Transfer-Encoding but chunked: send the body without compression")
        super().on_headers_complete()
        self.headers = []  # the scope has them; trailers are for nobody
        state = self.scope["state"]
        # Not the cycle itself: it refers to the state, and only the garbage collector could free the two.
        state["gone"] = partial(_is, "disconnected", ref(self.cycle))
        state["unread"] = partial(_is, "more_body", ref(self.cycle))

    def on_chunk_header(self) -> None:
        self._idle_bytes = 0

    def on_body(self, body: bytes) -> None:
        self._idle_bytes = 0
        super().on_body(body)

    def on_message_complete(self) -> None:
        if self.parser.should_upgrade() and self.parser.get_method() != b"CONNECT":
            return
        self._transport.unread, self._header_bytes = False, 0
        super().on_message_complete()

    def on_response_complete(self) -> None:
        super().on_response_complete()
        if not self.pipeline and not self.transport.is_closing():
            self._idle[self] = None

    def send_400_response(self, msg: str) -> None:
        self._refuse("malformed-request", "The request is not HTTP/1.1", 400, fault_of(sys.exc_info()[1]) or msg)

    def _refuse(self, slug: str, title: str, status: int, detail: str) -> None:
        cycle: RequestResponseCycle | None = self.cycle
        if cycle is not None and self._transport.unread and not cycle.response_started and not self.pipeline:
            # Its body is at fault, and this is its answer: the application finds that the client has left.
            cycle.disconnected = True
            cycle.message_event.set()
            answers = True
        else:
            answers = cycle is None or cycle.response_complete
        self._transport.unread = answers
        if answers:
            self.transport.write(STATUS_LINE[status] + headers_and_body(slug, title, status, detail))
        self.transport.close()

    def _watch_headers(self) -> None:
        if self._header_timer is None:
            self._header_timer = self.loop.call_later(self._header_timeout_s, self.transport.close)

    def _stop_watching_headers(self) -> None:
        self._in_headers = False
        if self._header_timer is not None:
            self._header_timer.cancel()
            self._header_timer = None


def _is(what: str, cycle: ref[RequestResponseCycle]) -> bool:
    return getattr(cycle(), what, False)

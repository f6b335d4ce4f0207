"""The HTTP server of the application: limits, timeouts, shutdown."""

from __future__ import annotations

import errno
import logging
import os
import resource
import socket
import sys
from collections.abc import Callable
from contextlib import suppress

import uvicorn
from fastapi import FastAPI
from uvicorn.supervisors import Multiprocess

from app import logs, variables
from app.main import create_app
from app.memory import keep_what_is_there
from app.protocol import PatientProtocol
from app.settings import Settings

START_S = 60.0
# For the database's connections, the inference processes, journals, uploads and libraries.
RESERVED_DESCRIPTORS = 128
MIN_CONNECTIONS = 8

log = logging.getLogger("rosette.settings")


class Config(uvicorn.Config):
    """Configuration of uvicorn; can be pickled for another process."""

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
        self.wanted_connections = settings.connections
        self.idle: dict[object, None] = {}

    @property
    def max_connections(self) -> int:
        """The number of connections of the settings, bounded by the limit of open files."""
        soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        room = sys.maxsize if soft == resource.RLIM_INFINITY else soft - RESERVED_DESCRIPTORS
        return max(MIN_CONNECTIONS, min(self.wanted_connections, room))


class Server(uvicorn.Server):
    """A uvicorn server that calls ``ready`` with its port once it listens."""

    def __init__(self, config: Config, ready: Callable[[int], None]) -> None:
        super().__init__(config)
        self._ready = ready

    async def _serve(self, sockets: list[socket.socket] | None = None) -> None:
        await super()._serve(sockets)
        # uvicorn would raise the stop signal again; after a clean stop the exit status must be 0.
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


def check_port(settings: Settings) -> None:
    """Check that the port is free, before anything is started.

    Raises:
        ValueError: if another program listens there.
    """
    host, port = settings.host, settings.port
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as tried:
        tried.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            tried.bind((host, port))
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                raise ValueError(
                    f"port {port} of {host} is in use: set ROSETTE_PORT to another port, or stop the program that "
                    "listens there"
                ) from error


def warn_of_unknown_variables() -> None:
    """Log variables that are not settings; names similar to a setting are refused by the settings."""
    for variable, (nearest, _) in variables.unknown(os.environ, Settings.model_fields).items():
        log.warning("%s is not a setting and is ignored: the setting with the nearest name is %s", variable, nearest)


def raise_descriptor_limit() -> None:
    """Raise the limit of open files of this process and its children to the hard limit."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def make_server(app: FastAPI, settings: Settings, ready: Callable[[int], None]) -> Server:
    """A server for the application; ``run()`` blocks until SIGINT or SIGTERM, and lets requests finish."""
    logs.configure(settings.log_format, settings.log_level)
    warn_of_unknown_variables()
    return Server(Config(app, settings), ready)


def make_supervisor(settings: Settings, ready: Callable[[int], None]) -> Supervisor:
    """Server processes that read their settings from the environment; ``run()`` blocks until SIGINT or SIGTERM.

    A process that ends or hangs is replaced; at shutdown each process finishes its requests.
    """
    logs.configure(settings.log_format, settings.log_level)
    warn_of_unknown_variables()
    return Supervisor(Config("app.server:application", settings), ready)


def application() -> FastAPI:
    """The application of one of several processes."""
    settings = Settings()
    logs.configure(settings.log_format, settings.log_level)
    app = create_app(settings)
    keep_what_is_there()
    return app

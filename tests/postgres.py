"""A PostgreSQL server for a test, which can be stopped and started."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest


class Postgres:
    """A cluster in a folder of its own, reached by a socket in that folder."""

    def __init__(self, binaries: Path, folder: Path) -> None:
        self._binaries = binaries
        self._folder = folder
        self.url = f"postgresql+psycopg://rosette@/postgres?host={folder}"

    def _run(self, program: str, *arguments: str) -> None:
        command = [str(self._binaries / program), "--pgdata", str(self._folder / "data"), *arguments]
        if os.geteuid() == 0:  # PostgreSQL refuses to run as root
            command = ["runuser", "-u", "postgres", "--", *command]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, cwd="/")

    def create(self) -> None:
        self._run("initdb", "--username", "rosette", "--auth", "trust", "--encoding", "UTF8")

    def start(self) -> None:
        options = f"-c listen_addresses='' -c unix_socket_directories='{self._folder}'"
        self._run("pg_ctl", "--log", str(self._folder / "log"), "--silent", "--wait", "--options", options, "start")

    def hang(self) -> None:
        """Connections stay, and nothing answers."""
        self._signal(signal.SIGSTOP)

    def go_on(self) -> None:
        self._signal(signal.SIGCONT)

    def _signal(self, number: signal.Signals) -> None:
        postmaster = int((self._folder / "data" / "postmaster.pid").read_text().splitlines()[0])
        backends = Path(f"/proc/{postmaster}/task/{postmaster}/children").read_text().split()
        for process in (postmaster, *map(int, backends)):
            os.kill(process, number)

    def stop(self) -> None:
        """As a crash would: no connection is asked first."""
        self._run("pg_ctl", "--mode", "immediate", "--silent", "--wait", "stop")


@contextmanager
def own_postgres() -> Iterator[Postgres]:
    """A running server; the test is skipped where PostgreSQL is not installed."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    if not found:
        pytest.skip("no PostgreSQL server: install Debian's package postgresql")
    folder = Path(tempfile.mkdtemp(prefix="rosette-postgres-", dir="/tmp"))
    if os.geteuid() == 0:
        shutil.chown(folder, "postgres")
    postgres = Postgres(found[-1].parent, folder)
    try:
        postgres.create()
        postgres.start()
        yield postgres
    finally:
        if (folder / "data" / "postmaster.pid").exists():
            postgres.stop()
        shutil.rmtree(folder)

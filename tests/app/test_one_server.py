"""One server per SQLite file; file modes; a newer database; descriptors and connections."""

from __future__ import annotations

import os
import resource
import stat
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path
from socket import create_connection, socket
from time import monotonic

import httpx
import pytest
from sqlalchemy import Engine, text

from app.records.database import open_database
from app.records.migrations import NewerDatabaseError, migrate
from tests.app.conftest import RunningServer
from tests.installed import rosette
from tests.processes import KEY, serving


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_a_second_server_on_one_sqlite_file_is_refused(tmp_path: Path, artifact_path: Path) -> None:
    home = tmp_path / "home"
    other = tmp_path / "link"
    settings = {"ROSETTE_HOME": str(home), "ROSETTE_PORT": "0"}
    with serving(home, artifact_path, ROSETTE_ADMIN_KEY=KEY) as server:
        url = server.wait_until_it_listens()
        other.symlink_to(home)
        for path in (home, other):
            said = rosette("serve", code=1, **settings | {"ROSETTE_HOME": str(path)})
            assert f"another server (process {server.process.pid}) uses the database" in said
            assert "Traceback" not in said
        assert "rsk_" in rosette("keys", "add", "--name", "beside", ROSETTE_HOME=str(home))
        assert "complete" in rosette("audit", "verify", ROSETTE_HOME=str(home))
        assert httpx.get(f"{url}/livez").status_code == 200
    with serving(home, artifact_path, ROSETTE_ADMIN_KEY=KEY) as server:  # the other one was killed
        server.wait_until_it_listens()


@pytest.mark.parametrize("before", [None, 0o644, 0o666])
def test_the_database_is_its_owners_alone_whatever_the_folder(tmp_path: Path, before: int | None) -> None:
    tmp_path.chmod(0o755)
    file = tmp_path / "rosette.db"
    if before is not None:
        migrate(open_database(f"sqlite:///{file}"))
        for path in tmp_path.iterdir():
            path.chmod(before)
    mask = os.umask(0)
    try:
        engine = open_database(f"sqlite:///{file}")
        migrate(engine)
        with engine.connect() as connection:
            connection.execute(text("SELECT count(*) FROM predictions"))
            assert {path.name: mode(path) for path in tmp_path.iterdir()} == dict.fromkeys(
                ("rosette.db", "rosette.db-wal", "rosette.db-shm"), 0o600
            )
        engine.dispose()
    finally:
        os.umask(mask)


def test_a_database_of_a_later_version_is_said_in_a_sentence(database: Engine) -> None:
    migrate(database)
    with database.begin() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    with pytest.raises(NewerDatabaseError, match=r"a newer Rosette \(revision 9999; .* install that version again"):
        migrate(database)


@pytest.mark.parametrize("command", ["serve", "keys list", "models list", "drift"])
def test_commands_say_it_too(tmp_path: Path, command: str) -> None:
    engine = open_database(f"sqlite:///{tmp_path / 'rosette.db'}")
    migrate(engine)
    with engine.begin() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    engine.dispose()
    said = rosette(*command.split(), code=1, ROSETTE_HOME=str(tmp_path), ROSETTE_PORT="0")
    assert said.startswith("rosette: the database has the tables of a newer Rosette")
    assert len(said.splitlines()) == 1


def test_the_limit_of_descriptors_is_raised(tmp_path: Path, artifact_path: Path) -> None:
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(512, hard), hard))
    try:
        with serving(tmp_path, artifact_path, ROSETTE_ADMIN_KEY=KEY) as server:
            server.wait_until_it_listens()
            limits = Path(f"/proc/{server.process.pid}/limits").read_text()
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    line = next(line for line in limits.splitlines() if line.startswith("Max open files"))
    assert line.split()[3] == line.split()[4]


def answers(url: str) -> None:
    assert httpx.get(f"{url}/livez", timeout=30, trust_env=False).status_code == 200


def closed_by_peer(connection: socket) -> bool:
    """Whether nothing more comes; the kernel resets a connection that is closed before its bytes are read."""
    try:
        return connection.recv(1) == b""
    except ConnectionResetError:
        return True


def test_idle_connections_give_way(tmp_path: Path, artifact_path: Path, png: bytes) -> None:
    """Those that have been idle longest are closed; those at work are not."""
    with RunningServer(tmp_path, artifact_path, connections=8, header_timeout_s=600) as server, ExitStack() as stack:
        address = ("127.0.0.1", server.port)
        busy = stack.enter_context(create_connection(address, timeout=60))
        busy.sendall(
            f"POST /predict HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {server.key}\r\n"
            f"Content-Type: image/png\r\nContent-Length: {len(png)}\r\n\r\n".encode()
            + png[:100]
        )
        answers(server.url)
        idle = [stack.enter_context(create_connection(address, timeout=60)) for _ in range(40)]
        for connection in idle[:20]:
            connection.sendall(b"GET /livez HTTP/1.1\r\nHost")  # a head that never ends
        for connection in idle[:30]:
            assert closed_by_peer(connection), "it should be closed for a later one"
        for _ in range(20):
            answers(server.url)
        busy.sendall(png[100:])
        assert busy.recv(20).startswith(b"HTTP/1.1 200")


def test_with_256_descriptors_it_answers_whoever_comes(tmp_path: Path, artifact_path: Path) -> None:
    program = Path(sys.executable).with_name("rosette")
    environment = {name: value for name, value in os.environ.items() if not name.startswith("ROSETTE_")}
    environment |= {"ROSETTE_HOME": str(tmp_path), "ROSETTE_PORT": "0", "ROSETTE_ADMIN_KEY": KEY}
    environment |= {"ROSETTE_INFERENCE_PROCESSES": "1", "ROSETTE_MODEL": str(artifact_path)}
    process = subprocess.Popen(
        ["sh", "-c", 'ulimit -n 256 && exec "$0" serve', program], env=environment, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    with process, ExitStack() as stack:
        try:
            line = next(line for line in process.stdout if " listens at " in line)
            url = line.partition(" listens at ")[2].split()[0].rstrip(",")
            address = ("127.0.0.1", int(url.rpartition(":")[2]))
            for _ in range(400):
                stack.enter_context(create_connection(address, timeout=60))
            deadline = monotonic() + 60
            while httpx.get(f"{url}/readyz", timeout=30, trust_env=False).json().get("status") != "ready":
                assert monotonic() < deadline
            for _ in range(20):
                answers(url)
            open_files = len(list(Path(f"/proc/{process.pid}/fd").iterdir()))
            assert open_files < 256
        finally:
            process.kill()

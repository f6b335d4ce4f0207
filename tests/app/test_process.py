"""The server as a process: loaded modules, start, stop, kill."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import sqlite3
import stat
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from pathlib import Path
from time import monotonic

import httpx
import pytest

from tests.conftest import ROOT
from tests.homes import furnish
from tests.processes import cpu_seconds, family, memory_kb

PNG = {"Content-Type": "image/png"}
SERVE = [sys.executable, "-c", "from model_zoo.cli import main; main()", "serve"]
LIBRARIES = "import time, alembic.command, fastapi, onnxruntime, sqlalchemy.orm; print(time.process_time())"
MAX_START = 8  # of the processor time that it takes to import the libraries above
HEAVY = {"torch", "onnx", "e2cnn", "lightning", "scipy", "pyarrow"}


def environment(home: Path, **settings: str) -> dict[str, str]:
    named = {f"ROSETTE_{name}": value for name, value in settings.items()}
    return os.environ | {"ROSETTE_HOME": str(home), "ROSETTE_PORT": "0", "PYTHONUNBUFFERED": "1"} | named


@contextmanager
def process(
    home: Path, model: Path, *, command: list[str] | None = None, first: bool = False, **settings: str
) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """A server process, and what it said when it was ready to listen; its start is the home's first if ``first``."""
    if not first and "DATABASE_URL" not in settings:
        furnish(home, model)
    settings = {"INFERENCE_PROCESSES": "1"} | settings
    served = subprocess.Popen(
        command or SERVE,
        env=environment(home, MODEL=str(model), **settings),
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert served.stdout is not None
        said = ""
        while "curl -sS" not in said:
            line = served.stdout.readline()
            assert line, f"the server ended while it started: {said}"
            said += line
        yield served, said
    finally:
        if served.poll() is None:
            served.kill()
        served.wait()
        assert served.stdout is not None
        served.stdout.close()


def url_in(said: str) -> str:
    found = re.search(r"http://127\.0\.0\.1:\d+", said)
    assert found
    return found[0]


def test_the_printed_curl_line_is_answered_as_it_stands(tmp_path: Path, artifact_path: Path) -> None:
    home = tmp_path / "a home"
    with process(home, artifact_path, first=True) as (served, said):
        [curl] = [line.strip() for line in said.splitlines() if line.strip().startswith("curl ")]
        assert "rsk_" not in said, "the key itself is printed nowhere"
        answered = subprocess.run(["sh", "-c", curl], capture_output=True, text=True, check=True)
        answer = json.loads(answered.stdout)
        assert answer["consistency"]["exact"] is True
        assert answer["decision"] in {"positive", "negative", "review"}
        assert stat.S_IMODE((home / "admin.key").stat().st_mode) == 0o600
        assert stat.S_IMODE(home.stat().st_mode) == 0o700
        served.send_signal(signal.SIGTERM)
        assert served.wait(120) == 0


def test_an_answer_survives_kill_9(tmp_path: Path, artifact_path: Path, png: bytes) -> None:
    with process(tmp_path, artifact_path) as (served, said):
        headers = {"Authorization": f"Bearer {(tmp_path / 'admin.key').read_text().strip()}"}
        answers = [
            httpx.post(f"{url_in(said)}/predict", content=png, headers=headers | PNG, params={"rotations": "none"})
            for _ in range(5)
        ]
        served.kill()
        served.wait()
    with process(tmp_path, artifact_path) as (_, said):
        for answer in answers:
            assert answer.status_code == 200
            read = httpx.get(f"{url_in(said)}/predictions/{answer.json()['id']}", headers=headers)
            assert read.content == answer.content


def test_accepted_requests_finish_when_the_server_is_told_to_stop(
    tmp_path: Path, artifact_path: Path, png: bytes
) -> None:
    """Sixteen patches wait for one process when SIGTERM comes: each is answered, and recorded."""
    with process(tmp_path, artifact_path) as (served, said):
        headers = PNG | {"Authorization": f"Bearer {(tmp_path / 'admin.key').read_text().strip()}"}
        with httpx.Client(base_url=url_in(said), headers=headers, timeout=120, trust_env=False) as client:
            client.post("/predict", content=png)

            def ask(_: int) -> httpx.Response:
                return client.post("/predict", content=png, params={"rotations": "all"})

            with ThreadPoolExecutor(16) as pool:
                asked = [pool.submit(ask, number) for number in range(16)]
                next(as_completed(asked))
                served.send_signal(signal.SIGTERM)
                finished = [each.result() if each.exception() is None else None for each in asked]
        assert served.wait(120) == 0
    answers = [response for response in finished if response is not None]
    assert {response.status_code for response in answers} == {200}
    assert len(answers) >= 1
    recorded = sqlite3.connect(tmp_path / "rosette.db").execute("SELECT answer FROM predictions").fetchall()
    assert {response.text for response in answers} <= {text for (text,) in recorded}


def test_several_processes_serve_one_port(tmp_path: Path, artifact_path: Path, png: bytes, postgres_url: str) -> None:
    """One of them is killed: the others answer, and it is replaced."""
    command = [*SERVE, "--workers", "2"]
    with process(tmp_path, artifact_path, command=command, DATABASE_URL=postgres_url) as (served, said):
        headers = PNG | {"Authorization": f"Bearer {(tmp_path / 'admin.key').read_text().strip()}"}

        def answered() -> bool:
            try:
                response = httpx.post(f"{url_in(said)}/predict", content=png, headers=headers, trust_env=False)
            except httpx.TransportError:  # it was the killed one's
                return False
            return response.status_code == 200

        assert all(answered() for _ in range(8))
        [*_, child] = children(served.pid)
        os.kill(child, signal.SIGKILL)
        deadline = monotonic() + 120
        while child in children(served.pid) or len(children(served.pid)) < 3:
            assert monotonic() < deadline
        while not all(answered() for _ in range(8)):
            assert monotonic() < deadline
        served.send_signal(signal.SIGTERM)
        assert served.wait(60) == 0


def children(parent: int) -> list[int]:
    """The processes that another one started, in their order."""
    return [int(child) for child in Path(f"/proc/{parent}/task/{parent}/children").read_text().split()]


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
def test_the_inference_processes_end_with_the_server(tmp_path: Path, artifact_path: Path, how: signal.Signals) -> None:
    with process(tmp_path, artifact_path, INFERENCE_PROCESSES="2") as (served, _):
        [_, *inferring] = family(served.pid)
        assert len(inferring) == 2
        for pid in inferring:
            os.kill(pid, signal.SIGTERM)  # as a service manager does, which means all of them
        served.send_signal(how)
        assert served.wait(120) == (-signal.SIGKILL if how == signal.SIGKILL else 0)
        deadline = monotonic() + 120
        while any(running(pid) for pid in inferring):
            assert monotonic() < deadline


def running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
def test_the_server_is_light(
    tmp_path: Path, artifact_path: Path, png: bytes, capsys: pytest.CaptureFixture[str]
) -> None:
    """No training library in it; ready for a few times the processor time of its libraries, under 300 MB after it has
    answered, both with two inference processes."""
    unit = float(subprocess.run([sys.executable, "-c", LIBRARIES], capture_output=True, check=True).stdout)
    program = (
        "import atexit, json, sys; atexit.register(lambda: print('MODULES', json.dumps(sorted(sys.modules))));"
        "from model_zoo.cli import main; sys.argv[1:] = ['serve']; main()"
    )
    command = [sys.executable, "-c", program]
    with process(tmp_path, artifact_path, command=command, first=True, INFERENCE_PROCESSES="2") as (served, said):
        assert httpx.get(f"{url_in(said)}/readyz").status_code == 200
        start = cpu_seconds(served.pid)
        headers = {"Authorization": f"Bearer {(tmp_path / 'admin.key').read_text().strip()}"}
        for _ in range(20):
            assert httpx.post(f"{url_in(said)}/predict", content=png, headers=headers | PNG).status_code == 200
        memory = memory_kb(served.pid) / 1024
        served.send_signal(signal.SIGINT)
        assert served.stdout is not None
        rest = served.stdout.read()
    modules = json.loads(rest.partition("MODULES ")[2].splitlines()[0])
    with capsys.disabled():
        print(f"\n[server: started for {start:.1f} CPU s, {start / unit:.1f} times its libraries, {memory:.0f} MB]")
    assert not {name.partition(".")[0] for name in modules} & HEAVY
    assert not [name for name in modules if name.startswith("training.")]
    assert memory < 300
    assert start < MAX_START * unit


def test_the_process_reports_to_nobody(tmp_path: Path) -> None:
    """onnxruntime would collect in the user's cache folder what it reports to its makers."""
    bare = {name: value for name, value in os.environ.items() if name != "ORT_DISABLE_TELEMETRY"}
    program = [sys.executable, "-c", "import app.main, onnxruntime; onnxruntime.get_available_providers()"]
    subprocess.run(program, check=True, cwd=ROOT, env=bare | {"HOME": str(tmp_path)})
    assert list(tmp_path.iterdir()) == []


def test_a_port_in_use_is_said_with_the_setting(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        variables = environment(tmp_path) | {"ROSETTE_PORT": str(port)}
        done = subprocess.run(SERVE, env=variables, cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.returncode == 1
    assert f"port {port} of 127.0.0.1 is in use: set ROSETTE_PORT" in done.stderr


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"ADMIN_KEY": "short"}, "ROSETTE_ADMIN_KEY has 5 characters, expected at least 32"),
        ({"WORKERS": "2"}, "2 processes cannot share an SQLite database"),
        ({"PORT": "x"}, "ROSETTE_PORT expected a whole number"),
        ({"DATABASE_URL": "mysql://host/name"}, "names mysql, expected sqlite or postgresql"),
        ({"DATABASE_URL": "sqlite:////nowhere/at/all.db"}, "the database cannot be used: unable to open"),
        ({"HOME": "/proc/nowhere"}, "No such file or directory"),
    ],
)
def test_what_an_administrator_got_wrong_is_said_in_one_sentence(
    tmp_path: Path, settings: dict[str, str], message: str
) -> None:
    done = subprocess.run(
        SERVE,
        env=environment(tmp_path) | {f"ROSETTE_{name}": value for name, value in settings.items()},
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 1
    assert message in done.stderr
    assert "Traceback" not in done.stderr

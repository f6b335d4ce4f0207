"""kill -9 of every part and of the engine under load: it restarts by itself, and no answer is lost."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path
from time import sleep

import pytest

from tests.docker.load import Load, load
from tests.docker.stack import Stack, docker, run, until

BACK_S = 300
AFTER = 20


pytestmark = pytest.mark.usefixtures("root")


@pytest.fixture(scope="module")
def stack(new_stack: Callable[..., Stack]) -> Stack:
    stack = new_stack("kills")
    stack.up("--scale", "app=2")
    return stack


def answers_again(running: Load) -> Callable[[], bool]:
    """Whether more answers come than could have been under way."""
    before = len(running.answered)
    return lambda: len(running.answered) >= before + AFTER


def nothing_lost(stack: Stack, running: Load) -> Callable[[], bool]:
    """Whether the database is back, and has every answer."""
    return lambda: stack.database_answers() and set(running.answered) <= stack.recorded()


@pytest.mark.parametrize("service", ["app", "db", "proxy"])
def test_a_killed_part_comes_back_by_itself(
    stack: Stack, png: bytes, service: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with load(stack, png) as running:
        until(answers_again(running), BACK_S, "the first answers")
        for pid in stack.pids(service):
            os.kill(pid, signal.SIGKILL)
        took = until(answers_again(running), BACK_S, f"answers after {service} was killed")
    until(nothing_lost(stack, running), BACK_S, "the record of every answer")
    with capsys.disabled():
        print(f"\n[{service} killed: answers again after {took:.1f} s; {len(running.answered)} answered, 0 lost]")
    assert len(running.answered) >= 2 * AFTER


def engine_script() -> Path:
    """The script that started this machine's engine, and starts it again as systemd would.

    Another engine is not ours to kill.
    """
    started_by = os.environ.get("ROSETTE_TEST_ENGINE")
    if not started_by:
        pytest.skip("the engine is not the tests' own: `bash .ci/run` starts one and names it in ROSETTE_TEST_ENGINE")
    return Path(started_by)


def test_a_killed_engine_brings_everything_back(stack: Stack, png: bytes, capsys: pytest.CaptureFixture[str]) -> None:
    script = engine_script()
    engine = docker_pid()
    with load(stack, png) as running:
        until(answers_again(running), BACK_S, "the first answers")
        os.kill(engine, signal.SIGKILL)
        until(lambda: not alive(engine), BACK_S, "the engine's end")
        sleep(1)
        run(["bash", str(script), "engine"])
        took = until(answers_again(running), 2 * BACK_S, "answers after the engine was killed")
    until(lambda: len(stack.pids("app")) == 2, BACK_S, "both replicas")
    until(nothing_lost(stack, running), BACK_S, "the record of every answer")
    with capsys.disabled():
        print(f"\n[engine killed: answers {took:.1f} s after its start; {len(running.answered)} answered, 0 lost]")


def docker_pid() -> int:
    """The engine's process: the one that listens on its socket."""
    path = os.environ["DOCKER_HOST"].removeprefix("unix://")
    return int((Path(path).parent / "docker.pid").read_text())


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_the_audit_trail_is_whole_after_all_of_that(stack: Stack) -> None:
    with stack.client() as client:
        assert client.get("/admin/audit/verify").json()["whole"] is True
    assert docker("ps", "--quiet", "--filter", f"label=com.docker.compose.project={stack.project}").count("\n") == 3

"""The database stops during load, then the servers are killed: nothing is lost."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable

import pytest

from tests.docker.stack import PNG, Stack, until

ANSWERS = 200


@pytest.mark.usefixtures("root")
def test_answers_given_while_the_database_was_away_are_recorded(
    new_stack: Callable[..., Stack], png: bytes, capsys: pytest.CaptureFixture[str]
) -> None:
    stack = new_stack("journal")
    stack.up("--scale", "app=2")
    with stack.client() as client:
        assert client.post("/predict", content=png, headers=PNG).status_code == 200
        stack.compose("stop", "db")
        answered = set()
        for _ in range(ANSWERS):
            response = client.post("/predict", content=png, headers=PNG, params={"rotations": "none"})
            assert response.status_code == 200, response.text
            answered.add(response.json()["id"])
        assert client.get("/readyz").json()["status"] == "degraded"
    for pid in stack.pids("app"):
        os.kill(pid, signal.SIGKILL)
    stack.compose("up", "--detach", "--no-deps", "--scale", "app=0", "app")
    assert stack.containers("app") == []
    stack.up("--scale", "app=2")
    until(lambda: answered <= stack.recorded(), 300, "the record of every answer")
    with capsys.disabled():
        print(f"\n[database stopped, {ANSWERS} answers, servers killed and removed, all back: 0 lost]")
    stack.down()

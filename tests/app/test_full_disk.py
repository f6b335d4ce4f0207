"""A full disk: readiness and answers agree, nothing is lost, and both recover."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from time import monotonic

import httpx
import pytest

from model_zoo.turns import Patch
from tests.app.conftest import encoded
from tests.processes import KEY, Server

IN_A_SMALL_FILE_SYSTEM = 'mount -t tmpfs -o size=12m tmpfs "$ROSETTE_HOME" && exec "$0" serve'
PNG = {"Content-Type": "image/png"}
NAMESPACE = ["unshare", "--user", "--map-root-user", "--mount"]


@pytest.fixture
def confined(tmp_path: Path, artifact_path: Path) -> Iterator[Server]:
    """A server whose home is a file system of 12 MB, in a mount namespace of its own."""
    probe = [*NAMESPACE, "mount", "-t", "tmpfs", "tmpfs", str(tmp_path)]
    if shutil.which("unshare") is None or subprocess.run(probe, capture_output=True).returncode:
        pytest.skip("this system lets nobody mount a small file system in a namespace of its own")
    home = tmp_path / "home"
    home.mkdir()
    environment = {name: value for name, value in os.environ.items() if not name.startswith("ROSETTE_")}
    environment |= {"ROSETTE_HOME": str(home), "ROSETTE_PORT": "0", "ROSETTE_MODEL": str(artifact_path)}
    environment |= {"ROSETTE_ADMIN_KEY": KEY, "ROSETTE_INFERENCE_PROCESSES": "1", "ROSETTE_STORE_PATCHES": "true"}
    program = Path(sys.executable).with_name("rosette")
    command = [*NAMESPACE, "sh", "-c", IN_A_SMALL_FILE_SYSTEM, str(program)]
    with subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as process:
        server = Server(process)
        try:
            server.wait_until_it_listens()
            yield server
        finally:
            server.kill()


def fill(home: Path, leave: int) -> None:
    """Leave so many bytes of the file system free."""
    found = os.statvfs(home)
    (home / "ballast").write_bytes(bytes(max(0, found.f_bavail * found.f_frsize - leave)))


@pytest.mark.parametrize("leave", [0, 20_000, 60_000])
def test_readiness_and_answers_say_the_same(confined: Server, tmp_path: Path, tumour: Patch, leave: int) -> None:
    home = Path(f"/proc/{confined.process.pid}/root{tmp_path / 'home'}")
    assert confined.url is not None
    headers = PNG | {"Authorization": f"Bearer {KEY}"}
    answered: list[str] = []

    with httpx.Client(base_url=confined.url, headers=headers, timeout=60) as client:

        def ask() -> int:
            response = client.post("/predict", content=encoded(tumour), params={"rotations": "none"})
            if response.status_code == 200:
                answered.append(response.json()["id"])
            else:
                assert response.json()["type"] == "/problems/records-unavailable"
            return response.status_code

        assert ask() == 200
        fill(home, leave)
        deadline = monotonic() + 120
        while ask() == 200:  # what is left of the disk is used up
            assert monotonic() < deadline
        for _ in range(40):
            assert client.get("/readyz").status_code == 503
            assert ask() == 503
            assert client.get("/livez").status_code == 200
        assert client.get("/readyz").json()["failed"] == ["records"]
        (home / "ballast").unlink()
        while client.get("/readyz").status_code != 200:
            assert monotonic() < deadline
        assert ask() == 200
        while client.get("/readyz").json()["status"] != "ready":
            assert monotonic() < deadline
        for prediction in answered:
            assert client.get(f"/predictions/{prediction}").status_code == 200

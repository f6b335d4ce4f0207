"""Hostile uploads to a running server, and a server without a sandbox."""

from __future__ import annotations

import sys
from pathlib import Path

import httpx
import pytest
from sqlalchemy import text

from app.registry.sandbox import CPU_SECONDS
from tests.app.conftest import RunningServer, assert_problem
from tests.app.registry.conftest import id_of, upload
from tests.app.registry.hostile import HOSTILE
from tests.app.registry.test_vetting import cpu_of_children
from tests.app.test_process import process, url_in
from tests.conftest import earlier_artifact
from tests.scale import scaled

BODIES = {"empty file": "empty-body", "oversized": "body-too-large"}
"""What is refused before it is vetted."""


@pytest.mark.soak
def test_every_hostile_upload_leaves_a_server_unharmed(
    tmp_path: Path, artifact_path: Path, accurate: bytes, png: bytes, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "folder").mkdir()
    used = []
    earlier = earlier_artifact().read_bytes()
    tried = {kind: HOSTILE[kind] for kind in {*BODIES, *sorted(HOSTILE)[:: scaled(4, 1)]}}
    with RunningServer(tmp_path / "home", artifact_path) as server:
        files = sorted(path.name for path in server.settings.home.iterdir())
        for kind, hostile in tried.items():
            content = hostile.make(earlier, tmp_path / "folder")
            began = cpu_of_children()
            response = upload(server.client, content)
            used.append(cpu_of_children() - began)
            slug = response.json()["type"].removeprefix("/problems/")
            expected = BODIES.get(kind, "artifact-refused")
            assert (kind, slug) == (kind, expected)
            assert used[-1] < CPU_SECONDS + 2, kind
            answer = server.client.post("/predict", content=png, headers={"Content-Type": "image/png"})
            assert answer.json()["model"]["sha256"] == id_of(accurate)
        assert len(server.client.get("/admin/models").json()["models"]) == 1
        assert sorted(path.name for path in server.settings.home.iterdir()) == files
        with server.services.database.connect() as connection:
            refused = connection.execute(text("SELECT count(*) FROM audit WHERE action = 'model.refuse'")).scalar_one()
    assert refused == len(tried) - len(BODIES)
    with capsys.disabled():
        print(f"\n[{len(tried)} hostile uploads, each refused for {min(used):.2f} to {max(used):.2f} CPU s]")


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="vetting needs Linux")
def test_a_server_that_cannot_vet_accepts_no_upload_and_says_why(
    tmp_path: Path, artifact_path: Path, fast: bytes
) -> None:
    """As under an outer sandbox that forbids to make another."""
    program = (
        "from pyseccomp import ALLOW, ERRNO, SyscallFilter\n"
        "outer = SyscallFilter(ALLOW); outer.add_rule(ERRNO(38), 'seccomp'); outer.load()\n"
        "import sys; from model_zoo.cli import main; sys.argv[1:] = ['serve']; main()"
    )
    with process(tmp_path, artifact_path, command=[sys.executable, "-c", program]) as (_, said):
        key = (tmp_path / "admin.key").read_text().strip()
        with httpx.Client(base_url=url_in(said), headers={"Authorization": f"Bearer {key}"}, timeout=120) as client:
            problem = assert_problem(upload(client, fast), 503, "vetting-unavailable")
            assert "cannot be vetted on this server, so none is accepted: libseccomp cannot" in problem["detail"]
            assert len(client.get("/admin/models").json()["models"]) == 1
            assert client.get("/readyz").json()["status"] == "ready"

"""``rosette models``: sign, upload, activate and list from a shell."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest
from typer.testing import CliRunner

from app.commands.models import models
from app.registry.signatures import public_key
from tests.app.conftest import RunningServer
from tests.app.registry.conftest import id_of
from tests.conftest import shipped_artifact


def rosette(*arguments: str | Path, code: int = 0) -> str:
    done = CliRunner().invoke(models, [str(argument) for argument in arguments], env={"COLUMNS": "200"})
    assert done.exit_code == code, done.output
    return done.output


@pytest.fixture
def file(tmp_path: Path, fast: bytes) -> Path:
    (tmp_path / "new.onnx").write_bytes(fast)
    return tmp_path / "new.onnx"


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("ROSETTE_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


def test_an_empty_registry_says_what_to_do() -> None:
    assert "`rosette serve` registers the shipped ones" in rosette("list")


def test_a_running_server_follows_the_shell(
    home: Path, file: Path, artifact_path: Path, accurate: bytes, fast: bytes
) -> None:
    with RunningServer(home, artifact_path) as server:
        said = rosette("upload", file)
        assert "  ok      golden cases" in said
        assert "is stored. Next: rosette models activate " + id_of(fast)[:12] in said
        assert "is here already" in rosette("upload", file)
        assert "is active" in rosette("activate", id_of(fast)[:6])
        assert server.services.serving.follow().model is not None
        assert serving_now(server) == id_of(fast)
        table = rosette("list")
        assert [line.split()[7] for line in table.splitlines() if "shell:" in line] == ["active"]
        assert "is active" in rosette("rollback")
        server.services.serving.follow()
        assert serving_now(server) == id_of(accurate)
        assert "is the shadow" in rosette("shadow", id_of(fast)[:6])
        assert "No model is the shadow" in rosette("shadow")
        assert "is retired" in rosette("retire", id_of(fast)[:6])


def serving_now(server: RunningServer) -> str:
    return server.services.model.sha256


def test_signing_from_end_to_end(file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    key = tmp_path / "key.pem"
    public = rosette("keygen", key).strip()
    assert stat.S_IMODE(key.stat().st_mode) == 0o600
    assert public == public_key(key.read_text())
    monkeypatch.setenv("ROSETTE_TRUSTED_KEYS", public)
    assert "the artifact is not signed" in rosette("upload", file, code=1)
    signature = rosette("sign", file, "--key", key).strip()
    assert (tmp_path / "new.onnx.sig").read_text().strip() == signature
    assert "signed with the trusted key" in rosette("upload", file)
    assert "File exists" in rosette("keygen", key, code=1)


def test_an_ambiguous_or_unknown_id_is_said(home: Path, artifact_path: Path) -> None:
    with RunningServer(home, artifact_path):
        assert "0 models have an id that begins with 'zz'" in rosette("activate", "zz", code=1)


def test_a_refused_file_is_told_step_by_step(tmp_path: Path) -> None:
    twin = shipped_artifact("fp32")
    assert "was refused" in rosette("upload", twin, code=1)
    (tmp_path / "junk").write_bytes(b"PK\x03\x04junk")
    assert "was refused" in rosette("upload", tmp_path / "junk", code=1)
    assert "There is no model yet" in rosette("list")

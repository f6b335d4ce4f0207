"""``rosette models``: sign, upload, activate and list from a shell."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from app.signatures import public_key
from tests.app.conftest import RunningServer
from tests.app.registry.conftest import id_of
from tests.conftest import shipped_artifact
from tests.installed import rosette


@pytest.fixture
def file(tmp_path: Path, fast: bytes) -> Path:
    (tmp_path / "new.onnx").write_bytes(fast)
    return tmp_path / "new.onnx"


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("ROSETTE_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


def test_an_empty_registry_says_what_to_do() -> None:
    assert "`rosette serve` registers the shipped ones" in rosette("models", "list")


def test_a_running_server_follows_the_shell(
    home: Path, file: Path, artifact_path: Path, accurate: bytes, fast: bytes
) -> None:
    with RunningServer(home, artifact_path) as server:
        said = rosette("models", "upload", file)
        assert "  ok      golden cases" in said
        assert "is stored. Next: rosette models activate " + id_of(fast)[:12] in said
        assert "is here already" in rosette("models", "upload", file)
        assert "is active" in rosette("models", "activate", id_of(fast)[:6])
        assert server.services.serving.follow().model is not None
        assert serving_now(server) == id_of(fast)
        table = rosette("models", "list")
        assert [line.split()[3] for line in table.splitlines() if "shell:" in line] == ["active"]
        assert "is active" in rosette("models", "rollback")
        server.services.serving.follow()
        assert serving_now(server) == id_of(accurate)
        assert "is the shadow" in rosette("models", "shadow", id_of(fast)[:6])
        assert "There is no shadow" in rosette("models", "shadow")
        assert "is retired" in rosette("models", "retire", id_of(fast)[:6])


def serving_now(server: RunningServer) -> str:
    return server.services.model.sha256


def test_signing_from_end_to_end(file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    key = tmp_path / "key.pem"
    public = rosette("models", "keygen", key).strip()
    assert stat.S_IMODE(key.stat().st_mode) == 0o600
    assert public == public_key(key.read_text())
    monkeypatch.setenv("ROSETTE_TRUSTED_KEYS", public)
    assert "the artifact is not signed" in rosette("models", "upload", file, code=1)
    signature = rosette("models", "sign", file, "--key", key).strip()
    assert (tmp_path / "new.onnx.sig").read_text().strip() == signature
    assert "signed with the trusted key" in rosette("models", "upload", file)
    assert "File exists" in rosette("models", "keygen", key, code=1)


def test_an_ambiguous_or_unknown_id_is_said(home: Path, artifact_path: Path) -> None:
    with RunningServer(home, artifact_path):
        assert "0 models have an id that begins with 'zz'" in rosette("models", "activate", "zz", code=1)


def test_a_refused_file_is_told_step_by_step(tmp_path: Path) -> None:
    twin = shipped_artifact("fp32")
    assert "was refused" in rosette("models", "upload", twin, code=1)
    (tmp_path / "junk").write_bytes(b"PK\x03\x04junk")
    assert "was refused" in rosette("models", "upload", tmp_path / "junk", code=1)
    assert "There are no models" in rosette("models", "list")

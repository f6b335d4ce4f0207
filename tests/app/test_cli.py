"""``rosette predict``, and the greeting of the server."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from app.access.caller import Role
from app.commands.keys import keys
from app.commands.predict import predict
from app.commands.server import greeting
from app.services import Services
from app.settings import Settings
from model_zoo.network import Network
from model_zoo.turns import Patch
from tests.app.conftest import RunningServer
from tests.homes import furnish


@pytest.fixture
def rosette() -> typer.Typer:
    application = typer.Typer()
    application.command("predict")(predict)
    application.add_typer(keys, name="keys")
    return application


@pytest.fixture
def patch_file(tmp_path: Path, png: bytes) -> Path:
    (tmp_path / "patch.png").write_bytes(png)
    return tmp_path / "patch.png"


def test_offline_answers_are_the_servers(
    rosette: typer.Typer, patch_file: Path, artifact_path: Path, server: RunningServer
) -> None:
    done = CliRunner().invoke(rosette, ["predict", str(patch_file), str(patch_file), "--model", str(artifact_path)])
    assert done.exit_code == 0, done.output
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(lines) == 2
    online = server.client.post(
        "/predict", content=patch_file.read_bytes(), headers={"Content-Type": "image/png"}
    ).json()
    for line in lines:
        assert line["file"] == str(patch_file)
        for part in ("logits", "consistency", "quality", "patch", "model", "decision"):
            assert line[part] == online[part]


def test_a_table_for_people(rosette: typer.Typer, patch_file: Path, artifact_path: Path) -> None:
    arguments = ["predict", str(patch_file), "--model", str(artifact_path), "--table", "--rotations", "none"]
    done = CliRunner().invoke(rosette, arguments, env={"COLUMNS": "200"})
    assert done.exit_code == 0
    assert "not measured" in done.stdout
    assert "Research use only" in done.stdout


@pytest.mark.parametrize("style", ["--json", "--table"])
def test_refused_images_are_said_and_counted(
    rosette: typer.Typer, patch_file: Path, tmp_path: Path, artifact_path: Path, style: str
) -> None:
    (tmp_path / "text.png").write_text("hello")
    images = [str(tmp_path / "text.png"), str(tmp_path / "missing.png"), str(patch_file)]
    done = CliRunner().invoke(rosette, ["predict", *images, "--model", str(artifact_path), style])
    assert done.exit_code == 1
    assert "do not begin like a PNG" in done.stderr
    assert "No such file" in done.stderr
    if style == "--json":
        lines = [json.loads(line) for line in done.stdout.splitlines()]
        assert [line.get("problem", {}).get("title") for line in lines] == [
            "The body is not a PNG, JPEG or TIFF image",
            "unreadable",
            None,
        ]


def test_a_missing_model_is_named(rosette: typer.Typer, patch_file: Path, tmp_path: Path) -> None:
    done = CliRunner().invoke(rosette, ["predict", str(patch_file), "--model", str(tmp_path / "none.onnx")])
    assert done.exit_code == 1
    assert "none.onnx cannot be used" in done.stderr
    assert "a shipped artifact: accurate, balanced, fast" in " ".join(done.stderr.split())


@pytest.mark.parametrize(("model", "expected"), [("/dev/zero", "it is not a file"), ("zeros", "it has more than")])
def test_a_model_without_end_is_refused(
    rosette: typer.Typer, patch_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, model: str, expected: str
) -> None:
    with (tmp_path / "zeros").open("wb") as sparse:
        sparse.truncate(2**40)
    monkeypatch.setenv("ROSETTE_MODEL", str(tmp_path / model))
    done = CliRunner().invoke(rosette, ["predict", str(patch_file)])
    assert done.exit_code == 1
    assert f"{Path(model).name} cannot be used: {expected}" in " ".join(done.stderr.split())


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"host": "0.0.0.0"}, "http://127.0.0.1:8000/predict"),
        ({"host": "::1"}, "http://[::1]:8000/predict"),
        ({"admin_key": "x" * 32}, "Bearer $ROSETTE_ADMIN_KEY"),
    ],
)
def test_the_greeting_names_a_reachable_address_and_never_the_key(
    tmp_path: Path, artifact_path: Path, settings: dict[str, Any], expected: str
) -> None:
    furnish(tmp_path, artifact_path)
    services = Services(Settings(home=tmp_path, model=artifact_path, inference_processes=1, **settings))
    services.start()
    said = greeting(services, 8000)
    services.stop()
    assert expected in said
    assert (
        f"sign in with the key {'of ROSETTE_ADMIN_KEY' if 'admin_key' in settings else f'in {tmp_path}/admin.key'}"
        in said
    )
    assert "x" * 32 not in said


def test_the_greeting_says_when_nothing_can_be_answered(tmp_path: Path) -> None:
    services = Services(Settings(home=tmp_path, model=tmp_path / "none", inference_processes=1))
    services.start()
    services.start()
    assert "cannot answer" in greeting(services, 8000)
    services.stop()


def test_the_demo_patch_is_a_tumour(tmp_path: Path, artifact_path: Path, network: Network, tumour: Patch) -> None:
    furnish(tmp_path, artifact_path)
    services = Services(Settings(home=tmp_path, model=artifact_path, inference_processes=1))
    services.start()
    greeting(services, 8000)
    services.stop()
    tumours = [case.png for case in network.manifest.golden_cases if case.name.startswith("tumour")]
    assert (tmp_path / "demo-patch.png").read_bytes() in tumours
    assert Role.ADMIN in {entry.role for entry in services.keys.listing()}

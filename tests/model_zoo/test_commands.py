"""The command line: lazy loading, readable output, exit status."""

from __future__ import annotations

import os
import subprocess
import sys
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner, Result

from model_zoo.cli import COMMANDS, application, main, summary
from model_zoo.network import Network
from model_zoo.synthetic import synthetic_patch


def invoke(*arguments: str | Path) -> Result:
    words = [str(argument) for argument in arguments]
    return CliRunner().invoke(application(words), words)


@pytest.fixture
def extension(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An installed distribution with commands of its own; the package ``extension`` is also an extra's name."""
    information = tmp_path / "extension-1.0.dist-info"
    information.mkdir()
    (information / "METADATA").write_text(
        "Metadata-Version: 2.1\nName: extension\nVersion: 1.0\nProvides-Extra: extension\n"
    )
    commands = ("needy", "extension.needy:run"), ("broken", "extension.broken:run"), ("absent", "nowhere.commands:run")
    lines = "".join(f"{name} = {target}\n" for name, target in commands)
    (information / "entry_points.txt").write_text(f"[{COMMANDS}]\n{lines}")
    package = tmp_path / "extension"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "needy.py").write_text(
        'import a_package_that_is_not_here\n\n\ndef run():\n    """Needs much.\n\n    Really."""\n'
    )
    (package / "broken.py").write_text("import extension.no_such_module\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    return package


def test_the_help_names_every_command_and_imports_none_of_them() -> None:
    program = "import sys\nfrom model_zoo.cli import main\ntry:\n    main()\nfinally:\n    print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", program, "--help"], capture_output=True, text=True, check=True)
    assert {entry.name for entry in entry_points(group=COMMANDS)} <= set(done.stdout.split())
    assert not {"torch", "onnx", "onnxruntime", "numpy", "fastapi", "model_zoo.commands"} & set(done.stdout.split())


@pytest.mark.parametrize(
    ("name", "words"),
    [("models", "Inspect, sign, upload and activate models"), ("demo-patch", "Write a synthetic H&E-like patch")],
)
def test_a_summary_is_read_without_importing(name: str, words: str) -> None:
    (entry,) = entry_points(group=COMMANDS, name=name)
    assert summary(entry).startswith(words)


@pytest.mark.parametrize("target", ["model_zoo.commands:absent", "model_zoo.absent:run", "nowhere.commands:run"])
def test_a_command_without_source_has_no_summary(target: str) -> None:
    assert summary(EntryPoint("absent", target, COMMANDS)) == ""


def test_a_missing_package_is_named_with_the_extra_that_brings_it(extension: Path) -> None:
    with pytest.raises(SystemExit) as stopped:
        application(["needy"])
    assert stopped.value.code == (
        "rosette needy needs the package 'a_package_that_is_not_here', which is not installed: "
        "run pip install '.[extension]' in Rosette's folder (for a wheel: pip install 'FILE.whl[extension]')"
    )
    assert "Needs much." in invoke("--help").output


def test_a_command_whose_whole_package_is_missing_is_named(extension: Path) -> None:
    with pytest.raises(SystemExit, match=r"rosette absent needs the package 'nowhere', .*: run pip install '\.' in"):
        application(["absent"])


def test_a_mistake_of_our_own_is_not_taken_for_a_missing_package(extension: Path) -> None:
    with pytest.raises(ModuleNotFoundError, match="no_such_module"):
        application(["broken"])


def test_an_unknown_command_is_refused() -> None:
    result = invoke("diagnose")
    assert result.exit_code == 2
    assert "No such command 'diagnose'" in result.output


def test_main_reads_the_arguments_of_the_process(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    out = tmp_path / "patch.png"
    monkeypatch.setattr(sys, "argv", ["rosette", "demo-patch", str(out)])
    with pytest.raises(SystemExit) as stopped:
        main()
    assert not stopped.value.code
    assert out.exists()


def test_verify_reports_every_step_and_succeeds(artifact_path: Path) -> None:
    result = invoke("models", "verify", artifact_path)
    assert result.exit_code == 0
    lines = result.output.splitlines()
    assert lines[0] == str(artifact_path)
    assert [line.split()[0] for line in lines[1:-1]] == ["ok"] * 16
    assert lines[-1].strip() == "verified"


def test_verify_fails_if_any_file_fails(artifact_path: Path, tmp_path: Path) -> None:
    truncated = tmp_path / "truncated.onnx"
    truncated.write_bytes(artifact_path.read_bytes()[:1000])
    result = invoke("models", "verify", truncated, artifact_path)
    assert result.exit_code == 1
    assert "FAILED  file" in result.output
    assert "1 of 1 checks failed" in result.output
    assert result.output.rstrip().endswith("verified")


def test_verify_refuses_a_file_that_is_not_there(tmp_path: Path) -> None:
    result = invoke("models", "verify", tmp_path / "absent.onnx")
    assert result.exit_code == 2
    assert "or a shipped artifact: accurate, balanced" in " ".join(result.output.replace("│", " ").split())


def test_a_shipped_artifact_is_taken_by_its_name(artifact_path: Path) -> None:
    result = invoke("models", "show", "balanced")
    assert result.exit_code == 0
    assert f"## {artifact_path.name}\n" in result.output


def test_verify_does_not_read_a_large_file_to_its_end(tmp_path: Path) -> None:
    sparse = tmp_path / "large.onnx"
    with sparse.open("wb") as file:
        os.truncate(file.fileno(), 2**40)
    result = invoke("models", "verify", sparse)
    assert result.exit_code == 1
    assert "expected at most 67,108,864" in result.output


@pytest.mark.parametrize("kind", ["tumour", "normal", "blank"])
def test_demo_patch_writes_the_patch(tmp_path: Path, kind: str) -> None:
    out = tmp_path / "patch.png"
    result = invoke("demo-patch", out, "--kind", kind, "--seed", "9")
    assert result.exit_code == 0, result.output
    with Image.open(out) as image:
        assert (image.format, image.mode, image.size) == ("PNG", "RGB", (96, 96))
        patches = {"tumour": synthetic_patch("tumour", 9), "normal": synthetic_patch("normal", 9)}
        assert np.array_equal(np.asarray(image), patches.get(kind, synthetic_patch("blank", 9)))


def test_show_prints_the_figures_side_by_side(artifact_path: Path, float_artifact_path: Path) -> None:
    result = invoke("models", "show", artifact_path, float_artifact_path)
    assert result.exit_code == 0
    assert f"## {artifact_path.name}\n" in result.output
    assert f"| split | figure | n | {artifact_path.name} | {float_artifact_path.name} |\n" in result.output
    for metric in Network(artifact_path.read_bytes()).manifest.metrics:
        assert f"| {metric.n} | {metric.value:.4f} [{metric.low:.4f}, {metric.high:.4f}] |" in result.output


def test_two_files_of_one_name_are_both_shown(artifact_path: Path, float_artifact_path: Path, tmp_path: Path) -> None:
    files = [tmp_path / folder / "model.onnx" for folder in ("old", "new")]
    for file, source in zip(files, (artifact_path, float_artifact_path), strict=True):
        file.parent.mkdir()
        file.write_bytes(source.read_bytes())
    result = invoke("models", "show", *files)
    assert result.exit_code == 0
    assert [line for line in result.output.splitlines() if line.startswith("## ")] == [f"## {file}" for file in files]


@pytest.mark.parametrize("command", ["verify", "show"])
def test_what_is_no_file_is_refused_and_not_waited_for(tmp_path: Path, command: str) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path, tmp_path / "pipe"):
        result = invoke("models", command, path)
        assert result.exit_code == 2
        assert "it is not a file" in " ".join(result.output.replace("│", " ").split())


def test_show_refuses_what_is_no_artifact(tmp_path: Path) -> None:
    junk = tmp_path / "junk.onnx"
    junk.write_bytes(b"junk")
    result = invoke("models", "show", junk)
    assert result.exit_code == 2
    assert "is not an artifact" in " ".join(result.output.replace("│", " ").split())


def test_demo_patch_refuses_a_folder_that_is_not_there(tmp_path: Path) -> None:
    result = invoke("demo-patch", tmp_path / "absent" / "patch.png")
    assert result.exit_code == 2
    assert "does not exist: create it first" in " ".join(result.output.replace("│", " ").split())


def test_demo_patch_refuses_other_kinds(tmp_path: Path) -> None:
    assert invoke("demo-patch", tmp_path / "patch.png", "--kind", "necrosis").exit_code == 2

"""Programs load only what they need, as each start pays for what is loaded."""

from __future__ import annotations

import json
import subprocess
import sys
from importlib.metadata import entry_points
from pathlib import Path

import pytest

from tests.conftest import ROOT

FRAMEWORKS = {"torch", "lightning", "e2cnn", "scipy", "matplotlib", "pandas", "h5py", "pyarrow"}
WEB = {"fastapi", "starlette", "uvicorn"}
COMMANDS = sorted({entry.module for entry in entry_points(group="rosette.commands")})
LOADED = "import json; print(json.dumps(sorted({name.partition('.')[0] for name in sys.modules})))"


def loaded_by(program: str) -> set[str]:
    """The packages that are loaded when a program of Python has ended."""
    done = subprocess.run(
        [sys.executable, "-c", f"import sys\n{program}\n{LOADED}"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    return set(json.loads(done.stdout.splitlines()[-1]))


def test_the_commands_of_a_researcher_load_no_framework_before_they_run() -> None:
    modules = [module for module in COMMANDS if module.startswith("training.")]
    assert modules
    assert not loaded_by(f"import {', '.join(modules)}") & (FRAMEWORKS | WEB)


def test_the_other_commands_load_neither_frameworks_nor_the_web_server() -> None:
    modules = [module for module in COMMANDS if not module.startswith("training.")]
    assert {"app", "slides", "model_zoo"} == {module.partition(".")[0] for module in modules}
    assert not loaded_by(f"import {', '.join(modules)}") & (FRAMEWORKS | WEB)


def test_an_inference_process_loads_neither_the_web_server_nor_the_database() -> None:
    found = loaded_by("import app.inference.process")
    assert "onnxruntime" in found
    assert not found & (FRAMEWORKS | WEB | {"sqlalchemy", "onnx", "asyncio", "cryptography"})


@pytest.mark.parametrize(("options", "said"), [([], "no 'train' split"), (["--group", "E8"], "E8")])
def test_train_refuses_settings_and_data_before_it_loads_a_framework(
    tmp_path: Path, options: list[str], said: str
) -> None:
    words = ["rosette", "train", str(tmp_path / "run"), "--data", str(tmp_path / "nowhere"), *options]
    program = (
        "from contextlib import redirect_stderr\nfrom io import StringIO\nfrom model_zoo.cli import main\n"
        f"sys.argv = {words!r}\n"
        "with redirect_stderr(StringIO()) as errors:\n"
        "    try:\n        main()\n    except SystemExit as end:\n        assert end.code == 2\n"
        f"assert {said!r} in errors.getvalue(), errors.getvalue()"
    )
    assert not loaded_by(program) & FRAMEWORKS
    assert not (tmp_path / "run").exists()

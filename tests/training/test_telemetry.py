"""onnxruntime's telemetry is switched off before its import, for any import order."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

WATCH = """
import importlib.abc, os, sys

class Watch(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path, target=None):
        if name == "onnxruntime":
            print("telemetry off:", os.environ.get("ORT_DISABLE_TELEMETRY"))

sys.meta_path.insert(0, Watch())
import {module}
"""


@pytest.mark.parametrize(
    "module", ["training.score", "training.study.measure", "model_zoo.dense_proof", "benchmarks.load.services.patch"]
)
def test_telemetry_is_off_before_onnxruntime_is_imported(module: str) -> None:
    environment = {key: value for key, value in os.environ.items() if key != "ORT_DISABLE_TELEMETRY"}
    done = subprocess.run(
        [sys.executable, "-c", WATCH.format(module=module)], env=environment, capture_output=True, text=True, check=True
    )
    assert done.stdout == "telemetry off: 1\n"

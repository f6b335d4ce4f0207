"""One warm ``POST /predict`` runs through few of our modules and functions in the server's process."""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys

from tests.conftest import ROOT

MODULES, CALLS, LINES, FUNCTION_LINES = 15, 90, 250, 40


def test_a_prediction_runs_through_few_and_short_modules() -> None:
    counted = subprocess.run(
        [sys.executable, "scripts/count_calls.py", "--most", str(MODULES), str(CALLS)],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
    )
    assert counted.returncode == 0, counted.stdout + counted.stderr
    modules = set(re.findall(r"^ *\d+  (\S+)", counted.stdout, re.MULTILINE))
    assert {"app/api/predict.py", "app/answering.py", "app/inference/pool.py", "app/records/writer.py"} <= modules
    for module in modules:
        text = (ROOT / module).read_text(encoding="utf-8")
        assert len(text.splitlines()) <= LINES, module
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.end_lineno is not None:
                assert node.end_lineno - node.lineno < FUNCTION_LINES, f"{module}: {node.name}"

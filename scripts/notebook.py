"""Run docs/examples/client.ipynb against a server, and write its outputs: ``python scripts/notebook.py URL KEYFILE``.

The outputs contain no ids and no times, so that only another model or another notebook changes them.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any
from unittest.mock import patch

import nbformat
from nbclient import NotebookClient

ROOT = Path(__file__).resolve().parent.parent
NOTEBOOK = ROOT / "docs" / "examples" / "client.ipynb"


def stored() -> Any:
    """The notebook in the repository."""
    return nbformat.reads(NOTEBOOK.read_text(encoding="utf-8"), as_version=4)


def executed(url: str, key: str) -> Any:
    """The notebook with the outputs that this server gives.

    Raises:
        nbclient.exceptions.CellExecutionError: if a cell fails.
    """
    settings = {"SERVER_URL": url, "SERVER_KEY": key, "PYTHONPATH": str(ROOT / "client")}
    notebook = stored()
    with patch.dict(os.environ, settings):
        client = NotebookClient(
            notebook,
            timeout=120,
            kernel_name="python3",
            resources={"metadata": {"path": str(NOTEBOOK.parent)}},
            record_timing=False,
        )
        client.execute()
    notebook.metadata.pop("language_info", None)
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.outputs = _joined(cell.outputs)
    return notebook


def _joined(outputs: list[Any]) -> list[Any]:
    """The outputs with each stream in one piece: a kernel sends it in pieces of its own choice."""
    joined: list[Any] = []
    for output in outputs:
        last = joined[-1] if joined else None
        if last is not None and output.output_type == "stream" == last.output_type and output.name == last.name:
            last.text += output.text
        else:
            joined.append(output)
    return joined


if __name__ == "__main__":
    _, address, key_file = sys.argv
    NOTEBOOK.write_text(nbformat.writes(executed(address, Path(key_file).read_text().strip())) + "\n", encoding="utf-8")

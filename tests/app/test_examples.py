"""The notebook runs and gives the outputs in the repository; its six patches are those that their page names."""

from __future__ import annotations

import re
import runpy
from base64 import b64decode
from hashlib import sha1
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
from PIL import Image

from tests.app.conftest import RunningServer
from tests.conftest import ROOT, shipped_artifact

EXAMPLES = ROOT / "docs" / "examples"
ROW = re.compile(r"^\| `(\S+\.png)` \| ([01]) \| test, (\d+) \| `([0-9a-f]{40})` \|$", re.MULTILINE)
LEVELS = 2.0  # of 255, on average over a picture: another FreeType may shade letters differently


def texts(notebook: Any) -> list[str]:
    return [output.text for cell in notebook.cells for output in cell.get("outputs", ()) if "text" in output]


def pictures(notebook: Any) -> list[Any]:
    """The pictures of a notebook as arrays of RGB levels."""
    found = [
        output.data["image/png"] for cell in notebook.cells for output in cell.get("outputs", ()) if "data" in output
    ]
    return [np.asarray(Image.open(BytesIO(b64decode(picture))).convert("RGB"), float) for picture in found]


def test_the_notebook_gives_the_outputs_in_the_repository(tmp_path: Path) -> None:
    script = runpy.run_path(str(ROOT / "scripts" / "notebook.py"))
    with RunningServer(tmp_path, shipped_artifact(name="accurate")) as server:
        stored, fresh = script["stored"](), script["executed"](server.url, server.key)
    assert texts(fresh) == texts(stored)
    assert len(texts(stored)) == 6
    before, after = pictures(stored), pictures(fresh)
    assert [picture.shape for picture in after] == [picture.shape for picture in before]
    assert len(before) == 2
    assert max(float(np.abs(old - new).mean()) for old, new in zip(before, after, strict=True)) <= LEVELS


def test_exactly_six_patches_are_here_and_named() -> None:
    rows = ROW.findall((EXAMPLES / "README.md").read_text(encoding="utf-8"))
    assert sorted(path.name for path in EXAMPLES.iterdir()) == sorted(
        ["README.md", "client.ipynb", *(name for name, *_ in rows)]
    )
    assert [label for _, label, *_ in rows] == ["1", "1", "1", "0", "0", "0"]
    for name, label, _, digest in rows:
        with Image.open(EXAMPLES / name) as image:
            assert (image.mode, image.size, image.info) == ("RGB", (96, 96), {})
            assert sha1(image.tobytes(), usedforsecurity=False).hexdigest() == digest
        assert name.startswith("tumour" if label == "1" else "normal")


def test_their_rows_are_those_of_the_data(shared: Path) -> None:
    table = pq.read_table(shared / "pcam" / "test.parquet", columns=["id", "label"]).to_pylist()
    for _, label, row, digest in ROW.findall((EXAMPLES / "README.md").read_text(encoding="utf-8")):
        assert table[int(row)] == {"id": digest, "label": int(label)}

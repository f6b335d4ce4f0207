"""Write the shipped artifacts' figures and the output of `rosette evaluate` into the README.

rosette evaluate model_zoo/NAME.int8.onnx --data DIR --split test --json docs/results/NAME.int8.test.json
python scripts/readme_results.py
"""

from __future__ import annotations

import json
import re
from pathlib import Path

from model_zoo.artifact import parse

ROOT = Path(__file__).resolve().parent.parent
README = ROOT / "README.md"
PRECISIONS = {"INT8": "int8", "float32": "fp32"}
SECTION = re.compile(r"(?<=<!-- results -->\n).*(?=<!-- /results -->)", re.DOTALL)


SHOWN = {
    "accurate": (("INT8", "orbit"), ("INT8", "single")),
    "balanced": (("INT8", "orbit"), ("float32", "orbit")),
    "fast": (("INT8", "orbit"),),
}
DECIDED = {"orbit": "mean over all turns", "single": "patch as given"}


def exactness(file: Path) -> str:
    """The number of patches of a split whose exact turns all gave equal bits."""
    measured = json.loads(file.read_text(encoding="utf-8"))["exactness"]
    return f"{measured['equal']:,} of {measured['patches']:,}"


def rows_of(name: str) -> list[str]:
    """Test figures in the manifests of a shipped network and its float twin."""
    rows = []
    for precision, basis in SHOWN[name]:
        suffix = PRECISIONS[precision]
        file = next((ROOT / "model_zoo").glob(f"{name}-*.{suffix}.onnx"))
        manifest = parse(file.read_bytes())[1]
        figures = {m.name: m for m in manifest.metrics if (m.split, m.basis) == ("test", basis)}
        cells = [f"{m.value:.3f} [{m.low:.3f}, {m.high:.3f}]" for m in (figures["accuracy"], figures["auc"])]
        measured = ROOT / "docs" / "results" / f"{file.stem}.test.json"
        title = f"`{name}` {manifest.version}, {precision}"
        rows.append(f"| {' | '.join([title, DECIDED[basis], *cells, exactness(measured)])} |")
    return rows


def section() -> str:
    """The README's results table, in Markdown."""
    lines = [
        "| artifact | decides by | accuracy | AUC | patches with equal bits at all quarter turns |",
        "|---|---|---|---|---|",
        *(row for name in SHOWN for row in rows_of(name)),
    ]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    page = README.read_text(encoding="utf-8")
    README.write_text(SECTION.sub(lambda _: section(), page), encoding="utf-8")

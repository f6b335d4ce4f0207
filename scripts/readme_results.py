"""Put the shipped artifacts' own figures, and what `rosette evaluate` wrote, into the README.

rosette evaluate model_zoo/NAME.int8.onnx --data DIR --split test --json docs/results/NAME.int8.test.json
python scripts/readme_results.py
"""

from __future__ import annotations

import json
import re
from pathlib import Path

from model_zoo.artifact import parse
from model_zoo.summary import metrics_table

ROOT = Path(__file__).resolve().parent.parent
README = ROOT / "README.md"
SECTION = re.compile(r"(?<=<!-- results -->\n).*(?=<!-- /results -->)", re.DOTALL)


def exactness(file: Path) -> str:
    """A sentence on how many patches of a split answered every exact turn with the same bits."""
    measured = json.loads(file.read_text(encoding="utf-8"))["exactness"]
    return (
        f"- `{file.name}`: {measured['equal']:,} of {measured['patches']:,} patches answer all turns of "
        f"{measured['subgroup']} with the same bits; largest difference of a logit {measured['largest_delta']:.3g}."
    )


def section() -> str:
    """The README's results, in Markdown."""
    columns = {"INT8": "int8", "float32": "fp32"}
    files = {title: next((ROOT / "model_zoo").glob(f"*.{suffix}.onnx")) for title, suffix in columns.items()}
    manifests = {title: parse(file.read_bytes())[1] for title, file in files.items()}
    shipped = manifests["INT8"]
    lines = [
        f"`{shipped.name}` {shipped.version}, from the artifacts' own manifests "
        "(`rosette models show model_zoo/*.onnx`; put here by `python scripts/readme_results.py`):",
        "",
        *metrics_table(manifests),
        "",
        "The splits are the first rows of PCam's own, class-balanced and mostly JPEG: these are not the official PCam",
        "test scores. Half of valid chose the epoch, the other half fitted the calibration; test was read for this",
        "table.",
        "",
        "Turns by 90°, as `rosette evaluate … --json` measured them (`docs/results/`):",
        "",
        *map(exactness, sorted((ROOT / "docs" / "results").glob("*.json"))),
    ]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    page = README.read_text(encoding="utf-8")
    README.write_text(SECTION.sub(lambda _: section(), page), encoding="utf-8")

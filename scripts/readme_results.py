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
NAMES = ("accurate", "fast")
PRECISIONS = {"INT8": "int8", "float32": "fp32"}
SECTION = re.compile(r"(?<=<!-- results -->\n).*(?=<!-- /results -->)", re.DOTALL)


def exactness(file: Path) -> str:
    """A sentence on how many patches of a split answered every exact turn with the same bits."""
    measured = json.loads(file.read_text(encoding="utf-8"))["exactness"]
    return (
        f"- `{file.name}`: {measured['equal']:,} of {measured['patches']:,} patches answer all turns of "
        f"{measured['subgroup']} with the same bits; largest difference of a logit {measured['largest_delta']:.3g}."
    )


def figures_of(name: str) -> list[str]:
    """What the manifests of one shipped network and its float twin say, in Markdown."""
    files = {title: next((ROOT / "model_zoo").glob(f"{name}-*.{suffix}.onnx")) for title, suffix in PRECISIONS.items()}
    manifests = {title: parse(file.read_bytes())[1] for title, file in files.items()}
    shipped = manifests["INT8"]
    about = f"{shipped.group.name}, {files['INT8'].stat().st_size / 1e6:.2f} MB in INT8"
    return [f"**`{name}`** {shipped.version} ({about}):", "", *metrics_table(manifests), ""]


def section() -> str:
    """The README's results, in Markdown."""
    lines = [
        "From the artifacts' own manifests (`rosette models show model_zoo/*.onnx`; put here by "
        "`python scripts/readme_results.py`).",
        "[docs/results.md](docs/results.md) has the study behind them: groups, budgets, quantization, robustness.",
        "",
        *(line for name in NAMES for line in figures_of(name)),
        "The splits are the first rows of PCam's own, class-balanced and mostly JPEG: these are not the official PCam",
        "test scores. Half of valid chose the epoch, the other half fitted the calibration; test was read for this",
        "table.",
        "",
        "Turns by 90°, as `rosette evaluate … --json` measured them (`docs/results/`):",
        "",
        *map(exactness, sorted((ROOT / "docs" / "results").glob("*.test.json"))),
    ]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    page = README.read_text(encoding="utf-8")
    README.write_text(SECTION.sub(lambda _: section(), page), encoding="utf-8")

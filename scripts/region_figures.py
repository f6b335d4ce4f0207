"""Write into docs/slides-results.md how often valid patches reach the bounds of a region, and which regions a slide has
that holds no metastasis.

python scripts/region_figures.py SLIDE --data DIR ARTIFACT...
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from numpy.typing import NDArray

from model_zoo.network import Network
from slides.cells import Cells, State, read_run
from slides.regions import Rule, find_regions
from slides.runfile import Run
from training.data import Patches, load
from training.score import score

PAGE = Path(__file__).resolve().parent.parent / "docs" / "slides-results.md"
SECTION = re.compile(r"(?<=<!-- figures -->\n).*(?=<!-- /figures -->)", re.DOTALL)
PREVALENCES = (0.01, 0.02, 0.05, 0.1)
AREAS_MM2 = (0.01, 0.03)


class Subject:
    """An artifact's answers to the valid patches, each as given, and to the cells of the slide."""

    def __init__(self, artifact: Path, slide: Path, valid: Patches) -> None:
        network = Network(artifact.read_bytes())
        self.manifest = network.manifest
        self.name = f"`{self.manifest.name}` {self.manifest.version}"
        self.probability = network.probabilities(score(network.logits, valid.images))
        self.labels = valid.labels.astype(bool)
        self.run, self.cells = scored(artifact, slide)

    def sentence(self) -> str:
        """Patches and cells over the threshold."""
        false = self.probability[~self.labels] >= self.manifest.threshold
        over = self.cells.probability[self.cells.where(State.SCORED)] >= self.manifest.threshold
        return (
            f"- {self.name}: {share(false)} of {len(false):,} negative valid patches, "
            f"{over.sum()} of {len(over)} scored cells of the slide ({share(over)})."
        )

    def row(self, prevalence: float) -> str:
        bounds = Rule(prevalence=prevalence).bounds(self.manifest.calibration.prevalence)
        shares = [share(self.probability[self.labels == label] >= bound) for label in (0, 1) for bound in bounds]
        regions = [self.regions(prevalence, area) for area in AREAS_MM2]
        return f"| {' | '.join([self.name, f'{prevalence:g}', *shares, *regions])} |"

    def regions(self, prevalence: float, area: float) -> str:
        found = find_regions(self.run, self.cells, Rule(prevalence=prevalence, min_area_mm2=area))
        return f"{len(found)} ({sum(each.area_mm2 for each in found):.3f} mm²)" if found else "0"


def share(of: NDArray[np.bool_]) -> str:
    return f"{100 * float(of.mean()):.1f} %"


def scored(artifact: Path, slide: Path) -> tuple[Run, Cells]:
    """The slide's run."""
    with TemporaryDirectory() as folder:
        program = Path(sys.executable).with_name("rosette")
        plain = ("--rotations", "none", "--shifts", "none")
        subprocess.run([program, "slide", "score", slide, "--out", folder, "--model", artifact, *plain], check=True)
        [made] = Path(folder).iterdir()
        return read_run(made)


def section(subjects: list[Subject]) -> str:
    """Both tables in one, in Markdown."""
    lines = [
        *(subject.sentence() for subject in subjects),
        "",
        "| artifact | prevalence | negative ≥ 0.2 | negative ≥ 0.5 | positive ≥ 0.2 | positive ≥ 0.5 "
        "| false regions from 0.01 mm² | from 0.03 mm² |",
        "|---|---|---|---|---|---|---|---|",
        *(subject.row(prevalence) for subject in subjects for prevalence in PREVALENCES),
    ]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("slide", type=Path, help="one without metastasis")
    parser.add_argument("artifacts", type=Path, nargs="+")
    parser.add_argument("--data", type=Path, required=True, help="folder of PCam's shards")
    given = parser.parse_args()
    valid = load(given.data, "valid")
    written = section([Subject(artifact, given.slide, valid) for artifact in given.artifacts])
    PAGE.write_text(SECTION.sub(lambda _: written, PAGE.read_text(encoding="utf-8")), encoding="utf-8")

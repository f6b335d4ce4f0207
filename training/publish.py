"""Turns a quantized run into the two artifacts, their model card and their results."""

from __future__ import annotations

import csv
import json
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx
from pydantic import JsonValue

from model_zoo.artifact import graph_sha256, write
from model_zoo.golden import golden_cases
from model_zoo.manifest import (
    Calibration,
    GroupSpec,
    InputSpec,
    Manifest,
    Metric,
    TrainingData,
)
from model_zoo.summary import facts, metrics_table
from model_zoo.symmetry import Group
from model_zoo.verify import verify
from training import metrics
from training.calibrate import fit_consistency, fit_operating_point, fit_quality
from training.data import Patches, halves_of_valid, load
from training.fit import Run
from training.score import Scorer

MICRONS_PER_PIXEL = 0.97
INTENDED_USE = (
    "Research use only; not a medical device. Tells whether the centre 32×32 px of a 96×96 px patch of a lymph node "
    "section, stained with haematoxylin and eosin at about 0.97 microns per pixel, hold metastatic breast cancer. "
    "Calibrated where half of the patches are positive; clinics see far fewer."
)


class PublishError(RuntimeError):
    """What would be published does not pass its own verification."""


@dataclass(frozen=True)
class Release:
    """What the researcher says of a release.

    Attributes:
        name: of the artifact, such as ``"c12-mobilenetv2"``.
        version: three numbers.
        licence: of the training data.
        encoding: of the training patches, since it shifts answers.
    """

    name: str
    version: str
    licence: str
    encoding: str

    def file(self, folder: Path, suffix: str) -> Path:
        return folder / f"{self.name}-{self.version}.{suffix}"


def _probability(logits: npt.NDArray[np.float32], temperature: float) -> npt.NDArray[np.float64]:
    odds = (logits[:, 1].astype(np.float64) - logits[:, 0].astype(np.float64)) / temperature
    return np.exp(-np.logaddexp(0.0, -odds))


def _artifact(run: Path, release: Release, data: Path, valid: Patches, test: Patches | None, suffix: str) -> bytes:
    graph = onnx.load(run / f"{suffix}.onnx")
    settings, scorer = Run.read(run), Scorer(graph)
    group = Group.parse(settings.topology.group)
    calibrating = halves_of_valid(valid)[1]
    operating = fit_operating_point(scorer.logits(calibrating.images), calibrating.labels)
    measured: tuple[Metric, ...] = ()
    for split, patches in (("valid", valid), ("valid, calibrating half", calibrating), ("test", test)):
        if patches is not None:
            probability = _probability(scorer.logits(patches.images), operating.temperature)
            measured += metrics.measure(probability, patches.labels, operating.threshold, split)
    train = load(data, "train")
    if train.sha256 != settings.data_sha256:
        raise PublishError(
            f"{data} is not what {run} was trained on: hash {train.sha256[:12]}, expected {settings.data_sha256[:12]}"
        )
    recipe: dict[str, JsonValue] = json.loads((run / "quantization.json").read_text())
    manifest = Manifest(
        name=release.name,
        version=release.version,
        precision="int8" if suffix == "int8" else "float32",
        architecture={"family": "mobilenetv2", **json.loads(json.dumps(asdict(settings.topology)))},
        group=GroupSpec.of(group),
        exact_subgroup=group.exact_subgroup.name,
        input=InputSpec(microns_per_pixel=MICRONS_PER_PIXEL),
        threshold=operating.threshold,
        calibration=Calibration(temperature=operating.temperature, prevalence=float(calibrating.labels.mean())),
        review_band=operating.review_band,
        consistency=fit_consistency(scorer, group, calibrating.images, operating.temperature),
        quality=fit_quality(train.images),
        quantization=recipe if suffix == "int8" else {"method": "none: the float twin, folded and equalized"},
        training_data=TrainingData(
            source=train.source,
            patches=len(train),
            sha256=train.sha256,
            licence=release.licence,
            encoding=release.encoding,
        ),
        metrics=measured,
        intended_use=INTENDED_USE,
        graph_sha256=graph_sha256(graph),
        golden_cases=golden_cases(scorer.logits),
    )
    artifact = write(graph, manifest)
    report = verify(artifact)
    if not report.passed:
        failed = "; ".join(f"{step.name}: {step.detail}" for step in report.steps if not step.passed)
        raise PublishError(f"the {suffix} artifact fails its verification: {failed}")
    return artifact


def publish(run: Path, release: Release, data: Path, folder: Path, *, read_test: bool) -> tuple[Path, Path]:
    """Calibrate, measure, verify and write both artifacts and the card into ``folder``.

    Args:
        run: a run folder that ``rosette quantize`` has been through.
        data: the data folder the run was trained on.
        read_test: also measure on the test split; once per published table.

    Returns:
        The INT8 artifact's file and the float twin's.

    Raises:
        PublishError: if an artifact fails its verification or the data are other data.
        FileNotFoundError: if the run has not been quantized.
    """
    valid = load(data, "valid")
    test = load(data, "test") if read_test else None
    files = []
    for suffix in ("int8", "fp32"):
        file = release.file(folder, f"{suffix}.onnx")
        file.write_bytes(_artifact(run, release, data, valid, test, suffix))
        files.append(file)
    release.file(folder, "md").write_text(card(run, *files))
    return files[0], files[1]


def _manifest(file: Path) -> Manifest:
    return Manifest.model_validate_json(onnx.load(file).metadata_props[0].value)


def learning_curve(run: Path) -> list[str]:
    """Markdown rows of the run's ``metrics.csv``, one for each epoch."""
    epochs: dict[int, dict[str, str]] = {}
    with (run / "metrics.csv").open() as lines:
        for row in csv.DictReader(lines):
            if row["epoch"]:
                epochs.setdefault(int(row["epoch"]), {}).update({k: v for k, v in row.items() if v})
    columns = ("train_loss", "train_accuracy", "valid_loss", "valid_accuracy")
    rows = ["| epoch | " + " | ".join(c.replace("_", " ") for c in columns) + " |", "|---|" + "---|" * len(columns)]
    for epoch, values in sorted(epochs.items()):
        rows.append(f"| {epoch + 1} | " + " | ".join(f"{float(values[c]):.4f}" for c in columns if c in values) + " |")
    return rows


def card(run: Path, int8: Path, fp32: Path) -> str:
    """The model card of a release, in Markdown."""
    manifest, settings = _manifest(int8), Run.read(run)
    return "\n".join(
        [
            f"# {manifest.name} {manifest.version}",
            "",
            f"`{int8.name}` ({int8.stat().st_size:,} bytes) and its float twin `{fp32.name}`; "
            f"{settings.recipe.epochs} epochs, seed {settings.recipe.seed}.",
            "",
            *facts(manifest),
            "",
            "## Figures",
            "",
            *metrics_table({"INT8": manifest, "float32": _manifest(fp32)}),
            "",
            "Half of valid chose the epoch, the other half fitted temperature, threshold, band and limit. Where a",
            "split holds other patches than the official file, or encoded again, its scores are not PCam's own.",
            "",
            "## Learning curve",
            "",
            *learning_curve(run),
            "",
        ]
    )

"""Publishes a quantized run as two artifacts, a model card and results."""

from __future__ import annotations

import csv
import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import onnx
from pydantic import JsonValue

from model_zoo.artifact import graph_sha256, parse, write
from model_zoo.golden import golden_cases
from model_zoo.manifest import (
    Calibration,
    Curves,
    DenseSpec,
    GroupSpec,
    InputSpec,
    Manifest,
    Metric,
    QualityReference,
    TrainingData,
)
from model_zoo.summary import facts, metrics_table
from model_zoo.symmetry import Group
from model_zoo.verify import verify
from training.calibrate import (
    fit_consistency,
    fit_operating_point,
    fit_orbit_decision,
    fit_quality,
    fit_reference,
)
from training.data import (
    Patches,
    SplitName,
    halves_of_valid,
    load,
    require_distinct,
    require_enough_to_validate,
)
from training.figures import figures_and_curves
from training.messages import say
from training.mobilenetv2 import Topology
from training.recipe import NOT_QUANTIZED, Average, Joined, Recipe, Run
from training.score import Scorer
from training.teachers import ADAPTING_PATCHES
from training.topology import P4M

MICRONS_PER_PIXEL = 0.97
PUBLIC_P4M = "e217b4d9046ab43237cec60e657eaa99f1feef881d23e86e8e1607c116c7d5f5"  # the archive that the notice describes
JOINED = "joined"  # the family of two networks whose logits are added
LATENCY_LIMIT_MS, LATENCY_LIMIT_OF_TWO_MS = 50, 250  # several times what a CPU with AVX2 alone takes
INTENDED_USE = (
    "Research use only; not a medical device. Tells whether the centre 32×32 px of a 96×96 px patch of a lymph node "
    "section, stained with haematoxylin and eosin at about 0.97 microns per pixel, hold metastatic breast cancer. "
    "Calibrated where half of the patches are positive; clinics see far fewer."
)


class PublishError(RuntimeError):
    """The artifacts cannot be published: verification failed, or the data differ."""


@dataclass(frozen=True)
class Release:
    """The researcher's statements about a release.

    Attributes:
        name: of the artifact, such as ``"c12-mobilenetv2"``.
        version: three numbers.
        licence: of the training data.
        encoding: of the training patches, which affects answers.
    """

    name: str
    version: str
    licence: str
    encoding: str

    def file(self, folder: Path, suffix: str) -> Path:
        return folder / f"{self.name}-{self.version}.{suffix}"


@dataclass(frozen=True)
class _Evidence:
    """The data on which both artifacts of a release are measured."""

    run: Run
    training: TrainingData
    quality: QualityReference
    valid: Patches
    calibrating: Patches
    test: Patches | None

    def splits(self) -> list[tuple[str, Patches]]:
        """The measured splits, by name."""
        found = [("valid", self.valid), ("valid, calibrating half", self.calibrating)]
        return found if self.test is None else [*found, ("test", self.test)]


def _gather(run: Run, release: Release, data: Path, *, read_test: bool) -> _Evidence:
    train, valid = load(data, "train"), load(data, "valid")
    if train.sha256 != run.data_sha256:
        raise PublishError(
            f"{data} is not what the run was trained on: hash {train.sha256[:12]}, expected {run.data_sha256[:12]}"
        )
    teachers = run.recipe.distillation.teachers if run.recipe.distillation else ()
    taught = f"; distilled from {', '.join(name for name, _ in teachers)}" if teachers else ""
    if run.joined is not None:
        taught += f"; joined with {run.joined.origin}"
    training = TrainingData(
        source=train.source + taught,
        patches=len(train),
        sha256=train.sha256,
        licence=release.licence,
        encoding=release.encoding,
    )
    require_enough_to_validate(valid)
    test = load(data, "test") if read_test else None
    splits: dict[SplitName, Patches] = {"train": train, "valid": valid}
    if test is not None:
        splits["test"] = test
    require_distinct(splits, allow_in_train=True)
    return _Evidence(run, training, fit_quality(train.images), valid, halves_of_valid(valid)[1], test)


def _artifact(
    graph: onnx.ModelProto,
    release: Release,
    evidence: _Evidence,
    precision: Literal["int8", "float32"],
    recipe: dict[str, JsonValue],
) -> bytes:
    topology, joined = evidence.run.mobilenet, evidence.run.joined is not None
    scorer, group = Scorer(graph), Group.parse(topology.group)
    calibrating = evidence.calibrating
    say(f"{precision}: calibrates on {len(calibrating):,} patches.")
    operating = fit_operating_point(scorer.logits(calibrating.images), calibrating.labels)
    temperature, quality = operating.temperature, evidence.quality
    orbit = fit_orbit_decision(scorer, group, calibrating.images, calibrating.labels, temperature, quality)
    measured: tuple[Metric, ...] = ()
    drawn: tuple[Curves, ...] = ()
    for split, patches in evidence.splits():
        say(f"{precision}: measures {len(patches):,} patches of {split}, in all turns.")
        found, curves = figures_and_curves(
            scorer,
            group,
            patches,
            split,
            temperature=temperature,
            threshold=operating.threshold,
            orbit=orbit,
            quality=quality,
        )
        measured, drawn = (*measured, *found), (*drawn, curves)
    manifest = Manifest(
        name=release.name,
        version=release.version,
        precision=precision,
        architecture=_architecture(evidence.run),
        group=GroupSpec.of(group),
        exact_subgroup=group.exact_subgroup.name,
        input=InputSpec(microns_per_pixel=MICRONS_PER_PIXEL, mask="none" if topology.dense or joined else "disc"),
        dense=None
        if joined or not topology.dense
        else DenseSpec(stride=topology.stride, receptive_field=topology.receptive_field),
        threshold=operating.threshold,
        calibration=Calibration(temperature=operating.temperature, prevalence=float(calibrating.labels.mean())),
        review_band=operating.review_band,
        latency_limit_ms=LATENCY_LIMIT_OF_TWO_MS if joined else LATENCY_LIMIT_MS,
        consistency=fit_consistency(scorer, group, calibrating.images, temperature),
        quality=quality,
        reference=fit_reference(scorer, group, calibrating.images, temperature, quality),
        orbit=orbit,
        quantization=recipe,
        training_data=evidence.training,
        metrics=measured,
        curves=drawn,
        intended_use=INTENDED_USE,
        graph_sha256=graph_sha256(graph),
        golden_cases=golden_cases(scorer.logits),
    )
    say(f"{precision}: verifies the artifact.")
    return _verified(graph, manifest)


def _architecture(run: Run) -> dict[str, JsonValue]:
    first: dict[str, JsonValue] = {"family": "mobilenetv2", **json.loads(json.dumps(asdict(run.mobilenet)))}
    if run.joined is None:
        return first
    second: dict[str, JsonValue] = {"family": "p4m-densenet", "group": P4M.group, "factor": run.joined.factor}
    return {"family": JOINED, "networks": [first, second]}


def publish(run: Path, release: Release, data: Path, folder: Path, *, read_test: bool) -> tuple[Path, Path]:
    """Calibrate, measure, verify and write both artifacts and the card into ``folder``.

    Args:
        run: a run folder after ``rosette quantize``.
        data: the data folder the run was trained on.
        read_test: also measure on the test split; only for a published table.

    Returns:
        The INT8 artifact's file and the float twin's. Nothing is written unless both pass verification.

    Raises:
        PublishError: if an artifact fails its verification or the data differ from the training data.
        FileNotFoundError: if the run has not been quantized.
    """
    if (run / "run.json").exists() and not isinstance(Run.read(run).topology, Topology):
        raise PublishError(f"{run}: {NOT_QUANTIZED}")
    graphs = {suffix: onnx.load(run / f"{suffix}.onnx") for suffix in ("int8", "fp32")}
    recipe: dict[str, JsonValue] = json.loads((run / "quantization.json").read_text())
    evidence = _gather(Run.read(run), release, data, read_test=read_test)
    artifacts = {
        "int8": _artifact(graphs["int8"], release, evidence, "int8", recipe),
        "fp32": _artifact(
            graphs["fp32"], release, evidence, "float32", {"method": "none: the float twin, folded and equalized"}
        ),
    }
    int8, fp32 = (release.file(folder, f"{suffix}.onnx") for suffix in ("int8", "fp32"))
    int8.write_bytes(artifacts["int8"])
    fp32.write_bytes(artifacts["fp32"])
    release.file(folder, "md").write_text(card(run, int8, fp32))
    return int8, fp32


def with_reference(artifact: bytes, version: str, data: Path) -> bytes:
    """The artifact as a new version with the same graph and the reference for drift.

    Args:
        artifact: an artifact, with or without a reference.
        version: three numbers.
        data: the data folder that it was published with.

    Raises:
        ArtifactError: if the bytes are not an artifact.
        PublishError: if it was calibrated on other data, or the result fails its verification.
    """
    graph, manifest = parse(artifact)
    scorer, calibrating = Scorer(graph), halves_of_valid(load(data, "valid"))[1]
    temperature = manifest.calibration.temperature
    fitted = fit_operating_point(scorer.logits(calibrating.images), calibrating.labels)
    if not np.allclose((fitted.temperature, fitted.threshold), (temperature, manifest.threshold), rtol=1e-4):
        raise PublishError(
            f"{data} is not what {manifest.name} {manifest.version} was calibrated on: its temperature would be "
            f"{fitted.temperature:.4f}, and is {temperature:.4f}"
        )
    group = Group.parse(manifest.group.name)
    reference = fit_reference(scorer, group, calibrating.images, temperature, manifest.quality)
    return _verified(graph, manifest.model_copy(update={"version": version, "reference": reference}))


def _verified(graph: onnx.ModelProto, manifest: Manifest) -> bytes:
    artifact = write(graph, manifest)
    report = verify(artifact)
    if not report.passed:
        failed = "; ".join(f"{step.name}: {step.detail}" for step in report.steps if not step.passed)
        raise PublishError(f"the {manifest.precision} artifact fails its verification: {failed}")
    return artifact


def _manifest(file: Path) -> Manifest:
    return parse(file.read_bytes())[1]


def learning_curve(run: Path) -> list[str]:
    """Markdown rows of the run's ``metrics.csv``, one per epoch."""
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


def _told(recipe: Recipe) -> str:
    """The settings of the fit, as text."""
    return "; ".join(f"{name.replace('_', ' ')} {value}" for name, value in asdict(recipe).items() if value != "")


def _averaged(average: Average | None) -> list[str]:
    if average is None:
        return []
    return [
        f"- The weights are an average: {1 - average.weight:g} times those that were fitted so (SHA-256 "
        f"`{average.run_sha256}`), plus {average.weight:g} times those of `{average.other}` (SHA-256 "
        f"`{average.other_sha256}`); batch norm was estimated again. The learning curve is that of the fit.",
    ]


def _joined(joined: Joined | None) -> list[str]:
    if joined is None:
        return []
    fitted = [] if joined.recipe is None else [f"- `{joined.name}` was fitted with {_told(joined.recipe)}."]
    return [
        f"- The logits are the mean of that network's and {joined.factor:.4g} times those of `{joined.name}` (SHA-256 "
        f"`{joined.sha256}`), which reads the same patch; its batch norm was estimated again on "
        f"{ADAPTING_PATCHES:,} training patches.",
        *fitted,
        *_noticed(joined),
    ]


def _noticed(joined: Joined) -> list[str]:
    """Where the licence of weights of others stands."""
    start = None if joined.recipe is None else joined.recipe.start_sha256
    if PUBLIC_P4M in (joined.sha256, start):
        return ["- `model_zoo/NOTICE.md` names the origin and the licence of these public weights."]
    return []


def card(run: Path, int8: Path, fp32: Path) -> str:
    """The model card of a release, in Markdown."""
    manifest, settings = _manifest(int8), Run.read(run)
    return "\n".join(
        [
            f"# {manifest.name} {manifest.version}",
            "",
            f"`{int8.name}` ({int8.stat().st_size:,} bytes) and its float twin `{fp32.name}`.",
            "",
            *facts(manifest),
            f"- Fitted with {_told(settings.recipe)}.",
            *_averaged(settings.average),
            *_joined(settings.joined),
            "",
            "## Figures",
            "",
            *metrics_table({"INT8": manifest, "float32": _manifest(fp32)}),
            "",
            "One half of valid chose the epoch, the other half fitted temperature, threshold, band and limit. If the",
            "patches of a split differ from the official file, or were encoded again, its scores are not PCam's.",
            "",
            "## Learning curve",
            "",
            *learning_curve(run),
            "",
        ]
    )

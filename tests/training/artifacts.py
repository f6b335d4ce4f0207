"""Artifacts with graphs that were quantized in a test."""

from __future__ import annotations

from model_zoo.artifact import graph_sha256, write
from model_zoo.golden import golden_cases
from model_zoo.manifest import (
    Calibration,
    Consistency,
    GroupSpec,
    InputSpec,
    Manifest,
    QualityReference,
    TrainingData,
)
from model_zoo.symmetry import Group
from training.quantize.pipeline import Quantized
from training.score import Scorer


def artifact(name: str, precision: str, quantized: Quantized, **settings: object) -> bytes:
    """A whole artifact around a tiny graph, with plausible figures; ``settings`` are of the manifest."""
    graph = quantized.int8 if precision == "int8" else quantized.float32
    group = Group.parse(name)
    manifest = Manifest(
        name=f"{name.lower()}-tiny",
        version="0.0.1",
        precision="int8" if precision == "int8" else "float32",
        architecture={"family": "mobilenetv2"},
        group=GroupSpec.of(group),
        exact_subgroup=group.exact_subgroup.name,
        input=InputSpec(microns_per_pixel=0.97),
        threshold=0.5,
        calibration=Calibration(temperature=1.0, prevalence=0.5),
        review_band=(0.4, 0.6),
        consistency=Consistency(limit=0.1, interpolation_floor=0.02),
        quality=QualityReference(
            min_tissue_fraction=0.05,
            min_sharpness=1.0,
            max_stain_distance=4.0,
            stain_mean=(0.3, 0.5, 0.3),
            stain_precision=((1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0)),
        ),
        quantization=dict(quantized.figures.recipe()),
        training_data=TrainingData(source="none", patches=1, sha256="0" * 64, licence="none", encoding="none"),
        metrics=(),
        intended_use="A test.",
        graph_sha256=graph_sha256(graph),
        golden_cases=golden_cases(Scorer(graph).logits),
    )
    return write(graph, manifest.model_copy(update=settings))

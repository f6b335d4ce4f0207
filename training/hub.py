"""A release as a model folder of the Hugging Face Hub."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import get_args

from model_zoo.artifact import parse
from model_zoo.basis import Basis
from model_zoo.manifest import Manifest

CARD = "README.md"
_TAGS = ("histopathology", "pathology", "equivariance")


def hub_folder(int8: Path, fp32: Path, card: Path, folder: Path) -> Path:
    """Write both artifacts and the card with the Hub's front matter; gives the card's file.

    Args:
        int8, fp32, card: files of one release.
        folder: is created; files of the same names are replaced.

    Raises:
        ArtifactError: if the first file is not an artifact.
    """
    manifest = parse(int8.read_bytes())[1]
    folder.mkdir(parents=True, exist_ok=True)
    for file in (int8, fp32):
        shutil.copyfile(file, folder / file.name)
    written = folder / CARD
    written.write_text("\n".join([*front_matter(manifest, "onnx"), card.read_text(encoding="utf-8")]), encoding="utf-8")
    return written


def front_matter(manifest: Manifest, library: str, bases: Sequence[Basis] = get_args(Basis)) -> list[str]:
    """The YAML at the head of a card: what the Hub lists a model by. JSON strings are YAML's too.

    Args:
        library: that opens the model.
        bases: on which decisions of the model can be based.
    """
    metrics = [
        f"          - {{type: {json.dumps(metric.name)}, value: {metric.value:.6g}, name: "
        f"{json.dumps(f'{metric.name}, {metric.split}, basis {metric.basis}')}}}"
        for metric in manifest.metrics
        if metric.split in ("test", "valid") and metric.basis in bases
    ]
    results = [
        "model-index:",
        f"  - name: {json.dumps(manifest.name)}",
        "    results:",
        "      - task: {type: image-classification}",
        f"        dataset: {{name: PatchCamelyon, type: pcam, args: {json.dumps(manifest.training_data.encoding)}}}",
        "        metrics:",
        *metrics,
    ]
    return [
        "---",
        "license: apache-2.0",
        f"library_name: {library}",
        "pipeline_tag: image-classification",
        f"tags: {json.dumps(list(_TAGS))}",
        *(results if metrics else []),
        "---",
        "",
    ]

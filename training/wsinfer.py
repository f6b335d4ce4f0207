"""A float32 artifact as a model of WSInfer and of QuPath's WSInfer extension.

Both programs cut patches, apply the transforms of ``config.json``, call a TorchScript module, and always apply softmax.
So mask and temperature are in the module, and softmax gives the calibrated probability. Source of the format:
WSInfer's ``model-config.schema.json``, version 1.0.
"""

from __future__ import annotations

import json
import warnings
from pathlib import Path

import torch
from torch import Tensor, nn

from model_zoo.manifest import Manifest
from model_zoo.summary import facts
from training.hub import front_matter
from training.mobilenetv2 import PATCH_PX
from training.recover import folded_network

MODULE, CONFIG, CARD = "torchscript_model.pt", "config.json", "README.md"


class CalibratedNetwork(nn.Module):
    """Patches [N, 3, 96, 96] in [0, 1] → logits [N, 2] whose softmax is the calibrated probability."""

    def __init__(self, network: nn.Module, temperature: float) -> None:
        super().__init__()
        self.network = network
        self.temperature = temperature

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.network(x) / self.temperature
        return logits


def export(artifact: Path, folder: Path) -> tuple[Path, Path, Path]:
    """Write the module, its configuration and a card.

    Args:
        artifact: a float32 artifact of a MobileNetV2.
        folder: is created.

    Raises:
        ArtifactError, RecoveryError: if the file is none.
    """
    network, manifest = folded_network(artifact)
    module = CalibratedNetwork(network, manifest.calibration.temperature).eval()
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")  # torch says that TorchScript is deprecated; both programs need it
        traced = torch.jit.freeze(torch.jit.trace(module, torch.rand(2, 3, PATCH_PX, PATCH_PX)))
    folder.mkdir(parents=True, exist_ok=True)
    files = folder / MODULE, folder / CONFIG, folder / CARD
    traced.save(str(files[0]))
    files[1].write_text(json.dumps(configuration(manifest), indent=2) + "\n", encoding="utf-8")
    files[2].write_text(card(manifest, artifact.name), encoding="utf-8")
    return files


def configuration(manifest: Manifest) -> dict[str, object]:
    """The content of ``config.json``."""
    return {
        "spec_version": "1.0",
        "architecture": "mobilenetv2",
        "num_classes": len(manifest.classes),
        "class_names": list(manifest.classes),
        "patch_size_pixels": PATCH_PX,
        "spacing_um_px": manifest.input.microns_per_pixel,
        "transform": [{"name": "Resize", "arguments": {"size": PATCH_PX}}, {"name": "ToTensor"}],
    }


def card(manifest: Manifest, source: str) -> str:
    """The model card, in Markdown."""
    return "\n".join(
        [
            *front_matter(manifest, "wsinfer", ["single"]),
            f"# {manifest.name} {manifest.version} for WSInfer",
            "",
            f"TorchScript of `{source}`, for WSInfer and QuPath's WSInfer extension. Softmax of its output is the ",
            "calibrated probability of the patch as given; it has no review band, no quality check and no turns.",
            "",
            *facts(manifest),
            "",
        ]
    )

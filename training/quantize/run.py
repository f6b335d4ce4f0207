"""Quantizes a run folder: its best weights become ``int8.onnx`` and ``fp32.onnx`` beside them."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx

from training.quantize.joined import quantize_joined
from training.quantize.pipeline import Figures, Graphs, quantize
from training.quantize.scheme import DEFAULT, Scheme
from training.recipe import Run
from training.weights import fitted_network, joined_networks

FIGURES = "quantization.json"
OF_JOINED = replace(DEFAULT, absorb=False)


def quantize_run(run: Path, probes: npt.NDArray[np.uint8], scheme: Scheme = DEFAULT) -> Figures:
    """Quantize a run's best weights without data; ``quantization.json`` is written last.

    Args:
        probes: uint8 [N, 96, 96, 3]; patches for the figures.
        scheme: the steps of quantization.

    Raises:
        QuantizationError: if a step that must not change the float network changed it.
        FileNotFoundError: if the run has not finished an epoch.
        CheckpointError: if the weights are those of another network.
        ValueError: if joined networks are to be quantized by other steps than :func:`quantize_joined` takes.
    """
    joined = Run.read(run).joined
    quantized: Graphs
    if joined is None:
        quantized = quantize(fitted_network(run), probes, scheme)
    elif scheme != OF_JOINED:
        raise ValueError("joined networks have one scheme, in which high biases are not absorbed: give --no-absorb")
    else:
        quantized = quantize_joined(*joined_networks(run), joined.factor, probes)
    onnx.save(quantized.int8, run / "int8.onnx")
    onnx.save(quantized.float32, run / "fp32.onnx")
    (run / FIGURES).write_text(json.dumps(quantized.figures.recipe(), indent=2) + "\n")
    return quantized.figures

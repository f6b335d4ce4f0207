"""Signal-to-quantization-noise ratios of the layers in INT8."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime as ort
import torch
from onnx import TensorProto, helper, numpy_helper

from model_zoo.network import session_options
from training.quantize.pipeline import Quantized
from training.quantize.ranges import Quantizer
from training.score import CHUNK

Array = npt.NDArray[np.generic]
TINY = float(np.finfo(np.float64).tiny)


@dataclass
class Ratio:
    """Energies of a signal and of its noise, summed over chunks."""

    signal: float = 0.0
    noise: float = 0.0

    def add(self, expected: Array, actual: Array) -> Ratio:
        wanted = expected.astype(np.float64)
        self.signal += float(np.square(wanted).sum())
        self.noise += float(np.square(actual.astype(np.float64) - wanted).sum())
        return self

    @property
    def decibels(self) -> float:
        return 10 * float(np.log10(max(self.signal, TINY) / max(self.noise, TINY)))


def activations(int8: onnx.ModelProto, patches: npt.NDArray[np.uint8]) -> dict[str, Array]:
    """Dequantized activations of an INT8 graph, and its logits, by name.

    Args:
        patches: uint8 [N, 96, 96, 3].
    """
    stored = {t.name: numpy_helper.to_array(t) for t in int8.graph.initializer}
    quantizers = {
        node.output[0]: Quantizer(stored[node.input[1]].item(), stored[node.input[2]].item())
        for node in int8.graph.node
        if node.op_type == "QuantizeLinear"
    }
    opened = onnx.ModelProto()
    opened.CopyFrom(int8)
    opened.graph.output.extend(helper.make_tensor_value_info(name, TensorProto.UINT8, None) for name in quantizers)
    session = ort.InferenceSession(opened.SerializeToString(), session_options(), providers=["CPUExecutionProvider"])
    logits, *integers = session.run(["logits", *quantizers], {"patches": patches})
    real: dict[str, Array] = {
        name: quantizer.scale * (integer.astype(np.float64) - quantizer.zero_point)
        for (name, quantizer), integer in zip(quantizers.items(), integers, strict=True)
    }
    return {**real, "logits": logits}


@torch.no_grad()
def layer_sqnr(quantized: Quantized, patches: npt.NDArray[np.uint8]) -> dict[str, float]:
    """Decibels of every activation and of the logits, by name in the graph's order.

    The reference is the equalized float network, so that scales of equalization are in both.

    Args:
        patches: uint8 [N, 96, 96, 3].
    """
    ratios: dict[str, Ratio] = {}
    for start in range(0, len(patches), CHUNK):
        chunk = patches[start : start + CHUNK]
        actual = activations(quantized.int8, chunk)
        x = torch.from_numpy(chunk).permute(0, 3, 1, 2).float() / 255
        for name, tensor in quantized.network.tensors(x):
            if name in actual:
                expected = tensor.numpy()
                ratios.setdefault(name, Ratio()).add(expected, actual[name].reshape(expected.shape))
    return {name: ratio.decibels for name, ratio in ratios.items()}

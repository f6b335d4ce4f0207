"""A small builder of ONNX graphs in the artifact's dialect."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper, numpy_helper

from training.quantize.ranges import Quantizer

OPSET = 17
IR_VERSION = 9


class GraphBuilder:
    """Collects nodes and initializers; every method that adds a node returns the name of its output."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.initializers: list[onnx.TensorProto] = []

    def constant(self, name: str, values: npt.NDArray[np.generic]) -> str:
        self.initializers.append(numpy_helper.from_array(values, name))
        return name

    def node(self, operator: str, inputs: list[str], output: str, **attributes: Any) -> str:
        self.nodes.append(helper.make_node(operator, inputs, [output], name=output, **attributes))
        return output

    def split(self, source: str, parts: int, output: str) -> list[str]:
        """Split the channels into equal parts; returns their names."""
        names = [f"{output}{i}" for i in range(parts)]
        self.nodes.append(helper.make_node("Split", [source], names, name=output, axis=1))
        return names

    def quantizer(self, tensor: str, quantizer: Quantizer) -> list[str]:
        """A separate scale and zero point for the tensor."""
        scale = self.constant(f"{tensor}.scale", np.array(quantizer.scale, np.float32))
        return [scale, self.constant(f"{tensor}.zero_point", np.array(quantizer.zero_point, np.uint8))]

    def quantize(self, source: str, output: str, quantizer: Quantizer) -> str:
        return self.node("QuantizeLinear", [source, *self.quantizer(output, quantizer)], output)

    def dequantize(self, source: str, output: str, quantizer: Quantizer) -> str:
        return self.node("DequantizeLinear", [source, *self.quantizer(output, quantizer)], output)

    def integers(
        self, name: str, values: npt.NDArray[np.signedinteger], scale: npt.NDArray[np.float32], axis: int = 0
    ) -> str:
        """Stored integers with a DequantizeLinear, one scale per index along ``axis``, zero point 0."""
        stored = self.constant(f"{name}.stored", values)
        scales = self.constant(f"{name}.scale", scale)
        zeros = self.constant(f"{name}.zero_point", np.zeros(len(scale), values.dtype))
        return self.node("DequantizeLinear", [stored, scales, zeros], name, axis=axis)

    def model(self) -> onnx.ModelProto:
        """The finished model: uint8 ``patches`` [N, 96, 96, 3] → float32 ``logits`` [N, 2]."""
        graph = helper.make_graph(
            self.nodes,
            "rosette",
            [helper.make_tensor_value_info("patches", TensorProto.UINT8, ["N", 96, 96, 3])],
            [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["N", 2])],
            self.initializers,
        )
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], producer_name="rosette")
        model.ir_version = IR_VERSION
        return model

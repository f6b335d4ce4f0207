"""Changes a real artifact's graph and updates its hashes, so that only the tested check can fail."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx
import onnxruntime as ort
from onnx import NodeProto, TensorProto, numpy_helper

from model_zoo.artifact import graph_sha256, parse, write
from model_zoo.golden import golden_cases
from model_zoo.manifest import Manifest
from model_zoo.network import session_options

Change = Callable[[onnx.ModelProto], None]


def resealed(data: bytes, change: Change, *, replay: bool = True) -> bytes:
    """The artifact with its graph changed, its graph hash set right and, if ``replay``, its golden cases answered."""
    model, manifest = parse(data)
    change(model)
    update: dict[str, object] = {"graph_sha256": graph_sha256(model)}
    if replay:
        session = ort.InferenceSession(model.SerializeToString(), session_options())
        update["golden_cases"] = golden_cases(lambda patches: session.run(["logits"], {"patches": patches})[0])
    return write(model, manifest.model_copy(update=update))


def with_manifest(data: bytes, **update: object) -> bytes:
    """The artifact with fields of its manifest replaced, unvalidated."""
    model, manifest = parse(data)
    model.metadata_props[0].value = Manifest.model_copy(manifest, update=update).model_dump_json(warnings=False)
    return model.SerializeToString(deterministic=True)


def producer(model: onnx.ModelProto, output: str) -> NodeProto:
    (node,) = [node for node in model.graph.node if output in node.output]
    return node


def readers(model: onnx.ModelProto, name: str) -> list[NodeProto]:
    return [node for node in model.graph.node if name in node.input]


def first(model: onnx.ModelProto, operator: str) -> NodeProto:
    return next(node for node in model.graph.node if node.op_type == operator)


def initializer(model: onnx.ModelProto, name: str) -> TensorProto:
    (tensor,) = [tensor for tensor in model.graph.initializer if tensor.name == name]
    return tensor


def stored_weights(model: onnx.ModelProto, node: NodeProto) -> TensorProto:
    """The int8 initializer behind the weights of a Conv or Gemm."""
    return initializer(model, producer(model, node.input[1]).input[0])


def set_values(tensor: TensorProto, values: np.ndarray) -> None:
    tensor.CopyFrom(numpy_helper.from_array(values, tensor.name))

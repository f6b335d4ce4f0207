#!/usr/bin/env bash
# onnxruntime 1.32.0, CPU: which simple operators between DequantizeLinear and QuantizeLinear run on uint8, and which in float.
#
# One expects all operators that only move or compare values to lose the pair around them, since one scale serves both sides.
# Slice, MaxPool, Transpose and Concat do: the optimized graph holds no DequantizeLinear and no QuantizeLinear.
# Pad, Max and Clip do not: the optimized graph converts to float, applies the operator, and converts back.
# Padding by the zero point, the maximum of two codes and clipping between two codes are just as exact on uint8.
# Max and Pad written by hand on the uint8 tensors run there and give the same bits, so the kernels exist: only the rewrite is missing.
# It matters for residual networks and orientation pooling, where one such node sends a part of an INT8 model through float.
# Output seen: "Slice: Slice", "MaxPool: MaxPool", "Concat: QLinearConcat", "Pad: DequantizeLinear Pad QuantizeLinear", and so on.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet onnxruntime==1.32.0 onnx==1.23.2 numpy==2.4.6

cd "$folder"
"$folder/venv/bin/python" - <<'PYTHON'
import numpy as np
import onnx
import onnxruntime as ort
from onnx import TensorProto, helper, numpy_helper

ort.set_default_logger_severity(3)
values = {
    "scale": np.float32(0.02),
    "zero": np.uint8(128),
    "low": np.float32(-1),
    "high": np.float32(1),
    "pads": np.array([0, 0, 1, 1, 0, 0, 1, 1]),
    "starts": np.array([1, 1]),
    "ends": np.array([7, 7]),
    "axes": np.array([2, 3]),
}
random = np.random.default_rng(0)
inputs = {name: random.integers(0, 256, (1, 4, 8, 8), dtype=np.uint8) for name in ("x1", "x2")}
node = helper.make_node


def run(name, nodes):
    used = {key for n in nodes for key in n.input}
    feeds = {key: inputs[key] for key in inputs if key in used}
    graph = helper.make_graph(
        nodes,
        name,
        [helper.make_tensor_value_info(key, TensorProto.UINT8, v.shape) for key, v in feeds.items()],
        [helper.make_tensor_value_info("y", TensorProto.UINT8, list("abcd"))],
        [numpy_helper.from_array(np.asarray(v), k) for k, v in values.items() if k in used],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model, full_check=True)
    options = ort.SessionOptions()
    options.optimized_model_filepath = f"{name}.onnx"
    session = ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    result = session.run(None, feeds)[0]
    return result, [n.op_type for n in onnx.load(f"{name}.onnx").graph.node]


def between(name, operator, both=False):
    dequantize = [node("DequantizeLinear", [f"x{i}", "scale", "zero"], [f"f{i}"]) for i in ((1, 2) if both else (1,))]
    result, nodes = run(name, [*dequantize, operator, node("QuantizeLinear", ["r", "scale", "zero"], ["y"])])
    print(f"{name}:", *nodes)
    return result, nodes


conversions = {"DequantizeLinear", "QuantizeLinear"}
for name, operator, both in (
    ("Slice", node("Slice", ["f1", "starts", "ends", "axes"], ["r"]), False),
    ("MaxPool", node("MaxPool", ["f1"], ["r"], kernel_shape=[2, 2], strides=[2, 2]), False),
    ("Transpose", node("Transpose", ["f1"], ["r"], perm=[0, 1, 3, 2]), False),
    ("Concat", node("Concat", ["f1", "f2"], ["r"], axis=1), True),
):
    _, nodes = between(name, operator, both)
    assert not conversions & set(nodes), f"{name} ran in float: onnxruntime's behaviour has changed"

results = {}
for name, operator, both in (
    ("Pad", node("Pad", ["f1", "pads"], ["r"]), False),
    ("Max", node("Max", ["f1", "f2"], ["r"]), True),
    ("Clip", node("Clip", ["f1", "low", "high"], ["r"]), False),
):
    results[name], nodes = between(name, operator, both)
    assert conversions <= set(nodes) and name in nodes, f"{name} ran on uint8: onnxruntime's behaviour has changed"

for name, operator in (
    ("Pad", node("Pad", ["x1", "pads", "zero"], ["y"])),
    ("Max", node("Max", ["x1", "x2"], ["y"])),
):
    result, nodes = run(f"{name}_uint8", [operator])
    print(f"{name} on uint8:", *nodes, "same bits" if np.array_equal(result, results[name]) else "other bits")
    assert nodes == [name]
    assert np.array_equal(result, results[name])
PYTHON

#!/usr/bin/env bash
# onnxruntime 1.32.0, CPU, with onnx 1.23.2: weights that DequantizeLinear scales along their input channels.
#
# One expects the default graph optimizations to keep the meaning of a valid model, up to a code of rounding.
# DequantizeLinear's axis says along which axis of the weight the scales run, and without the attribute it is 1.
# The rewrite to QLinearConv and QGemm does not look at it: it always takes the scales for those of the output channels.
# For a Conv, whose weight is (output, input, height, width), axis 1 is then read as axis 0. For a Gemm with transB=0,
# axis 0 is read as axis 1. Nothing warns when the weight has as many inputs as outputs, since the shapes fit.
# onnx's ReferenceEvaluator and onnxruntime without optimizations give the right answer, and so does MatMul, which is
# rewritten only for the axis of the outputs.
# It matters for exporters of INT8 models: a forgotten "axis=0" is an error that only layers of unequal width, or a run
# without optimizations, show. Scales on the input channels, on purpose, give wrong answers in silence.
# Output seen, where the codes are uint8: "Conv axis 0: QLinearConv, 0 of 512 codes differ by more than 1, at most 0",
# "Conv axis 1: QLinearConv, 478 of 512 codes differ by more than 1, at most 65", and a line for each other case.
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
from onnx.reference import ReferenceEvaluator

ort.set_default_logger_severity(3)
random = np.random.default_rng(0)
scales = random.uniform(0.002, 0.03, 8).astype(np.float32)
# Up to 60, two products of a uint8 and an int8 cannot saturate the 16 bits of older processors.
weights = {
    "Conv": random.integers(-60, 61, (8, 8, 3, 3)).astype(np.int8),
    "Gemm": random.integers(-60, 61, (8, 8)).astype(np.int8),
}
weights["MatMul"] = weights["Gemm"]
inputs = {
    "Conv": random.integers(0, 256, (1, 8, 8, 8)).astype(np.uint8),
    "Gemm": random.integers(0, 256, (64, 8)).astype(np.uint8),
}
inputs["MatMul"] = inputs["Gemm"]


def model_of(operator, axis):
    attributes = {} if axis is None else {"axis": axis}
    values = {
        "w": weights[operator],
        "w_scale": scales,
        "w_zero": np.zeros(8, np.int8),
        "x_scale": np.float32(0.02),
        "x_zero": np.uint8(128),
        "y_scale": np.float32(0.3 if operator == "Conv" else 0.1),
        "y_zero": np.uint8(128),
    }
    nodes = [
        helper.make_node("DequantizeLinear", ["x", "x_scale", "x_zero"], ["fx"]),
        helper.make_node("DequantizeLinear", ["w", "w_scale", "w_zero"], ["fw"], **attributes),
        helper.make_node(operator, ["fx", "fw"], ["fy"], **({"pads": [1, 1, 1, 1]} if operator == "Conv" else {})),
        helper.make_node("QuantizeLinear", ["fy", "y_scale", "y_zero"], ["y"]),
    ]
    shape = inputs[operator].shape
    graph = helper.make_graph(
        nodes,
        operator,
        [helper.make_tensor_value_info("x", TensorProto.UINT8, shape)],
        [helper.make_tensor_value_info("y", TensorProto.UINT8, shape)],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in values.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)
    onnx.checker.check_model(model, full_check=True)
    return model


def run(model, feeds, optimized):
    options = ort.SessionOptions()
    options.optimized_model_filepath = "optimized.onnx"
    if not optimized:
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    nodes = [node.op_type for node in onnx.load("optimized.onnx").graph.node]
    return session.run(None, feeds)[0].astype(int), nodes


cases = [
    ("Conv", 0, "QLinearConv", True),
    ("Conv", 1, "QLinearConv", False),
    ("Conv", None, "QLinearConv", False),
    ("Gemm", 1, "QGemm", True),
    ("Gemm", 0, "QGemm", False),
    ("MatMul", 1, "QLinearMatMul", True),
    ("MatMul", 0, "MatMul", True),
]
fast = {}
for operator, axis, kernel, right in cases:
    model, feeds = model_of(operator, axis), {"x": inputs[operator]}
    expected = ReferenceEvaluator(model).run(None, feeds)[0].astype(int)
    plain, _ = run(model, feeds, optimized=False)
    assert np.abs(plain - expected).max() <= 1, "onnxruntime without optimizations is wrong as well"
    assert np.mean((expected > 0) & (expected < 255)) > 0.9, "the codes saturate, so they hardly compare"
    fast[operator, axis], nodes = run(model, feeds, optimized=True)
    difference = np.abs(fast[operator, axis] - expected)
    name = f"{operator} without axis" if axis is None else f"{operator} axis {axis}"
    wrong = int((difference > 1).sum())
    print(f"{name}: {kernel}, {wrong} of {difference.size} codes differ by more than 1, at most {difference.max()}")
    assert kernel in nodes, f"{name}: {nodes}: onnxruntime's rewrite has changed"
    assert (wrong == 0) == right, f"{name}: onnxruntime's behaviour has changed"
    assert right or wrong > difference.size / 2

assert np.array_equal(fast["Conv", 1], fast["Conv", 0]) and np.array_equal(fast["Gemm", 0], fast["Gemm", 1])
print("the answer for the axis of the inputs equals the answer for the axis of the outputs, bit by bit")
PYTHON

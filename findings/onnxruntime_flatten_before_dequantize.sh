#!/usr/bin/env bash
# onnxruntime 1.32.0, CPU: swapping Flatten and DequantizeLinear in front of a Gemm changes the kernel, and even the result.
#
# One expects the order not to matter: Flatten moves no value, so both graphs are the same function.
# With the optimizer off they do give equal results, bit for bit.
# With the default optimizer, Flatten -> DequantizeLinear -> Gemm becomes an integer QGemm, equal to the reference up to rounding.
# DequantizeLinear -> Flatten -> Gemm becomes MatMulNBits, which treats the weights alone as quantized.
# By default that kernel quantizes the activations again, with its own scale, and its result differs by up to 0.05 here.
# The session entry session.qdq_matmulnbits_accuracy_level = "1" makes it exact again, so the approximation is a chosen default.
# With a QuantizeLinear behind it the first graph is one QGemm, while the second runs a float Gemm between Q and DQ nodes.
# It matters because exporters write either order, and a pair of "identical" models then differs in logits, or in speed without a word.
# Output seen: largest error 5e-07 for QGemm, 0.047 for MatMulNBits, 5e-07 for MatMulNBits at accuracy level 1 (x86-64).
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
random = np.random.default_rng(0)
values = {
    "weight": random.integers(-127, 128, (16, 4), dtype=np.int8),
    "bias": random.integers(-99, 99, 4).astype(np.int32),
    "scale": np.float32(0.02),
    "zero": np.uint8(128),
    "weight_scale": np.float32(0.01),
    "weight_zero": np.int8(0),
    "bias_scale": np.float32(0.02) * np.float32(0.01),
    "bias_zero": np.int32(0),
    "out_scale": np.float32(0.1),
    "out_zero": np.uint8(128),
}
x = random.integers(0, 256, (1, 4, 2, 2), dtype=np.uint8)
node = helper.make_node


def save(path, flatten_first, quantized_output):
    if flatten_first:
        nodes = [node("Flatten", ["x"], ["t"]), node("DequantizeLinear", ["t", "scale", "zero"], ["a"])]
    else:
        nodes = [node("DequantizeLinear", ["x", "scale", "zero"], ["t"]), node("Flatten", ["t"], ["a"])]
    nodes += [
        node("DequantizeLinear", ["weight", "weight_scale", "weight_zero"], ["b"]),
        node("DequantizeLinear", ["bias", "bias_scale", "bias_zero"], ["c"]),
        node("Gemm", ["a", "b", "c"], ["g" if quantized_output else "y"]),
    ]
    if quantized_output:
        nodes.append(node("QuantizeLinear", ["g", "out_scale", "out_zero"], ["y"]))
    used = {name for n in nodes for name in n.input}
    kind = TensorProto.UINT8 if quantized_output else TensorProto.FLOAT
    graph = helper.make_graph(
        nodes,
        "gemm",
        [helper.make_tensor_value_info("x", TensorProto.UINT8, x.shape)],
        [helper.make_tensor_value_info("y", kind, [1, 4])],
        [numpy_helper.from_array(np.asarray(v), k) for k, v in values.items() if k in used],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model, full_check=True)
    onnx.save(model, path)


def run(path, optimize=True, **entries):
    options = ort.SessionOptions()
    options.optimized_model_filepath = f"optimized_{path}"
    if not optimize:
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    for key, value in entries.items():
        options.add_session_config_entry(f"session.{key}", value)
    result = ort.InferenceSession(path, options, providers=["CPUExecutionProvider"]).run(None, {"x": x})[0]
    return result, [n.op_type for n in onnx.load(f"optimized_{path}").graph.node]


save("flatten_first.onnx", True, False)
save("dequantize_first.onnx", False, False)
reference, _ = run("flatten_first.onnx", optimize=False)
other, _ = run("dequantize_first.onnx", optimize=False)
assert np.array_equal(reference, other), "the two graphs should be the same function"

integer, integer_nodes = run("flatten_first.onnx")
print("Flatten, DequantizeLinear, Gemm:", integer_nodes, "largest error", np.abs(integer - reference).max())
assert integer_nodes == ["Flatten", "QGemm"]
assert np.abs(integer - reference).max() < 1e-5

approximate, approximate_nodes = run("dequantize_first.onnx")
print("DequantizeLinear, Flatten, Gemm:", approximate_nodes, "largest error", np.abs(approximate - reference).max())
assert "MatMulNBits" in approximate_nodes and "QGemm" not in approximate_nodes
assert np.abs(approximate - reference).max() > 1e-2

exact, exact_nodes = run("dequantize_first.onnx", qdq_matmulnbits_accuracy_level="1")
print("the same at accuracy level 1:", exact_nodes, "largest error", np.abs(exact - reference).max())
assert "MatMulNBits" in exact_nodes
assert np.abs(exact - reference).max() < 1e-5

save("flatten_first_q.onnx", True, True)
save("dequantize_first_q.onnx", False, True)
_, nodes = run("flatten_first_q.onnx")
print("Flatten, DequantizeLinear, Gemm, QuantizeLinear:", nodes)
assert nodes == ["Flatten", "QGemm"]
_, nodes = run("dequantize_first_q.onnx")
print("DequantizeLinear, Flatten, Gemm, QuantizeLinear:", nodes)
assert "Gemm" in nodes and "QGemm" not in nodes and "MatMulNBits" not in nodes
PYTHON

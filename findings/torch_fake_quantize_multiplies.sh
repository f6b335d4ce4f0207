#!/usr/bin/env bash
# torch 2.13.0 (CPU) against onnxruntime 1.32.0 and onnx 1.23.2: one scale, one zero point, and other codes.
#
# fake_quantize_per_tensor_affine simulates in training what QuantizeLinear does once a model is exported. Its
# documentation gives the formula of a division, ONNX's too, both round half to even, so one expects equal codes.
# torch multiplies by the reciprocal of the scale, which it rounds to float32 first. Where the quotient lies half-way
# between two codes, the product may not, and the code is another one. onnxruntime and onnx's ReferenceEvaluator divide.
# With a scale of 0.023, 26 of the 255 half-way values get another code, always the neighbouring one.
# Half-way values are rare among random floats (5 of a million here), but not in a quantized network: its tensors lie
# on the grid of the tensor before, and with scales in a simple ratio every second value is half-way.
# It matters for everyone who proves that an exported INT8 model has the bits of its fake-quantized twin: compare codes
# within one step, or divide in a simulation of one's own.
# Output seen: "half-way values: 26 of 255 codes differ, by at most 1",
# "random values: 5 of 1000000 codes differ, by at most 1", "onnx and onnxruntime: 0 of 1000255 codes differ".
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet torch==2.13.0 onnxruntime==1.32.0 onnx==1.23.2 numpy==2.4.6

cd "$folder"
"$folder/venv/bin/python" - <<'PYTHON'
import numpy as np
import onnxruntime as ort
import torch
from onnx import TensorProto, helper
from onnx.reference import ReferenceEvaluator

scale = float(np.float32(0.023))
halfway = ((np.arange(255) + 0.5) * scale).astype(np.float32)
chance = np.random.default_rng(0).uniform(0, 255 * scale, 1_000_000).astype(np.float32)

graph = helper.make_graph(
    [helper.make_node("QuantizeLinear", ["x", "scale", "zero"], ["codes"])],
    "quantize",
    [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n"])],
    [helper.make_tensor_value_info("codes", TensorProto.UINT8, ["n"])],
    [
        helper.make_tensor("scale", TensorProto.FLOAT, [], [scale]),
        helper.make_tensor("zero", TensorProto.UINT8, [], [0]),
    ],
)
model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
session = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
reference = ReferenceEvaluator(model)


def exported(values):
    return session.run(None, {"x": values})[0].astype(int)


def simulated(values):
    faked = torch.fake_quantize_per_tensor_affine(torch.from_numpy(values), scale, 0, 0, 255)
    return np.rint(faked.numpy().astype(np.float64) / scale).astype(int)


for name, values, expected in (("half-way", halfway, 26), ("random", chance, 5)):
    away = np.abs(exported(values) - simulated(values))
    print(f"{name} values: {(away > 0).sum()} of {len(values)} codes differ, by at most {away.max()}")
    assert ((away > 0).sum(), away.max()) == (expected, 1), "torch or onnxruntime has changed"

both = np.concatenate([halfway, chance])
apart = (exported(both) != reference.run(None, {"x": both})[0]).sum()
print(f"onnx and onnxruntime: {apart} of {len(both)} codes differ")
assert apart == 0, "onnxruntime has changed"
PYTHON

#!/usr/bin/env bash
# onnx 1.23.2: MaxPool with padding in onnx.reference.ReferenceEvaluator.
#
# The operator's text allows int8 and uint8, and still defines auto_pad (deprecated, but valid): with SAME_LOWER the output
# has ceil(input / stride) rows, and an odd row of padding goes in front. One expects onnx's own reference
# to follow the text of the same package.
# With SAME_LOWER and stride 2 it does not. For 9 rows it returns 4, although the package's shape inference says 5 and the
# model declares 5. For 8 rows and a kernel of 3 the shape is right, but the values are not. Neither raises an error.
# The same padding written as pads gives the right answer, and so does SAME_UPPER.
# With int8, stride 1 and any padding it raises "cannot convert float NaN to integer", since it fills the border with NaN.
# With uint8 the NaN turns into 0 by luck (numpy warns of an invalid cast), and with stride 2 int8 works.
# It matters where the reference judges an INT8 export: the runtime looks wrong, or the check fails for no fault of the model.
# Write the padding as pads before such a comparison, and compare pooling of int8 by other means.
# Output seen: "float32, 9 rows, kernel 2, SAME_LOWER: inferred 5 rows, got 4", "float32, 8 rows, kernel 3, SAME_LOWER:
# inferred 4 rows, got 4, 22 of 32 values wrong", "int8, 8 rows, kernel 3, pads, stride 1: ValueError", and others.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet onnx==1.23.2 numpy==2.4.6

cd "$folder"
"$folder/venv/bin/python" -W ignore - <<'PYTHON'
import numpy as np
import onnx
from onnx import helper
from onnx.reference import ReferenceEvaluator


def model_of(data, rows, **attributes):
    kind = helper.np_dtype_to_tensor_dtype(data.dtype)
    shape = [*data.shape[:2], rows, rows]
    graph = helper.make_graph(
        [helper.make_node("MaxPool", ["x"], ["y"], **attributes)],
        "pool",
        [helper.make_tensor_value_info("x", kind, data.shape)],
        [helper.make_tensor_value_info("y", kind, shape)],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 22)], ir_version=10)
    # Infers the shapes too, and refuses a model whose output is declared otherwise.
    onnx.checker.check_model(model, full_check=True)
    return model


def by_hand(data, rows, kernel, stride, before):
    """The pooling as the operator's text defines it, with a border below all values."""
    padded = np.full((*data.shape[:2], 32, 32), -1000.0)
    size = data.shape[-1]
    padded[:, :, before : before + size, before : before + size] = data
    pooled = np.empty((*data.shape[:2], rows, rows))
    for i in range(rows):
        for j in range(rows):
            top, left = i * stride, j * stride
            pooled[:, :, i, j] = padded[:, :, top : top + kernel, left : left + kernel].max(axis=(2, 3))
    return pooled


random = np.random.default_rng(0)
for size, kernel, mode in ((9, 2, "SAME_LOWER"), (9, 3, "SAME_LOWER"), (8, 3, "SAME_LOWER"), (8, 3, "SAME_UPPER")):
    data = random.integers(-100, 101, (1, 2, size, size)).astype(np.float32)
    rows = -(-size // 2)
    padding = max((rows - 1) * 2 + kernel - size, 0)
    before = (padding + 1) // 2 if mode == "SAME_LOWER" else padding // 2
    right = by_hand(data, rows, kernel, 2, before)

    pads = [before, before, padding - before, padding - before]
    model = model_of(data, rows, kernel_shape=[kernel] * 2, strides=[2, 2], pads=pads)
    assert np.array_equal(ReferenceEvaluator(model).run(None, {"x": data})[0], right), "the same padding as pads is wrong"

    model = model_of(data, rows, kernel_shape=[kernel] * 2, strides=[2, 2], auto_pad=mode)
    seen = ReferenceEvaluator(model).run(None, {"x": data})[0]
    text = f"float32, {size} rows, kernel {kernel}, {mode}: inferred {rows} rows, got {seen.shape[2]}"
    wrong = int((seen != right).sum()) if seen.shape == right.shape else None
    print(text if wrong is None else f"{text}, {wrong} of {right.size} values wrong")
    assert (wrong == 0) == (mode == "SAME_UPPER"), "onnx's behaviour has changed"
    assert (wrong is None) == (size == 9), "onnx's behaviour has changed"

for kind, stride in ((np.uint8, 1), (np.int8, 2), (np.int8, 1)):
    data = random.integers(0, 101, (1, 2, 8, 8)).astype(kind)
    if kind == np.int8:
        data -= 120
    rows = 8 // stride
    model = model_of(data, rows, kernel_shape=[3, 3], strides=[stride] * 2, pads=[1, 1, 1, 1])
    name = f"{data.dtype}, 8 rows, kernel 3, pads, stride {stride}"
    try:
        seen = ReferenceEvaluator(model).run(None, {"x": data})[0]
    except ValueError as error:
        print(f"{name}: ValueError: {error}")
        assert (kind, stride) == (np.int8, 1) and "NaN" in str(error), "onnx's behaviour has changed"
    else:
        assert (kind, stride) != (np.int8, 1), "onnx pools int8 with a border now: its behaviour has changed"
        assert np.array_equal(seen, by_hand(data, rows, 3, stride, 1))
        print(f"{name}: right")
PYTHON

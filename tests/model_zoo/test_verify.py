"""Verification: the shipped artifacts pass, and each damage is caught by the check that is there for it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from model_zoo.artifact import parse
from model_zoo.verify import Report, verify
from tests.model_zoo.resealing import (
    Change,
    first,
    initializer,
    producer,
    readers,
    resealed,
    set_values,
    stored_weights,
    with_manifest,
)


@pytest.fixture(scope="module")
def data(artifact_path: Path) -> bytes:
    return artifact_path.read_bytes()


def failures(report: Report) -> dict[str, str]:
    return {step.name: step.detail for step in report.steps if not step.passed}


def test_the_shipped_artifact_passes(data: bytes) -> None:
    report = verify(data)
    assert failures(report) == {}
    assert report.passed
    details = {step.name: step.detail for step in report.steps}
    assert list(details) == [
        "file",
        "manifest",
        "dialect",
        "operators",
        "shapes",
        "graph hash",
        "weights",
        "integer graph",
        "network",
        "golden cases",
        "exact invariance",
    ]
    assert details["weights"].startswith("largest |weight| 64,")
    assert details["golden cases"] == "8 of 8 bit for bit, largest residual 0"
    assert details["exact invariance"].startswith("0 of ")
    assert all(step.milliseconds > 0 for step in report.steps)


def test_its_float_twin_passes_with_the_residual_reported(float_artifact_path: Path) -> None:
    report = verify(float_artifact_path.read_bytes())
    assert report.passed
    details = {step.name: step.detail for step in report.steps}
    assert "integer graph" not in details
    assert "largest residual" in details["golden cases"]
    assert "answers differ under" in details["exact invariance"]


@pytest.mark.parametrize("kept", [0, 1, 1000, 0.5, 0.999])
def test_a_truncated_file_fails(data: bytes, kept: float) -> None:
    report = verify(data[: int(kept if kept >= 1 else kept * len(data))])
    assert not report.passed
    assert failures(report).keys() <= {"file", "manifest"}


def test_junk_fails_at_once() -> None:
    for junk in (b"\x89PNG\r\n\x1a\n", bytes(1000), b"<html>"):
        assert list(failures(verify(junk))) == ["file"]


def test_a_flipped_bit_in_the_weights_fails(data: bytes) -> None:
    model, _ = parse(data)
    weights = stored_weights(model, first(model, "Conv")).raw_data
    flipped = bytearray(data)
    flipped[data.index(weights) + 5] ^= 1
    assert "graph hash" in failures(verify(bytes(flipped)))


@pytest.mark.parametrize("seed", range(12))
def test_random_damage_gives_a_report(data: bytes, seed: int) -> None:
    rng = np.random.default_rng(seed)
    damaged = bytearray(data)
    for position in rng.integers(0, len(data), 1 + 4 * seed):
        damaged[position] ^= 1 << int(rng.integers(8))
    assert not verify(bytes(damaged)).passed


def test_a_changed_graph_hash_fails(data: bytes) -> None:
    assert list(failures(verify(with_manifest(data, graph_sha256="0" * 64)))) == ["graph hash"]


def test_a_wrong_manifest_fails(data: bytes) -> None:
    report = verify(with_manifest(data, exact_subgroup="D4"))
    assert list(failures(report)) == ["manifest"]
    assert "D4 is not the exact subgroup of" in report.steps[-1].detail


def test_a_broken_golden_case_fails(data: bytes) -> None:
    _, manifest = parse(data)
    cases = list(manifest.golden_cases)
    cases[3] = cases[3].model_copy(update={"logits": ("7fc00000", "7fc00000")})
    assert list(failures(verify(with_manifest(data, golden_cases=cases)))) == ["golden cases"]
    cases[3] = cases[3].model_copy(update={"logits": cases[2].logits, "png": cases[2].png})
    assert "the pixels hash to" in failures(verify(with_manifest(data, golden_cases=cases)))["golden cases"]


def test_a_conventional_network_has_nothing_to_compare(data: bytes) -> None:
    report = verify(with_manifest(data, exact_subgroup="C1"))
    assert report.passed
    assert report.steps[-1].detail == "C1: a conventional network, nothing to compare"


def over_wide_weight(model: onnx.ModelProto) -> None:
    tensor = stored_weights(model, first(model, "Gemm"))
    values = numpy_helper.to_array(tensor).copy()
    values.flat[0] = -65
    set_values(tensor, values)


def shifted_weights(model: onnx.ModelProto) -> None:
    zero_point = initializer(model, producer(model, first(model, "Gemm").input[1]).input[2])
    set_values(zero_point, numpy_helper.to_array(zero_point) + np.int8(1))


def unsigned_weights(model: onnx.ModelProto) -> None:
    dequantize = producer(model, first(model, "Gemm").input[1])
    for name in (dequantize.input[0], dequantize.input[2]):
        tensor = initializer(model, name)
        set_values(tensor, np.abs(numpy_helper.to_array(tensor)).astype(np.uint8))


def float_weights(model: onnx.ModelProto) -> None:
    gemm = first(model, "Gemm")
    shape = stored_weights(model, gemm).dims
    model.graph.initializer.append(numpy_helper.from_array(np.ones(shape, np.float32), "float.weight"))
    gemm.input[1] = "float.weight"


def zero_point_left_out(model: onnx.ModelProto) -> None:
    del first(model, "QuantizeLinear").input[2]


def float_gemm(model: onnx.ModelProto) -> None:
    """Take away the Q/DQ pair before the Gemm."""
    gemm = first(model, "Gemm")
    dequantize = producer(model, gemm.input[0])
    flatten = producer(model, dequantize.input[0])
    quantize = producer(model, flatten.input[0])
    flatten.input[0], gemm.input[0] = quantize.input[0], flatten.output[0]
    model.graph.node.remove(quantize)
    model.graph.node.remove(dequantize)


def float_maximum(model: onnx.ModelProto) -> None:
    """Pool over the group in float, between unequal scales, so that no optimizer can put it back."""
    maximum = first(model, "ReduceMax")
    parameters = readers(model, maximum.output[0])[0].input[1:]
    scale = numpy_helper.to_array(initializer(model, parameters[0])) * np.float32(1.5)
    model.graph.initializer.append(numpy_helper.from_array(scale, "wider"))
    position = list(model.graph.node).index(maximum)
    dequantize = helper.make_node("DequantizeLinear", [maximum.input[0], "wider", parameters[1]], ["real"])
    quantize = helper.make_node("QuantizeLinear", ["real.max", *parameters], [maximum.output[0]])
    maximum.input[0], maximum.output[0] = "real", "real.max"
    model.graph.node.insert(position + 1, quantize)
    model.graph.node.insert(position, dequantize)


def untied_residual(model: onnx.ModelProto) -> None:
    dequantize = producer(model, first(model, "Add").input[0])
    scale = initializer(model, dequantize.input[1])
    set_values(scale, numpy_helper.to_array(scale) * np.float32(1.5))


def less_symmetric_filter(model: onnx.ModelProto) -> None:
    tensor = stored_weights(model, first(model, "Conv"))
    values = numpy_helper.to_array(tensor).copy()
    values.flat[0] = -64 if values.flat[0] > 0 else 64
    set_values(tensor, values)


ALSO_NOTICED: dict[Change, set[str]] = {float_gemm: {"exact invariance"}, float_weights: {"integer graph"}}


@pytest.mark.parametrize(
    ("change", "step", "words"),
    [
        (over_wide_weight, "weights", "a weight of magnitude 65, expected at most 64"),
        (shifted_weights, "weights", "zero point other than 0"),
        (unsigned_weights, "weights", "are uint8, expected int8"),
        (float_weights, "weights", "do not come from a DequantizeLinear"),
        (zero_point_left_out, "weights", "is not stored in the graph, expected an initializer"),
        (float_gemm, "integer graph", "is left after optimization"),
        (float_maximum, "integer graph", "computes in float"),
        (untied_residual, "integer graph", "tie them"),
        (less_symmetric_filter, "exact invariance", "expected equal bits"),
    ],
)
def test_a_sealed_graph_that_breaks_a_promise_fails_in_one_step(
    data: bytes, change: Change, step: str, words: str
) -> None:
    found = failures(verify(resealed(data, change)))
    assert words in found[step]
    assert found.keys() - {step} <= ALSO_NOTICED.get(change, set())


def external_data(model: onnx.ModelProto) -> None:
    tensor = model.graph.initializer[0]
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="/etc/passwd")


def other_opset(model: onnx.ModelProto) -> None:
    model.opset_import[0].version = 21


def second_domain(model: onnx.ModelProto) -> None:
    model.opset_import.add(domain="com.microsoft", version=1)


def foreign_node(model: onnx.ModelProto) -> None:
    model.graph.node[0].domain = "com.microsoft"


def future_ir(model: onnx.ModelProto) -> None:
    model.ir_version = 99


def function(model: onnx.ModelProto) -> None:
    model.functions.add(name="f", domain="")


def sparse(model: onnx.ModelProto) -> None:
    model.graph.sparse_initializer.add()


def subgraph(model: onnx.ModelProto) -> None:
    model.graph.node[0].attribute.append(helper.make_attribute("body", helper.make_graph([], "body", [], [])))


def foreign_operator(model: onnx.ModelProto) -> None:
    first(model, "ReduceMax").op_type = "ReduceMean"


def second_output(model: onnx.ModelProto) -> None:
    model.graph.output.append(helper.make_tensor_value_info("masked", TensorProto.UINT8, ["N", 96, 96, 3]))


def other_input(model: onnx.ModelProto) -> None:
    model.graph.input[0].type.tensor_type.shape.dim[1].dim_value = 95


def fixed_batch(model: onnx.ModelProto) -> None:
    model.graph.input[0].type.tensor_type.shape.dim[0].dim_value = 1


def cycle(model: onnx.ModelProto) -> None:
    first(model, "Transpose").input[0] = model.graph.node[-1].output[0]


def stray_byte(model: onnx.ModelProto) -> None:
    stored_weights(model, first(model, "Conv")).raw_data += b"\0"


def huge_padding(model: onnx.ModelProto) -> None:
    """Grow all feature maps, which only the Reshape would notice, after they were computed."""
    (padding,) = [attribute for attribute in first(model, "Conv").attribute if attribute.name == "pads"]
    padding.ints[:] = [3000] * 4


def impossible_reshape(model: onnx.ModelProto) -> None:
    shape = initializer(model, first(model, "Reshape").input[1])
    values = numpy_helper.to_array(shape).copy()
    values[0], values[1] = -1, 13
    set_values(shape, values)


def stored_weights_taken_away(model: onnx.ModelProto) -> None:
    tensor = stored_weights(model, first(model, "Conv"))
    model.graph.initializer.remove(tensor)


@pytest.mark.parametrize(
    ("change", "step", "words"),
    [
        (external_data, "dialect", "is external data"),
        (other_opset, "dialect", "expected only ('ai.onnx', 17)"),
        (second_domain, "dialect", "com.microsoft"),
        (foreign_node, "dialect", "expected the standard domain"),
        (future_ir, "dialect", "the IR version is 99"),
        (function, "dialect", "functions"),
        (sparse, "dialect", "sparse"),
        (subgraph, "dialect", "GRAPH attribute 'body'"),
        (foreign_operator, "operators", "ReduceMean are not allowed in an int8 artifact"),
        (second_output, "shapes", "expected only 'logits'"),
        (other_input, "shapes", "expected uint8"),
        (fixed_batch, "shapes", "expected uint8"),
        (cycle, "shapes", "topologically sorted"),
        (huge_padding, "shapes", "values for each patch, expected at most 4,194,304"),
        (stored_weights_taken_away, "shapes", "is not output of any previous nodes"),
    ],
    ids=lambda value: getattr(value, "__name__", None),
)
def test_a_graph_outside_the_dialect_is_never_run(data: bytes, change: Change, step: str, words: str) -> None:
    report = verify(resealed(data, change, replay=False))
    assert list(failures(report)) == [step]
    assert report.steps[-1].name == step
    assert words in report.steps[-1].detail


@pytest.mark.parametrize(("change", "step"), [(stray_byte, "network"), (impossible_reshape, "golden cases")])
def test_a_graph_that_cannot_run_gives_a_report(
    data: bytes, change: Change, step: str, capfd: pytest.CaptureFixture[str]
) -> None:
    assert step in failures(verify(resealed(data, change, replay=False)))
    assert capfd.readouterr() == ("", "")

"""An answer depends on its own patch only: rules for operators, and trials."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import NodeProto, TensorProto, helper, numpy_helper

from model_zoo.artifact import parse_model
from model_zoo.independence import check_independence
from model_zoo.network import Network
from model_zoo.proof import RefusedError, prove
from model_zoo.verify import verify
from tests.conftest import earlier_artifact
from tests.model_zoo.changes import brightest_neighbour
from tests.model_zoo.resealing import resealed


@pytest.fixture(scope="module")
def hostile() -> bytes:
    return resealed(earlier_artifact().read_bytes(), brightest_neighbour)


def test_the_rule_refuses_a_network_that_pools_over_a_call(hostile: bytes) -> None:
    report = verify(hostile)
    (failed,) = [step for step in report.steps if not step.passed]
    assert failed.name == "independence"
    assert "ReduceMax 'brightest' works along the axes [0], expected axes from 1 on" in failed.detail
    assert report.steps[-1] == failed


def test_the_proof_refuses_it_too(hostile: bytes) -> None:
    """As a server proves what it loads, without the rule."""
    (failed,) = [step for step in prove(Network(hostile)).steps if not step.passed]
    assert failed.name == "independent answers"
    assert "an answer must depend on its own patch alone" in failed.detail


def test_what_is_shipped_keeps_patches_apart(artifact_path: Path, float_artifact_path: Path) -> None:
    for path in (artifact_path, float_artifact_path):
        assert check_independence(parse_model(path.read_bytes())).endswith("tensors keep the patches independent")


def graph(nodes: list[NodeProto], stored: dict[str, np.ndarray]) -> onnx.ModelProto:
    """From uint8 ``patches`` through float ``x`` [N, 96, 96, 3] to ``logits``, of a rank that does not matter here."""
    cast = helper.make_node("Cast", ["patches"], ["x"], to=TensorProto.FLOAT)
    ports = (
        [helper.make_tensor_value_info("patches", TensorProto.UINT8, ["N", 96, 96, 3])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, None)],
    )
    initializers = [numpy_helper.from_array(values, name) for name, values in stored.items()]
    model = helper.make_graph([cast, *nodes], "small", *ports, initializers)
    return helper.make_model(model, opset_imports=[helper.make_opsetid("", 17)])


def node(operator: str, inputs: list[str], output: str = "logits", **attributes: Any) -> NodeProto:
    return helper.make_node(operator, inputs, [output], **attributes)


ROWS = node("Flatten", ["x"], "rows")
PIXELS = node("Transpose", ["x"], "pixels", perm=[0, 3, 1, 2])
BOUNDS = {
    name: np.array(values, np.int64)
    for name, values in {"zero": [0], "one": [1], "two": [2], "three": [3], "last": [-1]}.items()
}
WEIGHTS = {"w": np.ones((2, 27648), np.float32)}


@pytest.mark.parametrize(
    ("nodes", "stored", "words"),
    [
        ([node("Transpose", ["x"], perm=[1, 0, 2, 3])], {}, "moves the patches to another axis"),
        ([node("Transpose", ["x"])], {}, "expected perm to begin with 0"),
        ([node("Reshape", ["x", "s"])], {"s": np.array([-1, 96, 3])}, "which mixes patches"),
        ([node("Reshape", ["x", "s"])], {"s": np.array([1, -1])}, "which mixes patches"),
        ([node("Reshape", ["x", "s"], allowzero=1)], {"s": np.array([0, 96])}, "and no allowzero"),
        ([node("ReduceMax", ["x"], axes=[0])], {}, "axes from 1 on: axis 0 counts the patches"),
        ([node("ReduceMax", ["x"], axes=[-4])], {}, "axes from 1 on"),
        ([node("ReduceMax", ["x"])], {}, r"along the axes None, expected"),
        ([node("ReduceSum", ["x", "zero"])], BOUNDS, "axes from 1 on"),
        ([node("ReduceSum", ["x"])], {}, "is not stored in the graph"),
        ([node("Flatten", ["x"], axis=2)], {}, "flattens at axis 2, expected 1"),
        ([node("Flatten", ["x"], axis=0)], {}, "flattens at axis 0, expected 1"),
        ([ROWS, node("Gemm", ["rows", "rows"], transB=1)], {}, "computes its parameters from the patches"),
        ([ROWS, node("Gemm", ["rows", "rows"], transA=1)], {}, "computes its parameters from the patches"),
        ([ROWS, node("Gemm", ["rows", "w"], transA=1)], {"w": np.ones((8, 2), np.float32)}, r"sums over the patches"),
        (
            [ROWS, node("Gemm", ["rows", "w", "b"], transB=1)],
            WEIGHTS | {"b": np.ones((4, 2), np.float32)},
            "adds 4 rows of biases",
        ),
        ([PIXELS, node("Conv", ["pixels", "pixels"])], {}, "computes its parameters from the patches"),
        ([node("Add", ["x", "c"])], {"c": np.ones((4, 1, 1, 1), np.float32)}, "broadcasts stored values of shape"),
        ([node("Add", ["x", "c"])], {"c": np.ones((2, 1, 1, 1, 1), np.float32)}, "at most 4 dimensions"),
        (
            [node("ReduceMax", ["x"], "brightest", axes=[1, 2], keepdims=0), node("Mul", ["brightest", "x"])],
            {},
            r"joins tensors of \[2, 4\] dimensions",
        ),
        ([node("Max", ["x", "x"])], {}, "expected one computed and one stored, or only outputs of Splits"),
        ([node("Max", ["x", "c"])], {"c": np.ones((4, 1, 1, 3), np.float32)}, "broadcasts stored values of shape"),
        ([node("Slice", ["x", "zero", "one", "zero"])], BOUNDS, "axes from 1 on"),
        ([node("Slice", ["x", "zero", "one"])], BOUNDS, "is not stored in the graph"),
        ([node("Slice", ["x", "zero", "one", "last"])], BOUNDS, "axes from 1 on"),
        ([node("Slice", ["x", "zero", "three", "one", "two"])], BOUNDS, r"steps by \[2\], expected steps of 1"),
        ([node("Slice", ["x", "zero", "three", "one", "last"])], BOUNDS, r"steps by \[-1\], expected steps of 1"),
        ([node("Split", ["x"])], {}, "axes from 1 on"),
        ([node("Split", ["x"], axis=-4)], {}, "axes from 1 on"),
        ([node("Concat", ["x", "x"], axis=0)], {}, "axes from 1 on"),
        ([node("Concat", ["x", "x"], axis=-4)], {}, "axes from 1 on"),
        ([node("Concat", ["x", "c"], axis=3)], {"c": np.ones((1, 96, 96, 3), np.float32)}, "joins stored values"),
        ([node("Softmax", ["x"], axis=0)], {}, "no rule guarantees that Softmax 'logits' keeps patches independent"),
        ([node("Relu", ["c"])], {"c": np.ones(2, np.float32)}, "computes only with stored values"),
    ],
)
def test_what_touches_the_first_axis_is_refused(
    nodes: list[NodeProto], stored: dict[str, np.ndarray], words: str
) -> None:
    with pytest.raises((RefusedError, onnx.shape_inference.InferenceError), match=words):
        check_independence(graph(nodes, stored))


def split(parts: int, source: str = "x") -> NodeProto:
    return helper.make_node("Split", [source], [f"part{i}" for i in range(parts)], axis=3)


@pytest.mark.parametrize(
    ("nodes", "stored"),
    [
        ([split(3), node("Max", ["part0", "part1", "part2"])], {}),
        ([node("Max", ["x", "c"])], {"c": np.ones((1, 96, 96, 3), np.float32)}),
        ([node("Slice", ["x", "one", "last", "two", "one"])], BOUNDS),
        ([node("Reshape", ["x", "s"])], {"s": np.array([0, -1])}),
        ([ROWS, node("Gemm", ["rows", "w", "b"], transB=1)], WEIGHTS | {"b": np.ones(2, np.float32)}),
        ([node("ReduceSum", ["x", "one"])], BOUNDS),
        ([node("ReduceMax", ["x"], axes=[1, 2])], {}),
        ([node("Concat", ["x", "x"], axis=3)], {}),
    ],
)
def test_what_keeps_to_the_other_axes_is_accepted(nodes: list[NodeProto], stored: dict[str, np.ndarray]) -> None:
    assert check_independence(graph(nodes, stored)).endswith("keep the patches independent")


def test_logits_without_patches_are_refused() -> None:
    model = graph([node("DequantizeLinear", ["q", "s"])], {"q": np.ones(2, np.int8), "s": np.array(1, np.float32)})
    with pytest.raises(RefusedError, match="the logits do not depend on the patches"):
        check_independence(model)

"""One pass of a dense network over a region gives the bits of its windows."""

from __future__ import annotations

from functools import cache

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import helper, numpy_helper

from model_zoo.artifact import parse_model
from model_zoo.dense import DenseError, Geometry, geometry, region_graph
from model_zoo.golden import synthetic_field
from model_zoo.manifest import DenseSpec, InputSpec
from model_zoo.network import Network, session_options
from model_zoo.proof import Report
from model_zoo.verify import verify
from tests.model_zoo.resealing import Change, first, initializer, resealed, set_values, with_manifest
from tests.training.artifacts import artifact
from tests.training.test_dense import POOLS, Pool
from tests.training.tiny import settled_network, synthetic_patches, tiny_dense, tiny_topology
from training.quantize.pipeline import Quantized, quantize
from training.score import Scorer

RECEPTIVE_FIELD = {"disc": 80, "inner": 56}
UNMASKED = InputSpec(microns_per_pixel=0.97, mask="none")


@cache
def quantized_of(name: str, pool: Pool) -> Quantized:
    images = synthetic_patches(16).images
    return quantize(settled_network(tiny_dense(name, pool), images), images[:4])


@cache
def dense_artifact(name: str, pool: Pool, precision: str = "int8") -> bytes:
    spec = DenseSpec(stride=8, receptive_field=RECEPTIVE_FIELD[pool])
    return artifact(name, precision, quantized_of(name, pool), dense=spec, input=UNMASKED)


def failures(report: Report) -> dict[str, str]:
    return {step.name: step.detail for step in report.steps if not step.passed}


@pytest.mark.parametrize("pool", POOLS)
@pytest.mark.parametrize(("name", "precision"), [("C1", "int8"), ("C12", "int8"), ("D4", "int8"), ("C12", "float32")])
def test_verification_proves_the_pass(name: str, precision: str, pool: Pool) -> None:
    report = verify(dense_artifact(name, pool, precision))
    assert failures(report) == {}
    last = report.steps[-1]
    assert last.name == "dense pass"
    if precision == "int8":
        assert last.detail == "0 of 169 windows differ in one pass from alone, by 0 or less"


@pytest.mark.parametrize("pool", POOLS)
@pytest.mark.parametrize(("height", "width"), [(96, 96), (96, 104), (131, 250), (200, 97)])
def test_every_window_of_a_region_has_the_bits_of_its_patch(height: int, width: int, pool: Pool) -> None:
    model = quantized_of("C12", pool).int8
    tiled = np.tile(synthetic_field(), (2, 2, 1))
    field = tiled[5 : 5 + height, 40 : 40 + width]
    region = region_graph(model, height, width)
    session = ort.InferenceSession(region.SerializeToString(), session_options())
    (answers,) = session.run(["logits"], {"patches": np.stack([field, field[::-1]])})
    rows, columns = (height - 96) // 8 + 1, (width - 96) // 8 + 1
    assert answers.shape == (2, rows, columns, 2)
    scorer = Scorer(model)
    for seen, answer in zip((field, field[::-1]), answers, strict=True):
        windows = [seen[8 * i : 8 * i + 96, 8 * j : 8 * j + 96] for i in range(rows) for j in range(columns)]
        assert scorer.logits(np.stack(windows)).tobytes() == answer.tobytes()


def test_the_geometry_is_the_topologys() -> None:
    for pool in POOLS:
        topology = tiny_dense("C12", pool)
        assert geometry(quantized_of("C12", pool).int8) == Geometry(topology.stride, topology.receptive_field)


@pytest.mark.parametrize(("height", "width"), [(95, 96), (96, 0), (1025, 96), (96, 10**9), (-96, 96)])
def test_a_region_has_bounded_sides(height: int, width: int) -> None:
    with pytest.raises(DenseError, match=r"the region's (height|width) is -?\d+ px, expected 96 to 1024"):
        region_graph(quantized_of("C12", "disc").int8, height, width)


def test_the_largest_region_keeps_its_manifest_out_of_the_graph() -> None:
    region = region_graph(parse_model(dense_artifact("C12", "disc")), 1024, 1024)
    assert not region.metadata_props
    assert [d.dim_value for d in region.graph.output[0].type.tensor_type.shape.dim][1:] == [117, 117, 2]


def test_a_padded_or_masked_network_is_not_dense() -> None:
    images = synthetic_patches(16).images
    padded = quantize(settled_network(tiny_topology("C4"), images), images[:4]).int8
    with pytest.raises(DenseError, match="Max 'masked' depends on a patch's sides or positions"):
        region_graph(padded, 192, 192)
    first(padded, "Transpose").input[0] = "patches"
    padded.graph.node.remove(first(padded, "Max"))
    with pytest.raises(DenseError, match=r"Conv 'block2\.depthwise\.conv' pads, dilates or has unequal strides"):
        region_graph(padded, 192, 192)


def crop_from_the_left(model: onnx.ModelProto) -> None:
    ends = initializer(model, first(model, "Slice").input[2])
    set_values(ends, np.array([22, 22], np.int64))


def placed(model: onnx.ModelProto) -> None:
    """Brightness that depends on the position in the patch."""
    model.graph.initializer.append(numpy_helper.from_array(np.eye(96, dtype=np.uint8)[None, None], "place"))
    transpose = first(model, "Transpose")
    reader = next(node for node in model.graph.node if transpose.output[0] in node.input)
    reader.input[0] = "placed"
    model.graph.node.insert(
        list(model.graph.node).index(transpose) + 1, helper.make_node("Max", [transpose.output[0], "place"], ["placed"])
    )


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (crop_from_the_left, "Slice 'block1.shortcut' depends on a patch's sides or positions"),
        (placed, "Max 'placed' depends on a patch's sides or positions"),
    ],
)
def test_what_sees_the_border_is_not_dense(change: Change, words: str) -> None:
    model = onnx.ModelProto()
    model.CopyFrom(quantized_of("C4", "disc").int8)
    change(model)
    with pytest.raises(DenseError, match=words):
        region_graph(model, 192, 192)


def test_a_manifest_that_promises_a_dense_network_is_not_believed() -> None:
    data = dense_artifact("C4", "disc")
    found = failures(verify(resealed(data, placed)))
    assert found.keys() <= {"exact invariance", "dense pass"}
    other = with_manifest(data, dense=DenseSpec(stride=16, receptive_field=80))
    assert failures(verify(other)) == {
        "dense pass": "the graph has stride 8 and receptive field 80, the manifest says 16 and 80"
    }


def test_a_dense_artifact_loads_as_any_other() -> None:
    network = Network(dense_artifact("C12", "inner"))
    assert network.manifest.dense == DenseSpec(stride=8, receptive_field=56)
    assert network.manifest.input.mask == "none"

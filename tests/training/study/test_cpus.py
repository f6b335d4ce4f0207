"""Replays under emulation, the first difference and its cause, and the proof from the weights."""

from __future__ import annotations

import shutil
from collections import Counter
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from model_zoo.golden import decode, golden_patches
from model_zoo.turns import Patch
from tests.training.tiny import settled_network, synthetic_patches, tiny_topology
from training.quantize.pipeline import quantize
from training.quantize.scheme import Scheme
from training.study.cpus import run, section, with_stored_tensors
from training.study.replay import EMULATOR, NATIVE, NotRunError, replay
from training.study.saturation import Pairs, convolve, pairs


@cache
def tiny_graph(bound: int) -> bytes:
    images = synthetic_patches(8).images
    network = settled_network(tiny_topology("C4"), images)
    return quantize(network, images, Scheme(bound=bound)).int8.SerializeToString()


def some_patches(count: int) -> Patch:
    return np.stack([decode(name, png) for name, png in golden_patches().items()])[:count]


@pytest.mark.soak
@pytest.mark.nightly
def test_wide_weights_saturate_on_an_emulated_cpu_without_vnni() -> None:
    """So that the check can fail: within ±127, AVX2 gives other bits unless the setting is on."""
    if shutil.which(EMULATOR) is None:
        pytest.skip(f"no {EMULATOR}: install the package qemu-user")
    document: Any = run({"±127": tiny_graph(127)}, cpus=("Haswell",))
    on, off = document["rows"]
    assert on == {"graph": "±127", "cpu": "Haswell", "setting": True, "equal": 8, "largest_delta": 0}
    assert off["equal"] < 8
    assert off["largest_delta"] > 0
    first = off["first"]
    assert (first["tensor"], first["operator"]) == ("stem", "QLinearConv")
    assert first["neighbours"] > 32767
    assert first["unequal"] > 0
    assert first["unequal_to_saturated"] == first["unequal_to_exact"] == 0
    text = "\n".join(section(document))
    assert f"| ±127 | Haswell (AVX2) | 8 of 8 | **{off['equal']} of 8**" in text
    assert "saturation is the only cause" in text
    assert "±127: kernels that add two products in int16 may saturate" in text


def test_without_the_emulator_nothing_passes(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    git = shutil.which("git")
    assert git is not None
    (tmp_path / "git").symlink_to(git)
    monkeypatch.setenv("PATH", str(tmp_path))
    document: Any = run({"±64": tiny_graph(64)}, cpus=(NATIVE, "Nehalem"))
    native, emulated = document["rows"][:2], document["rows"][2:]
    assert [r["equal"] for r in native] == [8, 8]
    assert all("equal" not in r and r["not_run"].startswith("no qemu-x86_64") for r in emulated)
    text = "\n".join(section(document))
    assert "| ±64 | Nehalem (SSE4.2) | not run | not run |" in text
    assert "±64, Nehalem, setting off: not run: no qemu-x86_64" in text
    assert "all 2 replays that ran" in text


def test_a_replay_that_takes_too_long_is_not_run() -> None:
    with pytest.raises(NotRunError, match="no answer within"):
        replay(tiny_graph(64), some_patches(1), NATIVE, setting=True, limit_s=0.01)


def test_a_replay_that_fails_is_not_run() -> None:
    with pytest.raises(NotRunError, match=r"ended with 1: .*onnxruntime"):
        replay(b"no graph", some_patches(1), NATIVE, setting=True, limit_s=60)


def test_every_difference_is_explained_or_said_not_to_be() -> None:
    first: dict[str, Any] = {
        "tensor": "stem",
        "operator": "QLinearConv",
        "before": 1,
        "values": 9,
        "unequal": 5,
        "neighbours": 32640,
        "unequal_to_saturated": 4,
        "unequal_to_exact": 0,
    }
    case: dict[str, Any] = {"graph": "g", "cpu": "Haswell"}
    row: dict[str, Any] = {**case, "setting": True, "equal": 7, "largest_delta": 0.5}
    other: dict[str, Any] = {**case, "setting": False, "not_run": "why"}
    proof = {"layers": 1, "worst": "stem", "neighbours": 32640, "any_two": 32640, "proven": True}
    document: Any = {"patches": 8, "machine": "m", "vnni": [], "emulator": None, "graphs": {"g": proof}}

    def said(**changes: str | int | None) -> str:
        return "\n".join(section({**document, "rows": [{**row, "first": {**first, **changes}}, other]}))

    assert "within int16's 32,767" in said()
    assert "saturation does not explain it" in said()
    assert "the differing operator is not known" in said(tensor=None)
    assert "It has no weights" in said(neighbours=None)
    assert "gave the same bits" not in said()


def test_outputs_for_stored_tensors_change_no_operator(artifact_path: Path) -> None:
    graph = onnx.load(artifact_path)
    traced = with_stored_tensors(graph).SerializeToString()
    plain, watched = (
        replay(data, some_patches(2), NATIVE, setting=True, limit_s=60) for data in (artifact_path.read_bytes(), traced)
    )
    assert np.array_equal(plain.tensors["logits"], watched.tensors["logits"])
    kinds = [
        Counter(n.op_type for n in onnx.ModelProto.FromString(r.optimized).graph.node if n.op_type != "Transpose")
        for r in (plain, watched)
    ]
    assert kinds[0] == kinds[1]
    assert len(watched.tensors) > sum(n.op_type == "QuantizeLinear" for n in graph.graph.node)


def test_exact_convolutions_are_onnxruntimes(artifact_path: Path) -> None:
    """Every convolution of a single group that the shipped artifact holds, to the last value."""
    graph = onnx.load(artifact_path)
    traced = with_stored_tensors(graph).SerializeToString()
    stored = replay(traced, some_patches(1), NATIVE, setting=True, limit_s=60).tensors
    recomputed = {name: convolve(graph, name, stored, saturating=False) for name in stored}
    convolved = {name: values for name, values in recomputed.items() if values is not None}
    grouped = {n.name for n in graph.graph.node for a in n.attribute if a.name == "group" and a.i > 1}
    assert len(convolved) == sum(n.op_type == "Conv" and n.name not in grouped for n in graph.graph.node)
    assert all(np.array_equal(values, stored[name]) for name, values in convolved.items())


def test_the_shipped_artifact_cannot_saturate(artifact_path: Path) -> None:
    graph = onnx.load(artifact_path)
    found = pairs(graph)
    assert len(found) == sum(node.op_type in ("Conv", "Gemm") for node in graph.graph.node)
    assert all(layer.neighbours <= layer.any_two <= 32767 for layer in found.values())


def one_convolution(weights: list[int]) -> onnx.ModelProto:
    """Pixels [N, 3, 1, 1] → y, a 1×1 convolution with these three weights; all scales are 1."""
    constants = {"one": np.float32(1), "zero": np.uint8(0), "w": np.array(weights, np.int8).reshape(1, 3, 1, 1)}
    nodes = [
        helper.make_node("DequantizeLinear", ["x", "one", "zero"], ["x.real"]),
        helper.make_node("DequantizeLinear", ["w", "one"], ["w.real"]),
        helper.make_node("Conv", ["x.real", "w.real"], ["y.real"]),
        helper.make_node("QuantizeLinear", ["y.real", "one", "zero"], ["y"]),
    ]
    ports = [helper.make_tensor_value_info(name, TensorProto.UINT8, None) for name in ("x", "y")]
    stored = [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()]
    return helper.make_model(helper.make_graph(nodes, "one", ports[:1], ports[1:], stored))


def test_pairs_are_neighbours_or_any_two() -> None:
    assert pairs(one_convolution([100, 1, -120])) == {"y": Pairs(neighbours=255 * 121, any_two=255 * 220)}


def test_only_sums_of_two_are_cut() -> None:
    """255·(127 + 127 − 128) is 32,130 exactly; with 64,770 cut to 32,767 it is 127, as 32,767 − 255·128 is."""
    graph, x = one_convolution([127, 127, -128]), {"x": np.full((1, 3, 1, 1), 255, np.uint8)}
    exact, cut = (convolve(graph, "y", x, saturating=saturating) for saturating in (False, True))
    assert exact is not None
    assert cut is not None
    assert exact.item() == 255
    assert cut.item() == 32767 - 255 * 128

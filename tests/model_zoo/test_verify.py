"""Verification: the shipped artifacts pass, and each fault is found by its check."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
import pytest
from onnx import numpy_helper

from model_zoo.artifact import parse
from model_zoo.integers import check_weights
from model_zoo.proof import Report, Step
from model_zoo.verify import verify
from tests.conftest import earlier_artifact
from tests.model_zoo import changes
from tests.model_zoo.resealing import Change, first, resealed, stored_weights, with_manifest


@pytest.fixture(scope="module")
def data() -> bytes:
    return earlier_artifact().read_bytes()


def failures(report: Report) -> dict[str, str]:
    return {step.name: step.detail for step in report.steps if not step.passed}


def test_the_shipped_artifact_passes(artifact_path: Path) -> None:
    assert verify(artifact_path.read_bytes()).passed


def test_an_artifact_of_schema_1_passes(data: bytes) -> None:
    report = verify(data)
    assert failures(report) == {}
    assert report.passed
    details = {step.name: step.detail for step in report.steps}
    assert list(details) == [
        "file",
        "dialect",
        "manifest",
        "operators",
        "shapes",
        "independence",
        "graph hash",
        "weights",
        "integer graph",
        "network",
        "latency",
        "golden cases",
        "finite answers",
        "independent answers",
        "moving answers",
        "exact invariance",
    ]
    assert details["weights"].startswith("largest |weight| 64,")
    assert details["golden cases"] == "8 of 8 bit for bit, largest residual 0"
    assert details["exact invariance"].startswith("0 of ")
    assert details["finite answers"].startswith("32 of 32, ")
    assert details["latency"].endswith(" ms for one patch on one thread, limit 50 ms")
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
    assert failures(report).keys() <= {"file", "dialect", "manifest"}


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


ALSO_NOTICED: dict[Change, set[str]] = {
    changes.float_gemm: {"independent answers"},
    changes.float_convolution: {"exact invariance"},
    changes.float_weights: {"integer graph", "moving answers"},
    changes.nan_scale: {"finite answers"},
}


@pytest.mark.parametrize(
    ("change", "step", "words"),
    [
        (changes.over_wide_weight, "weights", "a weight of magnitude 65, expected at most 64"),
        (changes.shifted_weights, "weights", "zero point other than 0"),
        (
            changes.scales_of_the_inputs,
            "weights",
            "scales along axis 1, but onnxruntime applies them along axis 0",
        ),
        (changes.unsigned_weights, "weights", "are uint8, expected int8"),
        (changes.float_weights, "weights", "do not come from a DequantizeLinear"),
        (changes.zero_point_left_out, "weights", "is not stored in the graph, expected an initializer"),
        (changes.float_gemm, "integer graph", "is left after optimization"),
        (changes.float_maximum, "integer graph", "computes in float"),
        (changes.untied_residual, "integer graph", "tie them"),
        (changes.float_convolution, "integer graph", "is left after optimization"),
        (changes.nan_scale, "weights", "is not a positive finite number"),
        (changes.infinite_answers, "finite answers", "32 of 32 answers hold NaN or infinity"),
        (changes.constant_answers, "moving answers", "1 different margins for 32 patches"),
        (changes.less_symmetric_filter, "exact invariance", "expected equal bits"),
    ],
)
def test_a_sealed_graph_that_breaks_a_promise_fails_in_one_step(
    data: bytes, change: Change, step: str, words: str
) -> None:
    found = failures(verify(resealed(data, change)))
    assert words in found[step]
    assert found.keys() - {step} <= ALSO_NOTICED.get(change, set())


@pytest.mark.parametrize(
    ("change", "step", "words"),
    [
        (changes.external_data, "dialect", "is external data"),
        (changes.other_opset, "dialect", "expected only ('ai.onnx', 17)"),
        (changes.second_domain, "dialect", "com.microsoft"),
        (changes.foreign_node, "dialect", "expected the standard domain"),
        (changes.future_ir, "dialect", "the IR version is 99"),
        (changes.function, "dialect", "holds functions"),
        (changes.sparse, "dialect", "holds sparse_initializer"),
        (changes.subgraph, "dialect", "holds g, expected only"),
        (changes.sparse_external_data, "dialect", "holds sparse_initializer"),
        (changes.constant_external_data, "dialect", "attribute 'value' of Constant 'secret' holds t, expected only"),
        (changes.disguised_external_data, "dialect", "attribute 'group' of Conv"),
        (changes.branch_external_data, "dialect", "_branch' of If 'chosen' holds g"),
        (changes.function_external_data, "dialect", "holds functions"),
        (changes.training_information, "dialect", "holds training_info"),
        (changes.unknown_field, "dialect", "9 bytes belong to no field"),
        (changes.namesakes, "dialect", "several tensors have the name"),
        (changes.gigantic_tensor, "dialect", "declares the shape [1099511627776, 1048576] of 4 bytes a value"),
        (changes.wrapped_tensor, "dialect", "declares the shape [4294967296, 4294967296] of 1 bytes a value"),
        (changes.gigantic_type, "dialect", "holds value_info"),
        (changes.huge_integer, "dialect", "holds an integer beyond ±65,536"),
        (changes.stray_byte, "dialect", "of 1 bytes a value, but holds"),
        (changes.foreign_type, "dialect", "is of data type 10, expected"),
        (changes.too_many_nodes, "dialect", "the graph's nodes are 100,177, expected at most 2,048"),
        (changes.too_many_initializers, "dialect", "the graph's initializers are 100,"),
        (changes.too_many_inputs, "dialect", "the inputs of Conv"),
        (changes.foreign_operator, "operators", "ReduceMean are not allowed in an int8 artifact"),
        (changes.second_output, "shapes", "expected only 'logits'"),
        (changes.other_input, "shapes", "expected uint8"),
        (changes.fixed_batch, "shapes", "expected uint8"),
        (changes.cycle, "shapes", "topologically sorted"),
        (changes.huge_padding, "shapes", "values for each patch, expected at most 4,194,304"),
        (changes.heavy_convolution, "shapes", "times for each patch, expected at most 2,147,483,648"),
        (changes.growing_batch, "shapes", "a tensor holds 5,760,000 values for each patch"),
        (changes.impossible_reshape, "shapes", "Dimension could not be inferred"),
        (changes.stored_weights_taken_away, "shapes", "is not output of any previous nodes"),
    ],
    ids=lambda value: getattr(value, "__name__", None),
)
def test_a_graph_outside_the_dialect_is_never_run(data: bytes, change: Change, step: str, words: str) -> None:
    report = verify(resealed(data, change, replay=False))
    assert list(failures(report)) == [step]
    assert report.steps[-1].name == step
    assert words in report.steps[-1].detail


def test_a_graph_that_cannot_run_gives_a_report(data: bytes, capfd: pytest.CaptureFixture[str]) -> None:
    found = failures(verify(resealed(data, changes.scales_too_many, replay=False)))
    assert "scale must be 1D tensor" in found["latency"]
    assert capfd.readouterr() == ("", "")


def test_a_slow_network_is_asked_nothing_more(data: bytes) -> None:
    report = verify(with_manifest(data, latency_limit_ms=1e-6))
    assert list(failures(report)) == ["latency"]
    assert report.steps[-1].name == "latency"
    assert "expected at most the 1e-06 ms that the manifest vouches for" in report.steps[-1].detail


def test_each_step_is_told_as_soon_as_it_is_made(data: bytes) -> None:
    told: list[Step] = []
    assert verify(data, told.append).steps == tuple(told)


def test_where_only_int8_is_served_a_float_twin_is_refused(data: bytes, float_artifact_path: Path) -> None:
    report = verify(float_artifact_path.read_bytes(), only_int8=True)
    assert list(failures(report)) == ["precision"]
    assert "expected int8" in report.steps[-1].detail
    assert verify(data, only_int8=True).passed


def test_verification_writes_no_file(data: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    assert verify(data).passed
    assert list(tmp_path.iterdir()) == []


def test_weights_without_dimensions_are_checked_like_any_others(artifact_path: Path) -> None:
    """Whatever an upload stores as weights, the check must not fail for a reason of its own."""
    model, _ = parse(artifact_path.read_bytes())
    weights = stored_weights(model, first(model, "Gemm"))
    weights.CopyFrom(numpy_helper.from_array(np.array(3, np.int8), weights.name))
    assert check_weights(model).startswith("largest |weight|")

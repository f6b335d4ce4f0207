"""Manifests are strict JSON with bounded figures; earlier artifacts stay valid."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from model_zoo.artifact import ArtifactError, graph_sha256, parse, write
from model_zoo.golden import decode, golden_patches
from model_zoo.network import Network
from model_zoo.quality import measure
from model_zoo.reading import MAX_MANIFEST_BYTES, ManifestError, parse_manifest
from model_zoo.summary import facts, metrics_table
from tests.conftest import ROOT, earlier_artifact

Document = dict[str, Any]


@pytest.fixture(scope="module")
def data() -> bytes:
    """An artifact of schema 1."""
    return earlier_artifact().read_bytes()


@pytest.fixture(scope="module")
def text(data: bytes) -> str:
    return parse(data)[0].metadata_props[0].value


@pytest.fixture
def document(text: str) -> Document:
    loaded: Document = json.loads(text)
    return loaded


def orbit(**update: object) -> Document:
    decision = {"calibration": {"temperature": 1.1, "prevalence": 0.5}, "threshold": 0.5, "review_band": [0.4, 0.6]}
    return decision | update


def test_artifacts_of_schema_1_load_and_decide_by_the_patch_as_given() -> None:
    files = sorted((ROOT / "benchmarks" / "artifacts").glob("*-0.3.1.int8.onnx"))
    assert len(files) == 2
    for file in files:
        manifest = Network(file.read_bytes()).manifest
        assert manifest.schema_version == 1
        assert (manifest.orbit, manifest.dense, manifest.input.mask) == (None, None, "disc")
        assert {metric.basis for metric in manifest.metrics} == {"single"}


def test_what_schema_2_adds_reads_back(data: bytes, document: Document) -> None:
    metric = document["metrics"][0] | {"basis": "orbit"}
    document |= {
        "schema_version": 2,
        "dense": {"stride": 8, "receptive_field": 80},
        "orbit": orbit(reference=document["reference"]),
        "metrics": [*document["metrics"], metric],
    }
    document["input"]["mask"] = "none"
    manifest = parse_manifest(json.dumps(document))
    model, _ = parse(data)
    read = parse(write(model, manifest))[1]
    assert read == manifest
    assert read.dense is not None
    assert (read.dense.stride, read.dense.receptive_field) == (8, 80)
    assert read.orbit is not None
    assert read.orbit.calibration.temperature == 1.1
    assert read.orbit.reference == read.reference
    assert read.input.corners == "replicated"
    assert "Dense: answers a region in one pass, a window every 8 px" in "\n".join(facts(read))
    assert "the mean of its logits decides: temperature 1.100; threshold 0.500" in "\n".join(facts(read))
    assert sum("accuracy, decided by the orbit" in row for row in metrics_table({"INT8": read})) == 1


def at(*path: str | int) -> Callable[[Document, object], None]:
    def put(document: Document, value: object) -> None:
        part: Any = document
        for key in path[:-1]:
            part = part[key]
        part[path[-1]] = value

    return put


PRECISION = ("quality", "stain_precision")


@pytest.mark.parametrize(
    ("path", "value", "fault"),
    [
        (("schema_version",), 3, "Input should be 1 or 2"),
        (("orbit",), orbit(), "schema version 1 knows no dense network, no orbit decision"),
        (("version",), "1.0." + "0" * 40, "at most 32 characters"),
        (("calibration", "temperature"), 1e308, "less than or equal to 20"),
        (("calibration", "temperature"), 1e-308, "greater than or equal to 0.05"),
        (("calibration", "temperature"), "1.2", "valid number"),
        (("calibration", "temperature"), True, "valid number"),
        (("calibration", "prevalence"), 1e-300, "greater than or equal to 0.0001"),
        (("metrics", 0, "value"), 7, "accuracy is 7, outside its interval"),
        (("metrics", 0, "high"), 7, "expected figures from 0 to 1"),
        (("metrics", 0, "low"), 0.99, "outside its interval 0.99 to"),
        (("metrics", 0, "name"), "Accuracy", "match pattern"),
        (("metrics", 0, "basis"), "orbit", "but the manifest has no orbit decision"),
        (PRECISION, [[1, 0, 0], [0, 1, 0], [0, 0, 0]], "not positive definite"),
        (PRECISION, [[1, 2, 0], [2, 1, 0], [0, 0, 1]], "not positive definite"),
        (PRECISION, [[1, 0.5, 0], [0, 1, 0], [0, 0, 1]], "not symmetric"),
        (PRECISION, [[1e308, 0, 0], [0, 1, 0], [0, 0, 1]], r"magnitude 1e\+308, expected at most 1e6"),
        (("quality", "stain_mean"), [1e308, 0, 0], "less than or equal to 3"),
        (("quality", "min_sharpness"), 1e308, "less than or equal to 1000000"),
        (("input", "microns_per_pixel"), 1e-9, "greater than or equal to 0.05"),
        (("training_data", "source"), "x" * 5000, "at most 4000 characters"),
        (("intended_use",), "no\x00thing", r"unprintable character U\+0000"),
        (("intended_use",), "\u202egnp", r"unprintable character U\+202E"),
        (("golden_cases", 0, "name"), "x" * 65, "at most 64 characters"),
        (("architecture",), {"x": 2**60}, "an integer beyond"),
        (("architecture",), {"x" * 65: 1}, "a key of 65 characters"),
        (("architecture",), {"x": [0] * 3000}, "more than 2,000 values"),
        (("quantization",), {"x": "y" * 5000}, "a text of 5,000 characters"),
        (("quantization",), {"x": [[[[[[[[1]]]]]]]]}, "more than 8 levels"),
    ],
)
def test_figures_beyond_reason_are_refused(
    document: Document, path: tuple[str | int, ...], value: object, fault: str
) -> None:
    at(*path)(document, value)
    with pytest.raises(ManifestError, match=fault):
        parse_manifest(json.dumps(document))


@pytest.mark.parametrize(
    ("update", "fault"),
    [
        ({"orbit": orbit(threshold=0.7)}, "the threshold 0.7 lies outside the review band"),
        ({"dense": {"stride": 8, "receptive_field": 80}}, "a dense network has no mask"),
        ({"dense": {"stride": 8, "receptive_field": 81}}, "do not fill 96 px"),
        ({"dense": {"stride": 0, "receptive_field": 80}}, "greater than or equal to 1"),
    ],
)
def test_schema_2_is_bounded_too(document: Document, update: Document, fault: str) -> None:
    with pytest.raises(ManifestError, match=fault):
        parse_manifest(json.dumps(document | {"schema_version": 2} | update))


@pytest.mark.parametrize("place", ["architecture", "quantization"])
@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity", "1e999", "-1e999"])
def test_only_strict_json_is_a_manifest(text: str, document: Document, place: str, number: str) -> None:
    assert not isinstance(document[place], str)
    document[place]["odd"] = ["HERE"]
    with pytest.raises(ManifestError, match=r"which is not JSON|holds the number"):
        parse_manifest(json.dumps(document).replace('"HERE"', number))


def test_a_repeated_key_is_refused(text: str) -> None:
    with pytest.raises(ManifestError, match="holds the key 'threshold' twice"):
        parse_manifest(text[:-1] + ',"threshold":0.5}')


@pytest.mark.parametrize("text", ["", "{", "[" * 200_000, "null", '"\\ud800"', "1" * 10_000])
def test_what_is_no_manifest_is_refused(text: str) -> None:
    with pytest.raises(ManifestError):
        parse_manifest(text)


def test_a_long_manifest_is_refused(text: str) -> None:
    with pytest.raises(ManifestError, match="bytes, expected at most 512,000"):
        parse_manifest(text[:-1] + " " * MAX_MANIFEST_BYTES + "}")


def test_no_bounds_let_glass_be_assessed(document: Document) -> None:
    """Under the loosest bounds that a manifest may have, bare glass is not assessable, nor with specks."""
    loosest = {"min_tissue_fraction": 0.01, "min_sharpness": 0, "max_stain_distance": 1000}
    document["quality"] |= loosest | {"stain_precision": [[1e-6, 0, 0], [0, 1e-6, 0], [0, 0, 1e-6]]}
    quality = parse_manifest(json.dumps(document)).quality
    blanks = [decode(name, png) for name, png in golden_patches().items() if name.startswith("blank")]
    assert len(blanks) == 2
    for blank in blanks:
        speckled = blank.copy()
        speckled[40:48, 40:48] = (150, 80, 160)
        assert not measure(blank, quality).assessable
        assert measure(speckled, quality).stain_distance is not None
        assert not measure(speckled, quality).assessable
    document["quality"]["min_tissue_fraction"] = 1e-9
    with pytest.raises(ManifestError, match=r"min_tissue_fraction: .* greater than or equal to 0\.01"):
        parse_manifest(json.dumps(document))


def test_what_could_not_be_read_again_is_not_written(data: bytes) -> None:
    model, manifest = parse(data)
    with pytest.raises(ArtifactError, match=r"the manifest has 1 faults: intended_use"):
        write(model, manifest.model_copy(update={"intended_use": "\0", "graph_sha256": graph_sha256(model)}))


def test_a_network_refuses_what_reading_refuses(data: bytes, document: Document) -> None:
    model, _ = parse(data)
    document["calibration"]["temperature"] = 1e308
    model.metadata_props[0].value = json.dumps(document)
    with pytest.raises(ManifestError, match="temperature"):
        Network(model.SerializeToString())

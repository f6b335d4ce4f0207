"""The file format: artifacts are read back as written, and other files are refused with a message."""

from __future__ import annotations

import json
import threading
from hashlib import sha256
from io import BytesIO
from pathlib import Path

import numpy as np
import onnx
import pytest
from PIL import Image
from pydantic import ValidationError

from model_zoo.artifact import ArtifactError, graph_sha256, parse, write
from model_zoo.golden import GoldenCaseError, decode, from_bits, golden_cases, golden_patches, patch_of, to_bits
from model_zoo.manifest import MANIFEST_KEY, MAX_BYTES, GoldenCase, Manifest
from model_zoo.network import Network, check_golden_cases
from tests.model_zoo.resealing import with_manifest


@pytest.fixture(scope="module")
def data(artifact_path: Path) -> bytes:
    return artifact_path.read_bytes()


@pytest.fixture(scope="module")
def network(data: bytes) -> Network:
    return Network(data)


@pytest.fixture(scope="module")
def patches() -> np.ndarray:
    return np.stack([decode(name, png) for name, png in golden_patches().items()])


def test_what_is_written_reads_back(data: bytes) -> None:
    model, manifest = parse(data)
    written = write(model, manifest)
    model_read, manifest_read = parse(written)
    assert manifest_read == manifest
    assert graph_sha256(model_read) == graph_sha256(model)
    assert write(model_read, manifest_read) == written


def test_the_graph_hash_does_not_depend_on_the_manifest(data: bytes) -> None:
    model, manifest = parse(data)
    before = graph_sha256(model)
    revised = manifest.model_copy(update={"intended_use": "Teaching."})
    rewritten = write(model, revised)
    assert rewritten != data
    assert graph_sha256(parse(rewritten)[0]) == before == manifest.graph_sha256
    assert parse(rewritten)[1] == revised


def test_the_graph_hash_depends_on_the_graph(data: bytes) -> None:
    model, manifest = parse(data)
    model.graph.node[0].name = "renamed"
    assert graph_sha256(model) != manifest.graph_sha256
    with pytest.raises(ArtifactError, match=f"names graph {manifest.graph_sha256}, but this graph is"):
        write(model, manifest)


def test_neither_reading_nor_writing_changes_the_model(data: bytes) -> None:
    model, manifest = parse(data)
    untouched = onnx.ModelProto.FromString(data)
    graph_sha256(model)
    write(model, manifest)
    assert model == untouched


@pytest.mark.parametrize("junk", [b"not an onnx file", b"\xff" * 100, b""])
def test_what_is_no_model_is_refused(junk: bytes) -> None:
    with pytest.raises(ArtifactError, match="ONNX"):
        parse(junk)


def test_a_large_file_is_refused() -> None:
    with pytest.raises(ArtifactError, match="expected at most 67,108,864"):
        parse(bytes(MAX_BYTES + 1))


def test_a_large_model_is_not_written(data: bytes) -> None:
    model, manifest = parse(data)
    model.graph.initializer.append(onnx.numpy_helper.from_array(np.zeros(MAX_BYTES, np.int8), "ballast"))
    with pytest.raises(ArtifactError, match=r"would have .* bytes, expected at most 67,108,864"):
        write(model, manifest.model_copy(update={"graph_sha256": graph_sha256(model)}))


def test_a_model_without_manifest_is_refused(data: bytes) -> None:
    model, _ = parse(data)
    model.ClearField("metadata_props")
    with pytest.raises(ArtifactError, match=r"the metadata has the keys \[\], expected only 'rosette.manifest'"):
        parse(model.SerializeToString())
    with pytest.raises(ValueError, match=r"has no 'rosette.manifest' in its metadata"):
        Network(model.SerializeToString())


def test_metadata_beside_the_manifest_is_refused(data: bytes) -> None:
    model, _ = parse(data)
    model.metadata_props.add(key=MANIFEST_KEY, value="{}")
    with pytest.raises(ArtifactError, match=r"expected only 'rosette\.manifest'"):
        parse(model.SerializeToString())


def test_a_faulty_manifest_is_refused_with_its_faults(data: bytes) -> None:
    with pytest.raises(ArtifactError, match=r"the manifest has 2 faults: .*version: .*threshold: "):
        parse(with_manifest(data, version="one", threshold=3))


def reference(edges: list[float], counts: list[int]) -> dict[str, object]:
    bins = {"edges": edges, "counts": counts}
    return {"reference": {"probability": bins, "max_deviation": bins, "stain_distance": bins}}


@pytest.mark.parametrize(
    ("update", "fault"),
    [
        ({"exact_subgroup": "C3"}, "C3 is not the exact subgroup of"),
        ({"review_band": [0.0, 0.0], "threshold": 0.5}, "the threshold 0.5 lies outside the review band"),
        ({"group": {"name": "C2", "angles_deg": [0, 90], "reflected": [False, False]}}, "not those of C2 in order"),
        ({"golden_cases": []}, "at least 8 items"),
        ({"surprise": 1}, "Extra inputs are not permitted"),
        ({"graph_sha256": "A" * 64}, "match pattern"),
        (reference([0.1, 0.1], [1, 2, 3]), "the edges do not rise"),
        (reference([0.2, 0.1], [1, 2, 3]), "the edges do not rise"),
        (reference([0.1, 0.2], [1, 2]), "2 counts for 2 edges, expected one more"),
        (reference([0.1], [0, 0]), "all bins are empty"),
        (reference([0.1], [-1, 2]), "greater than or equal to 0"),
        (reference(list(range(20)), [1] * 21), "at most 19 items"),
        (reference([], [1]), "at least 1 item"),
    ],
)
def test_the_manifest_refuses_what_contradicts_itself(data: bytes, update: dict[str, object], fault: str) -> None:
    _, manifest = parse(data)
    with pytest.raises(ValidationError, match=fault):
        Manifest.model_validate_json(json.dumps(json.loads(manifest.model_dump_json()) | update))


def test_an_artifact_without_a_reference_stays_valid(data: bytes) -> None:
    model, manifest = parse(data)
    older = {key: value for key, value in json.loads(manifest.model_dump_json()).items() if key != "reference"}
    model.metadata_props[0].value = json.dumps(older)
    assert manifest.reference is not None
    assert Network(model.SerializeToString()).manifest == manifest.model_copy(update={"reference": None})


def test_the_network_reads_the_same_manifest_without_onnx(data: bytes, network: Network) -> None:
    assert network.manifest == parse(data)[1]
    assert network.sha256 == sha256(data).hexdigest()


def test_golden_cases_come_out_as_they_were_written(network: Network) -> None:
    assert golden_cases(network.logits) == network.manifest.golden_cases
    check_golden_cases(network)


def test_bits_read_back() -> None:
    logits = np.array([-0.0, np.nextafter(np.float32(1), np.float32(2))], np.float32)
    assert to_bits(logits) == ("80000000", "3f800001")
    assert from_bits(to_bits(logits)).tobytes() == logits.tobytes()


def broken_logits(manifest: Manifest, case: int, ulps: int) -> tuple[GoldenCase, ...]:
    cases = list(manifest.golden_cases)
    word = f"{int(cases[case].logits[0], 16) + ulps:08x}"
    cases[case] = cases[case].model_copy(update={"logits": (word, cases[case].logits[1])})
    return tuple(cases)


def test_the_first_case_with_other_bits_is_named(data: bytes, network: Network) -> None:
    name = network.manifest.golden_cases[5].name
    broken = Network(with_manifest(data, golden_cases=broken_logits(network.manifest, 5, 1)))
    with pytest.raises(GoldenCaseError, match=f"golden case '{name}': the logits differ by .* expected equal bits"):
        check_golden_cases(broken)


def test_a_float_twin_may_differ_a_little(float_artifact_path: Path) -> None:
    data = float_artifact_path.read_bytes()
    manifest = parse(data)[1]
    check_golden_cases(Network(with_manifest(data, golden_cases=broken_logits(manifest, 0, 4))))
    with pytest.raises(GoldenCaseError, match=r"expected at most 0\.001"):
        check_golden_cases(Network(with_manifest(data, golden_cases=broken_logits(manifest, 0, 2**22))))


def test_a_damaged_golden_patch_is_refused(network: Network) -> None:
    first, second = network.manifest.golden_cases[:2]
    with pytest.raises(GoldenCaseError, match=f"golden case '{first.name}': the pixels hash to"):
        patch_of(first.model_copy(update={"png": second.png}))
    with pytest.raises(GoldenCaseError, match="is not a readable PNG"):
        patch_of(first.model_copy(update={"png": first.png[:500]}))
    with pytest.raises(GoldenCaseError, match="is not a readable PNG"):
        patch_of(first.model_copy(update={"png": b"GIF89a"}))
    grey = BytesIO()
    Image.new("L", (95, 96)).save(grey, format="PNG")
    with pytest.raises(GoldenCaseError, match="is 95×96 L, expected 96×96 RGB"):
        patch_of(first.model_copy(update={"png": grey.getvalue()}))


def test_a_batch_and_its_patches_one_by_one_have_the_same_bits(network: Network, patches: np.ndarray) -> None:
    together = network.logits(patches)
    assert together.dtype == np.float32
    assert together.shape == (8, 2)
    assert np.concatenate([network.logits(patch[None]) for patch in patches]).tobytes() == together.tobytes()


def test_probabilities_are_the_tempered_softmax(network: Network) -> None:
    logits = np.array([[1.5, -2.25], [-3, 4], [0, 0], [-3e38, 3e38], [3e38, -3e38]], np.float32)
    tempered = logits[:3].astype(float) / network.manifest.calibration.temperature
    expected = np.exp(tempered[:, 1]) / np.exp(tempered).sum(axis=1)
    probabilities = network.probabilities(logits)
    assert probabilities.dtype == np.float64
    assert probabilities[:3] == pytest.approx(expected, rel=1e-12)
    assert probabilities[3:].tolist() == [1, 0]


def test_threads_share_a_network(network: Network, patches: np.ndarray) -> None:
    expected = network.logits(patches).tobytes()
    answers: list[bytes] = []

    def ask() -> None:
        answers.extend(network.logits(patches).tobytes() for _ in range(5))

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert answers == [expected] * 20

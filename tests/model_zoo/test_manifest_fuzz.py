"""Any manifest is refused with a typed error, or is usable."""

from __future__ import annotations

import json
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from app.diagnosis.engine import Engine
from app.diagnosis.report import Answer
from model_zoo.golden import GoldenCaseError, golden_patches, patch_of
from model_zoo.manifest import Manifest
from model_zoo.network import Network, probability
from model_zoo.orbit import Rotations
from model_zoo.proof import Report
from model_zoo.reading import ManifestError, parse_manifest
from model_zoo.summary import facts, metrics_table
from tests.model_zoo.spoilt_manifests import SPECIAL, VALUES, first_leaves, leaves, replaced
from tests.scale import scaled

EVERY = scaled(4, 1)


@pytest.fixture(scope="module")
def network(artifact_path: Path) -> Network:
    return Network(artifact_path.read_bytes())


def document_of(network: Network) -> dict[str, Any]:
    """The shipped manifest with all that schema 2 knows, and few figures of each kind."""
    document: dict[str, Any] = json.loads(network.manifest.model_dump_json())
    document["metrics"] = [document["metrics"][0] | {"basis": basis} for basis in ("single", "orbit")]
    few = {"edges": [0.1, 0.2], "counts": [1, 2, 3]}
    document["reference"] = {"probability": few, "max_deviation": few, "stain_distance": few}
    decision = {key: document[key] for key in ("calibration", "threshold", "review_band", "reference")}
    dense = {"stride": 8, "receptive_field": 80}
    return document | {
        "schema_version": 2,
        "orbit": decision,
        "dense": dense,
        "input": document["input"] | {"mask": "none"},
        "golden_cases": [case | {"png": document["golden_cases"][0]["png"]} for case in document["golden_cases"]],
    }


def use(network: Network, manifest: Manifest) -> None:
    """Do with a manifest what a server and the commands do."""
    original = network.manifest
    network.manifest = manifest
    try:
        engine = Engine(network, Report(()))
        for name in ("tumour-1", "blank-1"):
            answer = engine.answer(golden_patches()[name], Rotations.NONE, prevalence=0.1)
            Answer.model_validate_json(answer.to_json())
            assert answer.quality.assessable is not None
            assert name != "blank-1" or answer.decision == "not_assessable"
    finally:
        network.manifest = original
    json.loads(manifest.model_dump_json(), parse_constant=pytest.fail)
    assert facts(manifest)
    assert metrics_table({"INT8": manifest})
    if manifest.orbit is not None:
        logits = np.array([[3e38, -3e38], [0, 0], [1, 2]], np.float32)
        assert np.isfinite(probability(logits, manifest.orbit.calibration.temperature)).all()
    for case in manifest.golden_cases:
        try:
            patch_of(case)
        except GoldenCaseError:
            break  # refused when golden cases are replayed


def tried(network: Network, text: str) -> bool:
    """Whether a manifest was accepted; it was then used."""
    try:
        manifest = parse_manifest(text)
    except ManifestError:
        return False
    use(network, manifest)
    return True


def test_the_document_that_is_spoilt_is_accepted_as_it_is(network: Network) -> None:
    document = document_of(network)
    assert tried(network, json.dumps(document))
    assert len(list(leaves(document))) > 150


@pytest.mark.parametrize("value", SPECIAL, ids=lambda value: f"{type(value).__name__} {str(value)[:8]!a}")
def test_every_leaf_replaced(network: Network, value: object) -> None:
    document = document_of(network)
    # In CI each value at every fourth place, and each place with every fourth value.
    for place in list(first_leaves(document))[SPECIAL.index(value) % EVERY :: EVERY]:
        tried(network, replaced(document, place, value))


@settings(deadline=None, max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(choice=st.integers(0, 10**6), value=VALUES)
def test_any_value_anywhere(network: Network, choice: int, value: object) -> None:
    document = document_of(network)
    places = list(leaves(document))
    tried(network, replaced(document, places[choice % len(places)], value))


@settings(deadline=None, max_examples=100)
@given(text=st.text(max_size=200) | st.recursive(st.floats(), lambda i: st.lists(i)).map(json.dumps))
def test_any_text(text: str) -> None:
    with pytest.raises(ManifestError):
        parse_manifest(text)


def test_a_golden_case_of_another_picture_is_a_typed_error(network: Network) -> None:
    buffer = BytesIO()
    Image.new("RGB", (96, 96)).save(buffer, "PNG")
    case = network.manifest.golden_cases[0].model_copy(update={"png": buffer.getvalue()})
    with pytest.raises(GoldenCaseError):
        patch_of(case)

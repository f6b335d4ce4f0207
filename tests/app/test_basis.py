"""The basis of a decision: the patch as given, or all turns."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from math import fsum
from pathlib import Path
from time import monotonic, sleep
from typing import Any

import numpy as np
import pytest
from sqlalchemy import Engine, insert

from app.diagnosis.engine import Engine as Answerer
from app.records.drift import Drift
from app.records.migrations import migrate
from app.records.tables import models, predictions
from model_zoo.artifact import parse
from model_zoo.basis import ground_of, mean_logits
from model_zoo.golden import Logits
from model_zoo.manifest import Bins, Calibration, Manifest, OrbitDecision, Reference
from model_zoo.network import Network
from model_zoo.orbit import Rotations, measure_orbit
from model_zoo.symmetry import Group
from model_zoo.synthetic import synthetic_patch
from model_zoo.turns import Patch, turn
from tests.app.conftest import RunningServer, answer_of, encoded, row_of
from tests.app.earlier import artifact
from tests.model_zoo.resealing import with_manifest

PNG = {"Content-Type": "image/png"}
TENTHS = Bins(edges=tuple(n / 10 for n in range(1, 10)), counts=(100,) * 10)
REFERENCE = Reference(probability=TENTHS, max_deviation=TENTHS, stain_distance=TENTHS)
DECISION = OrbitDecision(
    calibration=Calibration(temperature=0.8, prevalence=0.4),
    threshold=0.45,
    review_band=(0.3, 0.6),
    reference=REFERENCE,
)


@pytest.fixture(scope="session")
def for_orbits() -> bytes:
    """The shipped artifact, calibrated for orbits, too."""
    return with_manifest(artifact("accurate"), schema_version=2, orbit=DECISION)


@pytest.fixture(scope="session")
def answerer(for_orbits: bytes) -> Answerer:
    return Answerer.open(for_orbits)


@pytest.fixture(scope="module")
def served(for_orbits: bytes, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    folder = tmp_path_factory.mktemp("orbits")
    path = folder / "orbit.int8.onnx"
    path.write_bytes(for_orbits)
    with RunningServer(folder / "home", path, prevalence=0.1) as running:
        yield running


def ask(running: RunningServer, image: bytes, **params: str) -> dict[str, Any]:
    response = running.client.post("/predict", content=image, headers=PNG, params=params)
    assert response.status_code == 200, response.text
    answer: dict[str, Any] = response.json()
    return answer


@pytest.mark.parametrize("rotations", ["full", "all"])
def test_the_orbit_decides_where_all_of_it_is_known(
    served: RunningServer, network: Network, tumour: Patch, png: bytes, rotations: str
) -> None:
    answer = ask(served, png, rotations=rotations)
    group = Group.parse("C12")
    orbit = network.logits(np.stack([turn(tumour, group, g) for g in range(12)])).astype(np.float64)
    mean = [fsum(column) / 12 for column in orbit.T]
    assert (answer["basis"], answer["orbit_logits"]) == ("orbit", mean)
    assert answer["probability"] == pytest.approx(1 / (1 + np.exp(-(mean[1] - mean[0]) / 0.8)), rel=1e-12)
    assert np.array_equal(np.array(answer["logits"], np.float32), network.logits(tumour[None])[0])
    as_given = network.probabilities(network.logits(tumour[None]))[0]
    assert answer["consistency"]["probabilities"][0] == as_given != answer["probability"]


@pytest.mark.parametrize("rotations", ["none", "exact"])
def test_the_patch_as_given_decides_where_turns_are_unknown(
    served: RunningServer, network: Network, tumour: Patch, png: bytes, rotations: str
) -> None:
    answer = ask(served, png, rotations=rotations)
    assert (answer["basis"], answer["orbit_logits"]) == ("single", None)
    assert answer["probability"] == network.probabilities(network.logits(tumour[None]))[0]


def test_an_artifact_without_a_decision_for_orbits_decides_by_the_patch_as_given(tumour: Patch) -> None:
    old = Answerer.open(artifact("accurate"))
    assert old.manifest.orbit is None
    for rotations in Rotations:
        answer = old.answer(encoded(tumour), rotations)
        assert (answer.basis, answer.orbit_logits) == ("single", None)
        assert answer.probability == old.network.probabilities(old.network.logits(tumour[None]))[0]


def test_threshold_band_and_prevalence_are_those_of_the_basis(answerer: Answerer) -> None:
    """Only the probability at which each decides differs; every turn is judged by the patch's own threshold."""
    for seed in range(8):
        image = encoded(synthetic_patch("tumour" if seed % 2 else "normal", seed))
        answer = answerer.answer(image, Rotations.FULL, prevalence=0.4)
        assert answer.probability is not None
        assert answer.label == ("metastasis" if answer.probability >= 0.45 else "no_metastasis")
        in_band = 0.3 <= answer.probability <= 0.6
        assert ("review_band" in {reason.code for reason in answer.reasons}) == in_band
        assert answer.probability_at_prevalence == pytest.approx(answer.probability)
        threshold = answerer.manifest.threshold
        labels = ["metastasis" if p >= threshold else "no_metastasis" for p in answer.consistency.probabilities if p]
        assert answer.consistency.label_agreement == pytest.approx(labels.count(answer.label) / 12)


def test_every_exact_turn_of_a_patch_gets_the_same_bits(answerer: Answerer) -> None:
    for kind, seed in (("tumour", 2), ("normal", 5), ("tumour", 10)):
        patch = synthetic_patch(kind, seed)  # type: ignore[arg-type]
        answers = [answerer.answer(encoded(np.rot90(patch, k)), Rotations.FULL) for k in range(4)]
        assert len({answer.consistency.probabilities[1] for answer in answers}) == 1
        assert len({answer.orbit_logits for answer in answers}) == 1
        assert len({answer.probability for answer in answers}) == 1
        assert len({answer.decision for answer in answers}) == 1


def roughness(patches: Patch) -> Logits:
    """Logits that do not depend on how pixels are permuted, but on every level, and lie many binades apart."""
    levels = patches.astype(np.int64)
    cubes = (levels**3).sum(axis=(1, 2, 3)) % 100_003
    squares = (levels**2).sum(axis=(1, 2, 3)) % 100_019
    scale = 2.0 ** (squares % 60 - 30)
    logits: Logits = np.stack([scale * cubes / 7919.0, squares / 6007.0], axis=1).astype(np.float32)
    return logits


@pytest.mark.parametrize("rotations", [Rotations.FULL, Rotations.ALL])
@pytest.mark.parametrize("name", ["C12", "D12"])
def test_the_mean_has_the_same_bits_for_every_exact_turn(name: str, rotations: Rotations, answerer: Answerer) -> None:
    """In D12 the elements' logits change places, and a sum in their order would change its last bits."""
    group = Group.parse(name)
    manifest = answerer.manifest
    naive = set()
    for seed in range(4):
        patch = synthetic_patch("tumour", seed)
        found = []
        for element in group.exact_elements:
            turned = turn(patch, group, element)
            orbit = measure_orbit(turned, group, group.exact_subgroup, rotations, roughness)
            assert orbit.exact
            found.append((mean_logits(orbit), ground_of(manifest, orbit, 0.5).probability))
            naive.add((seed, float(orbit.logits.astype(np.float64)[:, 0].cumsum()[-1])))
        assert len(set(found)) == 1
    assert len(group.exact_elements) == {"C12": 4, "D12": 8}[name]
    assert (len(naive) > 4) == (name == "D12")


def test_one_unknown_element_makes_it_single(answerer: Answerer, tumour: Patch) -> None:
    group = Group.parse("C12")
    whole = measure_orbit(tumour, group, group.exact_subgroup, Rotations.ALL, roughness)
    partly = replace(whole, source=("not_measured", *whole.source[1:]))
    assert ground_of(answerer.manifest, whole, 0.5).basis == "orbit"
    assert ground_of(answerer.manifest, partly, 0.5).basis == "single"


def test_the_log_and_the_pages_say_what_decided(served: RunningServer, png: bytes) -> None:
    orbit, single = ask(served, png, case_id="basis"), ask(served, png, case_id="basis", rotations="none")
    table = served.client.get("/predictions/export.csv", params={"case_id": "basis"}).text.splitlines()
    rows = [dict(zip(table[0].split(","), line.split(","), strict=True)) for line in table[1:]]
    assert [each["basis"] for each in rows] == ["single", "orbit"]
    assert float(rows[1]["orbit_logit_metastasis"]) == orbit["orbit_logits"][1]
    assert rows[0]["orbit_logit_metastasis"] == ""
    metrics = served.services.metrics.text().decode()
    assert 'basis="orbit"' in metrics
    assert 'basis="single"' in metrics
    drift = served.client.get("/drift").json()["models"]
    assert {model["basis"] for model in drift} == {"single", "orbit"}
    assert served.client.get(f"/predictions/{single['id']}").json() == single


def test_drift_compares_each_basis_with_its_own_reference(database: Engine, artifact_path: Path) -> None:
    now = datetime(2026, 5, 1, 12, tzinfo=UTC)
    manifest = parse(artifact_path.read_bytes())[1]
    low = Bins(edges=TENTHS.edges, counts=(1000, *([0] * 9)))
    own = Reference(probability=low, max_deviation=TENTHS, stain_distance=TENTHS)
    text = Manifest.model_copy(manifest, update={"reference": own, "orbit": DECISION}).model_dump_json()
    migrate(database)
    entry: dict[str, Any] = {column.name: "-" for column in models.columns if not column.nullable}
    entry |= {"id": "b7e08fce" * 8, "size": 0, "data": b"", "uploaded_at": now, "manifest": text}
    rows = []
    for place in range(300):
        answer = answer_of(now - timedelta(hours=1) + timedelta(milliseconds=place))
        value = {"probability": (place % 10) / 10 + 0.05}
        rows.append(row_of(answer, Rotations.FULL, "key") | value | {"basis": "orbit"})
        if place < 250:
            rows.append(row_of(answer_of(now - timedelta(hours=2)), Rotations.FULL, "key") | value)
    with database.begin() as connection:
        connection.execute(insert(models), entry)
        connection.execute(insert(predictions), rows)
    found = {model.basis: model.windows[0].figures[0] for model in Drift(database).measure(now).models}
    assert (found["orbit"].predictions, found["orbit"].verdict) == (300, "stable")
    assert (found["single"].predictions, found["single"].verdict) == (250, "shifted")


def test_a_shadow_is_compared_on_equal_bases_alone(served: RunningServer) -> None:
    """One that knows orbits on both, one that does not on the patch as given."""
    client = served.client
    data = artifact("fast")
    both = with_manifest(data, schema_version=2, orbit=DECISION, version="9.0.0")
    images = [encoded(synthetic_patch("tumour", seed)) for seed in (1, 3)]
    for uploaded, expected in ((both, {"orbit": 2, "single": 2}), (data, {"single": 2})):
        added = client.post("/admin/models", content=uploaded, headers={"Content-Type": "application/octet-stream"})
        assert added.status_code == 201, added.text
        model_id, dropped = added.json()["id"], served.services.shadow.dropped
        assert client.post(f"/admin/models/{model_id}/shadow").status_code == 200
        for image in images:
            ask(served, image)
            ask(served, image, rotations="none")

        def scored(model_id: str = model_id) -> dict[str, int]:
            return {each["basis"]: each["patches"] for each in client.get(f"/admin/models/{model_id}").json()["shadow"]}

        deadline = monotonic() + 30
        while (scored(), served.services.shadow.dropped - dropped) != (expected, 4 - sum(expected.values())):
            assert monotonic() < deadline, scored()
            sleep(0.05)
        assert client.delete("/admin/models/shadow").status_code == 204

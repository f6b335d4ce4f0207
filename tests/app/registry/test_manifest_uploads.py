"""Whatever an uploaded manifest says, no route answers 500, and a good model always serves, after a start too."""

from __future__ import annotations

import json
import random
from collections import Counter
from pathlib import Path
from time import monotonic

import httpx
import onnx
import pytest
from hypothesis import HealthCheck, Phase, assume, given, settings

from app.diagnosis.engine import Engine
from app.records.database import open_database
from app.registry.serving import Serving
from model_zoo.artifact import parse
from model_zoo.synthetic import synthetic_patch
from tests.app.conftest import RunningServer, encoded
from tests.app.registry.conftest import id_of, upload
from tests.app.registry.test_unusable_models import activate, store
from tests.model_zoo.spoilt_manifests import Document, Spoilt, changed, first_leaves, replaced
from tests.processes import KEY, serving
from tests.scale import NIGHTLY, scaled

REPLACED, CHANGED, RESTARTS = scaled(18, 1400), scaled(12, 650), scaled(2, 30)
PNG = {"Content-Type": "image/png"}
AUTHORIZED = {"Authorization": f"Bearer {KEY}"}
INSTEAD: list[object] = [
    float("nan"),
    float("inf"),
    float("-inf"),
    1e308,
    10**400,
    -1,
    None,
    "1",
    [],
    "x" * 100_000,
]


class Subject:
    """A server that is given one manifest after the other.

    Attributes:
        good: ids of the models that were activated, the last one at the end; it serves.
        refused: artifacts that vetting refused, the last few.
        seen: how many cases ended how.
    """

    def __init__(self, server: RunningServer, artifact: bytes) -> None:
        self._server = server
        self._model, manifest = parse(artifact)
        self.document: Document = json.loads(manifest.model_dump_json())
        self.document["metrics"] = self.document["metrics"][:1] + self.document["metrics"][-1:]
        self.good = [str(server.client.get("/admin/models").json()["active"])]
        self.refused: list[bytes] = []
        self.seen: Counter[str] = Counter()
        self._patches = [encoded(synthetic_patch(kind, 7)) for kind in ("tumour", "blank")]

    def with_manifest(self, text: str) -> bytes:
        whole = onnx.ModelProto()
        whole.CopyFrom(self._model)
        whole.metadata_props[0].value = text
        return whole.SerializeToString(deterministic=True)

    def take(self, text: str) -> None:
        """Upload a manifest, activate what was accepted, and look at all that shows it."""
        artifact = self.with_manifest(text)
        response = upload(self._server.client, artifact)
        self.seen[f"upload {response.status_code}"] += 1
        if response.status_code == 422:
            assert response.json()["type"] == "/problems/artifact-refused", response.text
            self.refused = [*self.refused[-20:], artifact]
            return
        assert response.status_code in {200, 201}, (text, response.text)
        self._activate(id_of(artifact), text)

    def _activate(self, model_id: str, text: str) -> None:
        client = self._server.client
        response = client.post(f"/admin/models/{model_id}/activate")
        self.seen[f"activation {response.status_code}"] += 1
        assert response.status_code == 200, (text, response.text)
        assert response.json()["serves_here"] is True, (text, response.text)
        self.good.append(model_id)
        for path in (f"/admin/models/{model_id}", "/admin/models", "/metrics"):
            assert client.get(path).status_code == 200, (text, path)
        self.assert_serving(client, model_id)
        self._assert_a_start_loads(model_id)

    def _assert_a_start_loads(self, model_id: str) -> None:
        """What a start does: a process opens the model, and a server that has none yet follows the database."""
        services = self._server.services
        assert Engine.open(services.registry.checked_data(model_id)[1]).proof.passed
        state = Serving(services.database, services.registry, services.processes).follow()
        assert (state.error, state.model and state.model.sha256) == ("", model_id)
        self.seen["loaded by a start"] += 1

    def assert_serving(self, client: httpx.Client, model_id: str, status: str = "ready") -> None:
        """This model answers patches, in strict JSON, and glass is not assessable."""
        deadline = monotonic() + 60
        while [(ready := client.get("/readyz").json())[key] for key in ("status", "sha256")] != [status, model_id]:
            assert monotonic() < deadline, ready  # readiness is looked into once a second
        for patch, rotations in zip(self._patches, ("full", "none"), strict=True):
            response = client.post("/predict", content=patch, headers=PNG, params={"rotations": rotations})
            assert response.status_code == 200, response.text
            answer = json.loads(response.text, parse_constant=pytest.fail)
            assert answer["model"]["sha256"] == model_id
        assert answer["decision"] == "not_assessable"

    def replacements(self) -> list[str]:
        """Manifests with one leaf replaced: all pairs of leaf and value in a random order, cut to the wanted number."""
        pairs = [(place, value) for place in first_leaves(self.document) for value in INSTEAD]
        random.Random(1).shuffle(pairs)
        return [replaced(self.document, place, value) for place, value in pairs[:REPLACED]]


@pytest.mark.soak
@pytest.mark.filterwarnings("ignore::hypothesis.errors.HypothesisWarning")  # of a failure: its manifest is long
def test_whatever_a_manifest_says_a_good_model_serves(
    tmp_path: Path, artifact_path: Path, fast: bytes, capsys: pytest.CaptureFixture[str]
) -> None:
    with RunningServer(tmp_path, artifact_path, admin_key=KEY) as server:
        subject = Subject(server, fast)
        subject.take(json.dumps(subject.document))
        assert len(subject.good) == 2, "the manifest that is spoilt was refused as it is"
        for text in subject.replacements():
            subject.take(text)
        take_changed(subject)
    restart(subject, tmp_path, artifact_path)
    with capsys.disabled():
        print(f"\n[{dict(sorted(subject.seen.items()))}]")
    assert subject.seen["upload 422"] > REPLACED // 2
    assert len(set(subject.good)) > max(2, (REPLACED + CHANGED) // 20)
    assert subject.seen["start, ready"] + subject.seen["start, degraded"] == RESTARTS


def take_changed(subject: Subject) -> None:
    """Give the server manifests with some values changed at random, many of which are possible ones."""

    @settings(
        max_examples=CHANGED,
        derandomize=not NIGHTLY,
        database=None,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(spoilt=changed(lambda: subject.document))
    def take(spoilt: Spoilt) -> None:
        limit = json.loads(spoilt.text).get("latency_limit_ms")
        assume(not isinstance(limit, float | int) or not 0.5 < limit < 25)  # whether it is kept is left to chance
        subject.take(spoilt.text)

    take()


def restart(subject: Subject, home: Path, artifact_path: Path) -> None:
    """Start the installed server on this home again and again, each time with another model active.

    Every third one is a model that vetting refuses, whose row stands in the database all the same; then the one before
    serves.
    """
    accepted = list(dict.fromkeys(subject.good))
    expected, status = subject.good[-1], "ready"
    for number in range(RESTARTS):
        with (
            serving(home, artifact_path, ROSETTE_ADMIN_KEY=KEY) as server,
            httpx.Client(base_url=server.wait_until_it_listens(), headers=AUTHORIZED, timeout=120) as client,
        ):
            subject.assert_serving(client, expected, status)
            subject.seen[f"start, {status}"] += 1
            if number % 3 == 1:
                force(home, subject.refused.pop())
                status = "degraded"
            else:
                expected, status = accepted[number * len(accepted) // RESTARTS], "ready"
                assert client.post(f"/admin/models/{expected}/activate").status_code == 200


def force(home: Path, artifact: bytes) -> None:
    """Make a refused model the active one, as a version that vetted less would have."""
    database = open_database(f"sqlite:///{home / 'rosette.db'}")
    activate(database, store(database, artifact))
    database.dispose()

"""The registry over HTTP: upload, list, activate, roll back, retire, shadow."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from pathlib import Path
from time import monotonic, sleep
from typing import Any

import numpy as np
import pytest
from sqlalchemy import text

from app.access.caller import Role
from app.signatures import new_private_key, public_key, sign
from model_zoo.network import Network
from model_zoo.synthetic import synthetic_patch
from tests.app.conftest import TESTER, RunningServer, assert_problem, encoded
from tests.app.registry.conftest import ONNX, id_of, serving, upload
from tests.conftest import shipped_artifact
from tests.homes import furnish
from tests.model_zoo.resealing import with_manifest

PNG = {"Content-Type": "image/png"}


@pytest.fixture
def server(tmp_path: Path, artifact_path: Path) -> Iterator[RunningServer]:
    """A server of the test's own: its registry holds the shipped default, which serves."""
    with RunningServer(tmp_path / "home", artifact_path) as running:
        yield running


@pytest.fixture(scope="module")
def refusing(tmp_path_factory: pytest.TempPathFactory, artifact_path: Path) -> Iterator[RunningServer]:
    """One server for all tests in which it only refuses."""
    with RunningServer(tmp_path_factory.mktemp("home"), artifact_path) as running:
        yield running


@pytest.fixture
def with_fast(tmp_path: Path, artifact_path: Path, fast: bytes) -> Iterator[RunningServer]:
    """A server of the test's own, to which the other model was uploaded."""
    furnish(tmp_path / "home", artifact_path, shipped_artifact(name="fast"))
    with RunningServer(tmp_path / "home", artifact_path) as running:
        assert listed(running)[id_of(fast)] == "vetted"
        yield running


def listed(server: RunningServer) -> dict[str, str]:
    """Every model's state."""
    return {model["id"]: model["state"] for model in server.client.get("/admin/models").json()["models"]}


def audited(server: RunningServer, action: str) -> list[Any]:
    """What the trail tells of an action, oldest first."""
    with server.services.database.connect() as connection:
        rows = connection.execute(text("SELECT * FROM audit WHERE action = :a ORDER BY number"), {"a": action})
        return list(rows)


def test_an_upload_is_vetted_stored_and_not_activated(server: RunningServer, accurate: bytes, fast: bytes) -> None:
    response = server.client.post("/admin/models", files={"file": ("any name.onnx", fast)})
    assert response.status_code == 201, response.text
    model = response.json()
    assert response.headers["location"] == f"/admin/models/{id_of(fast)}"
    assert (model["id"], model["state"], model["bytes"]) == (id_of(fast), "vetted", len(fast))
    assert model["report"]["passed"] is True
    assert {"signature", "golden cases", "exact invariance"} <= {step["name"] for step in model["report"]["steps"]}
    assert "golden_cases" not in model["manifest"]
    assert server.client.get(response.headers["location"]).json() == model
    assert listed(server) == {id_of(accurate): "active", id_of(fast): "vetted"}
    assert serving(server) == id_of(accurate)
    [row] = audited(server, "model.upload")
    assert (row.subject, row.who, row.address) == (id_of(fast), audited(server, "model.upload")[0].who, "127.0.0.1")


def test_an_artifact_comes_back_as_it_was(with_fast: RunningServer, fast: bytes) -> None:
    response = with_fast.client.get(f"/admin/models/{id_of(fast)}/file")
    assert response.content == fast
    assert response.headers["content-disposition"].startswith('attachment; filename="fast-')


def test_the_same_bytes_twice_are_one_model(with_fast: RunningServer, accurate: bytes, fast: bytes) -> None:
    again = upload(with_fast.client, fast)
    assert (again.status_code, again.json()["id"]) == (200, id_of(fast))
    assert upload(with_fast.client, accurate).status_code == 200
    assert len(listed(with_fast)) == 2
    assert len(audited(with_fast, "model.upload")) == 1


def test_a_refused_upload_leaves_an_audit_row_and_nothing_else(server: RunningServer, fast: bytes) -> None:
    before, files = listed(server), sorted(path.name for path in server.settings.home.iterdir())
    bad = with_manifest(fast, graph_sha256="0" * 64)
    problem = assert_problem(upload(server.client, bad), 422, "artifact-refused")
    failed = [step for step in problem["report"]["steps"] if not step["passed"]]
    assert [step["name"] for step in failed] == ["graph hash"]
    assert failed[0]["detail"] in problem["detail"]
    assert listed(server) == before
    assert sorted(path.name for path in server.settings.home.iterdir()) == files
    [row] = audited(server, "model.refuse")
    assert row.subject == id_of(bad)
    assert json.loads(row.after) == {"bytes": len(bad), "step": "graph hash", "detail": failed[0]["detail"]}


@pytest.mark.parametrize("path", ["/activate", "/retire", "/shadow"])
def test_unknown_models_are_named(refusing: RunningServer, path: str) -> None:
    assert_problem(refusing.client.post(f"/admin/models/{'0' * 64}{path}"), 404, "unknown-model")
    assert_problem(refusing.client.get(f"/admin/models/{'0' * 64}"), 404, "unknown-model")
    assert_problem(refusing.client.get(f"/admin/models/{'0' * 64}/file"), 404, "unknown-model")


def test_what_is_no_model_id_is_an_unknown_model_in_every_database(
    tmp_path: Path, artifact_path: Path, database_url: str
) -> None:
    with RunningServer(tmp_path / "home", artifact_path, database_url=database_url) as server:
        for path in ("%00", "a%00b/file"):
            assert_problem(server.client.get(f"/admin/models/{path}"), 404, "unknown-model")
        for path in ("activate", "retire", "shadow"):
            assert_problem(server.client.post(f"/admin/models/%00/{path}"), 404, "unknown-model")


def test_activation_and_rollback(with_fast: RunningServer, accurate: bytes, fast: bytes, png: bytes) -> None:
    client = with_fast.client
    assert_problem(client.post("/admin/models/rollback"), 409, "nothing-to-roll-back-to")
    for action, model in ((f"{id_of(fast)}/activate", fast), ("rollback", accurate), ("rollback", fast)):
        activated = client.post(f"/admin/models/{action}").json()
        assert (activated["id"], activated["serves_here"], activated["error"]) == (id_of(model), True, "")
        answer = client.post("/predict", content=png, headers=PNG).json()
        assert answer["model"]["sha256"] == id_of(model)
        assert answer["consistency"]["exact"] is True
    number = client.post(f"/admin/models/{id_of(fast)}/activate").json()["number"]
    assert number == 4, "activating what serves changes nothing"
    after = [json.loads(row.after)["active"] for row in audited(with_fast, "model.activate")]
    assert after == [id_of(accurate), id_of(fast), id_of(accurate), id_of(fast)]


def test_a_retired_model_is_out_of_choice_until_it_is_uploaded_again(
    with_fast: RunningServer, accurate: bytes, fast: bytes
) -> None:
    client = with_fast.client
    assert_problem(client.post(f"/admin/models/{id_of(accurate)}/retire"), 409, "model-in-use")
    for _ in range(2):
        assert client.post(f"/admin/models/{id_of(fast)}/retire").json()["state"] == "retired"
    assert len(audited(with_fast, "model.retire")) == 1
    for deed in ("activate", "shadow"):
        assert_problem(client.post(f"/admin/models/{id_of(fast)}/{deed}"), 409, "model-in-use")
    assert upload(client, fast).json()["state"] == "vetted"
    assert client.post(f"/admin/models/{id_of(fast)}/activate").json()["serves_here"] is True


def test_rollback_passes_over_retired_models(with_fast: RunningServer, accurate: bytes, fast: bytes) -> None:
    client = with_fast.client
    client.post(f"/admin/models/{id_of(fast)}/activate")
    client.post(f"/admin/models/{id_of(accurate)}/activate")
    client.post(f"/admin/models/{id_of(fast)}/retire")
    assert_problem(client.post("/admin/models/rollback"), 409, "nothing-to-roll-back-to")


def test_a_restart_serves_what_was_active(tmp_path: Path, artifact_path: Path, fast: bytes) -> None:
    with RunningServer(tmp_path, artifact_path) as first:
        upload(first.client, fast)
        first.client.post(f"/admin/models/{id_of(fast)}/activate")
    with RunningServer(tmp_path, artifact_path, admin_key="x" * 32) as second:
        assert serving(second) == id_of(fast)


class TestSignatures:
    """With trusted keys, only what one of them signed gets in, and stays in."""

    PEM = new_private_key()

    @pytest.fixture
    def strict(self, tmp_path: Path, artifact_path: Path) -> Iterator[RunningServer]:
        with RunningServer(tmp_path / "home", artifact_path, trusted_keys=public_key(self.PEM)) as running:
            yield running

    @pytest.mark.parametrize("content", ["the artifact", "junk"])
    def test_an_unsigned_one_is_refused_before_anything_parses_it(
        self, strict: RunningServer, fast: bytes, content: str
    ) -> None:
        artifact = fast if content == "the artifact" else b"junk"
        for headers in ({}, {"X-Rosette-Signature": sign(id_of(artifact), new_private_key())}):
            problem = assert_problem(upload(strict.client, artifact, **headers), 422, "artifact-refused")
            assert [step["name"] for step in problem["report"]["steps"]] == ["signature"]

    def test_a_signed_one_is_stored_with_its_signature(self, strict: RunningServer, fast: bytes) -> None:
        signature = sign(id_of(fast), self.PEM)
        response = strict.client.post("/admin/models", files={"file": fast}, data={"signature": signature})
        assert response.status_code == 201
        assert response.json()["signed"] is True
        assert strict.client.post(f"/admin/models/{id_of(fast)}/activate").json()["serves_here"] is True

    def test_the_shipped_model_serves_unsigned(self, strict: RunningServer, accurate: bytes) -> None:
        assert serving(strict) == id_of(accurate)

    def test_a_signature_can_be_added_later(self, with_fast: RunningServer, fast: bytes) -> None:
        signed = upload(with_fast.client, fast, **{"X-Rosette-Signature": sign(id_of(fast), self.PEM)})
        assert (signed.status_code, signed.json()["signed"]) == (200, True)

    def test_a_stored_signature_is_checked_again_at_each_load(
        self, strict: RunningServer, accurate: bytes, fast: bytes
    ) -> None:
        upload(strict.client, fast, **{"X-Rosette-Signature": sign(id_of(fast), self.PEM)})
        with strict.services.database.begin() as connection:
            connection.execute(
                text("UPDATE models SET signature = :s WHERE id = :i"), {"s": bytes(64), "i": id_of(fast)}
            )
        problem = assert_problem(strict.client.post(f"/admin/models/{id_of(fast)}/activate"), 409, "model-unusable")
        assert "none of the 1 trusted keys made this signature" in problem["detail"]
        assert serving(strict) == id_of(accurate)


def test_a_model_that_fails_here_leaves_the_old_one_serving(
    with_fast: RunningServer, accurate: bytes, fast: bytes, png: bytes
) -> None:
    with with_fast.services.database.begin() as connection:
        changed = fast[:-1] + bytes([fast[-1] ^ 1])
        connection.execute(text("UPDATE models SET data = :d WHERE id = :i"), {"d": changed, "i": id_of(fast)})
    problem = assert_problem(with_fast.client.post(f"/admin/models/{id_of(fast)}/activate"), 409, "model-unusable")
    assert "its stored bytes were changed" in problem["detail"]
    assert listed(with_fast) == {id_of(accurate): "active", id_of(fast): "vetted"}, "nothing was committed"
    assert len(audited(with_fast, "model.activate")) == 1
    with_fast.services.registry.activate(id_of(fast), TESTER)  # as a shell on another machine might
    with_fast.services.serving.follow()
    ready = with_fast.client.get("/readyz")
    assert ready.status_code == 200
    assert (ready.json()["status"], ready.json()["sha256"]) == ("degraded", id_of(accurate))
    assert "its stored bytes were changed" in ready.json()["detail"]
    assert with_fast.client.post("/predict", content=png, headers=PNG).json()["model"]["sha256"] == id_of(accurate)
    assert with_fast.client.post("/admin/models/rollback").json()["serves_here"] is True
    assert with_fast.client.get("/readyz").json()["status"] == "ready"


def test_a_shadow_scores_what_is_answered_and_answers_nothing(
    with_fast: RunningServer, accurate: bytes, fast: bytes
) -> None:
    client, other = with_fast.client, Network(fast)
    patches = [synthetic_patch("tumour" if i % 2 else "normal", i) for i in range(6)]
    assert client.post(f"/admin/models/{id_of(fast)}/shadow").json()["state"] == "shadow"
    as_given = "/predict?rotations=none"
    answers = [client.post(as_given, content=encoded(patch), headers=PNG).json() for patch in patches]
    assert {answer["model"]["sha256"] for answer in answers} == {id_of(accurate)}
    deadline = monotonic() + 120
    while not (found := client.get(f"/admin/models/{id_of(fast)}").json()["shadow"]) or found[0]["patches"] < 6:
        assert monotonic() < deadline
        sleep(0.02)
    shadow = other.probabilities(np.concatenate([other.logits(patch[None]) for patch in patches]))
    differences = [
        abs(a["probability"] - s) for a, s in zip(answers, shadow, strict=True) if a["probability"] is not None
    ]
    [entry] = found
    assert (entry["active_id"], entry["patches"]) == (id_of(accurate), 6)
    assert entry["largest_difference"] == pytest.approx(max(differences), abs=1e-9)
    assert entry["low"] <= entry["labels_differ"] / 6 <= entry["high"]
    assert client.delete("/admin/models/shadow").status_code == 204
    assert listed(with_fast)[id_of(fast)] == "vetted"
    assert with_fast.services.serving.state.shadow is None
    assert [json.loads(row.after)["shadow"] for row in audited(with_fast, "model.shadow")] == [id_of(fast), None]


def test_the_active_model_is_nobodys_shadow(with_fast: RunningServer, accurate: bytes, fast: bytes) -> None:
    assert_problem(with_fast.client.post(f"/admin/models/{id_of(accurate)}/shadow"), 409, "model-in-use")
    with_fast.client.post(f"/admin/models/{id_of(fast)}/shadow")
    with_fast.client.post(f"/admin/models/{id_of(fast)}/activate")
    assert listed(with_fast) == {id_of(accurate): "vetted", id_of(fast): "active"}


def test_too_much_is_refused_before_it_is_read(refusing: RunningServer) -> None:
    request = (
        f"POST /admin/models HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {refusing.key}\r\n"
        f"Content-Type: application/octet-stream\r\nContent-Length: {64 * 2**20 + 1}\r\n\r\n"
    )
    with socket.create_connection(("127.0.0.1", refusing.port), timeout=120) as connection:
        connection.sendall(request.encode())
        answer = connection.makefile("rb").read()
    assert answer.startswith(b"HTTP/1.1 413 ")
    assert b"/problems/body-too-large" in answer


def test_too_much_without_a_length_is_refused_on_the_way(refusing: RunningServer) -> None:
    response = refusing.client.post("/admin/models", content=(bytes(2**20) for _ in range(65)), headers=ONNX)
    assert_problem(response, 413, "body-too-large")


@pytest.mark.parametrize(
    ("kind", "slug", "status"),
    [
        ({"content": b"x", "headers": {"Content-Type": "text/plain"}}, "unsupported-content-type", 415),
        ({"content": b"", "headers": ONNX}, "empty-body", 422),
        ({"files": {"model": b"x"}}, "invalid-form", 422),
        ({"files": [("file", b"x"), ("file", b"y")]}, "invalid-form", 422),
        ({"files": {"file": b"x"}, "data": {"signature": "A" * 1000}}, "invalid-form", 422),
        ({"content": b"x", "headers": ONNX | {"Content-Encoding": "gzip"}}, "unsupported-content-type", 415),
    ],
)
def test_other_bodies_are_refused(refusing: RunningServer, kind: dict[str, Any], slug: str, status: int) -> None:
    assert_problem(refusing.client.post("/admin/models", **kind), status, slug)


def test_a_key_without_the_role_uploads_nothing(refusing: RunningServer, fast: bytes) -> None:
    with refusing.new_client(Role.REVIEW) as reviewer:
        assert_problem(upload(reviewer, fast), 403, "forbidden")

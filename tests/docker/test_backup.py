"""Backup, deletion, restore: same answers, models, keys and audit trail; a damaged backup changes nothing."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Callable
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from tests.app.registry.hostile import manifest
from tests.conftest import shipped_artifact
from tests.docker.stack import ONNX, PNG, Stack

ANSWERS = 20


@dataclass(frozen=True)
class Held:
    """What one system answered before it was lost."""

    file: Path
    reader: str
    reviewed: str
    predictions: dict[str, str]
    reviews: str
    models: list[dict[str, Any]]
    logits: list[float]
    trail: list[dict[str, Any]]


def answer(stack: Stack, png: bytes) -> dict[str, Any]:
    with stack.client() as client:
        response = client.post("/predict", content=png, headers=PNG)
    assert response.status_code == 200, response.text
    return dict(response.json())


@pytest.fixture(scope="module")
def held(new_stack: Callable[..., Stack], png: bytes, tmp_path_factory: pytest.TempPathFactory) -> Held:
    stack, folder = new_stack("original"), tmp_path_factory.mktemp("backup")
    stack.up()
    artifact = manifest(version="9.9.9")(shipped_artifact(name="fast").read_bytes(), folder)
    with stack.client() as client:
        reader = client.post("/admin/keys", json={"role": "review", "name": "pathologist"}).json()["key"]
        client.post("/admin/models", content=artifact, headers=ONNX).raise_for_status()
        client.post(f"/admin/models/{sha256(artifact).hexdigest()}/activate").raise_for_status()
        ids = [client.post("/predict", content=png, headers=PNG).json()["id"] for _ in range(ANSWERS)]
        review = {"verdict": "disagree", "note": "a fold in the section"}
        client.post(f"/predictions/{ids[0]}/reviews", json=review).raise_for_status()
        stack.script("backup.sh", str(folder / "rosette.tar"))
        held = Held(
            folder / "rosette.tar",
            reader,
            ids[0],
            {each: client.get(f"/predictions/{each}").text for each in ids},
            client.get(f"/predictions/{ids[0]}/reviews").text,
            client.get("/admin/models").json()["models"],
            answer(stack, png)["logits"],
            client.get("/admin/audit?limit=200").json()["entries"],
        )
    stack.down()
    return held


@pytest.fixture(scope="module")
def restored(held: Held, new_stack: Callable[..., Stack]) -> Stack:
    """Another machine, so to say: other secrets, empty volumes, and predictions of its own that must go."""
    stack = new_stack("restored")
    stack.script("restore.sh", "--yes", str(held.file))
    return stack


def test_predictions_and_reviews_are_there_word_for_word(held: Held, restored: Stack) -> None:
    with restored.client() as client:
        assert {each: client.get(f"/predictions/{each}").text for each in held.predictions} == held.predictions
        assert client.get(f"/predictions/{held.reviewed}/reviews").text == held.reviews


def test_the_same_model_serves_and_answers_the_same_bits(held: Held, restored: Stack, png: bytes) -> None:
    with restored.client() as client:
        assert client.get("/admin/models").json()["models"] == held.models
    answered = answer(restored, png)
    assert (answered["model"]["version"], answered["logits"]) == ("9.9.9", held.logits)


def test_keys_of_before_open(held: Held, restored: Stack) -> None:
    with restored.client(held.reader) as client:
        assert client.get(f"/predictions/{next(iter(held.predictions))}").status_code == 200
        assert client.get("/admin/keys").status_code == 403


def test_the_audit_trail_goes_on_where_it_was(held: Held, restored: Stack) -> None:
    head = held.trail[0]
    with restored.client() as client:
        verified = client.get("/admin/audit/verify", params={"head": f"{head['number']}:{head['hash']}"}).json()
        assert verified["whole"] is True, verified
        entries = client.get("/admin/audit?limit=200").json()["entries"]
    assert entries[-len(held.trail) :] == held.trail


def damaged(file: Path, folder: Path, replaced: dict[str, bytes]) -> Path:
    """The backup with some of its members replaced."""
    path = folder / "damaged.tar"
    with tarfile.open(file) as before, tarfile.open(path, "w") as after:
        for member in before.getmembers():
            content = before.extractfile(member)
            assert content is not None
            data = replaced.get(member.name, content.read())
            member.size = len(data)
            after.addfile(member, io.BytesIO(data))
    return path


def test_a_damaged_or_foreign_backup_changes_nothing(held: Held, restored: Stack, tmp_path: Path) -> None:
    with tarfile.open(held.file) as opened:
        parts = {each.name: opened.extractfile(each).read() for each in opened.getmembers()}  # type: ignore[union-attr]
    cut = parts["database.dump"][: len(parts["database.dump"]) // 2]
    other_head = b"3:" + b"0" * 64 + b"\n"

    def sums(**changed: bytes) -> bytes:
        files = {"audit-head": parts["audit-head"], "database.dump": parts["database.dump"]} | changed
        return "".join(f"{sha256(data).hexdigest()}  {name}\n" for name, data in files.items()).encode()

    before = restored.recorded()
    for replaced, complaint in (
        ({"database.dump": cut}, "database.dump: FAILED"),
        ({"database.dump": cut, "SHA256SUMS": sums(**{"database.dump": cut})}, "pg_restore: error"),
        ({"audit-head": other_head, "SHA256SUMS": sums(**{"audit-head": other_head})}, "audit trail is broken"),
    ):
        file = damaged(held.file, tmp_path, replaced)
        with pytest.raises(AssertionError, match=complaint):
            restored.script("restore.sh", "--yes", str(file))
        assert restored.recorded() == before
    with restored.client() as client:
        assert client.get("/readyz").json()["status"] == "ready"


def test_a_backup_that_exists_is_not_overwritten(held: Held, restored: Stack) -> None:
    before = held.file.read_bytes()
    with pytest.raises(AssertionError, match="exists: choose another file"):
        restored.script("backup.sh", str(held.file))
    assert held.file.read_bytes() == before
    assert held.file.stat().st_mode & 0o077 == 0

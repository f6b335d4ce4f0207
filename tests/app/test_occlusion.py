"""``occlusion=report``, over HTTP and by the command."""

from __future__ import annotations

import json
from pathlib import Path

from tests.app.conftest import RunningServer
from tests.installed import rosette

PNG = {"Content-Type": "image/png"}


def test_a_report_leaves_the_answer_as_it_is(server: RunningServer, png: bytes) -> None:
    plain, covered = (
        server.client.post("/predict", content=png, headers=PNG, params=params).json()
        for params in ({}, {"occlusion": "report"})
    )
    assert plain["occlusion"] is None
    for name in ("probability", "decision", "reasons", "logits", "orbit_logits", "consistency", "quality"):
        assert covered[name] == plain[name]
    report = covered["occlusion"]
    assert (report["square_px"], len(report["probabilities"])) == (16, 6)
    assert report["uncovered"] == plain["consistency"]["probabilities"][0]
    assert len({probability for row in report["probabilities"] for probability in row}) > 10
    assert server.client.get(f"/predictions/{covered['id']}").json() == covered


def test_it_is_a_parameter_like_the_others(server: RunningServer, png: bytes) -> None:
    wrong = server.client.post("/predict", content=png, headers=PNG, params={"occlusion": "yes"})
    assert (wrong.status_code, wrong.json()["type"]) == (422, "/problems/invalid-parameter")
    named = PNG | {"Idempotency-Key": "covered"}
    assert server.client.post("/predict", content=png, headers=named).status_code == 200
    other = server.client.post("/predict", content=png, headers=named, params={"occlusion": "report"})
    assert other.json()["type"] == "/problems/idempotency-mismatch"
    batch = server.client.post("/predict/batch", files=[("file", ("a.png", png))], params={"occlusion": "report"})
    assert batch.json()["results"][0]["occlusion"]["square_px"] == 16


def test_the_command_measures_it(tmp_path: Path, png: bytes, artifact_path: Path) -> None:
    file = tmp_path / "patch.png"
    file.write_bytes(png)
    said = rosette("predict", file, "--json", "--occlusion", "report", "--model", artifact_path)
    assert json.loads(said)["occlusion"]["square_px"] == 16

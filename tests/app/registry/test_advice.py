"""Warnings before a model near chance is activated, marks on worse values, and plots."""

from __future__ import annotations

import json
from contextlib import closing
from pathlib import Path

from tests.app.conftest import RunningServer
from tests.app.registry.conftest import accurate, fast, upload
from tests.installed import rosette
from tests.model_zoo.resealing import with_manifest
from tests.web.conftest import signed_in

__all__ = ["accurate", "fast"]

CURVES = {
    "split": "valid",
    "basis": "orbit",
    "n": 200,
    "threshold": 0.5,
    "roc": [[0, 0], [0.1, 0.4], [0.5, 0.8], [1, 1]],
    "operating_point": [0.1, 0.4],
    "reliability": [{"probability": 0.2, "positive": 0.25, "n": 100}, {"probability": 0.8, "positive": 0.7, "n": 100}],
    "risk_coverage": [[0.5, 0.05], [1, 0.13]],
}


def test_a_model_near_chance_is_warned_of_and_its_worse_values_are_marked(
    tmp_path: Path, artifact_path: Path, accurate: bytes, fast: bytes
) -> None:
    with RunningServer(tmp_path / "home", artifact_path) as server:
        client = server.client
        active = client.get("/admin/models").json()["active"]
        metrics = client.get(f"/admin/models/{active}").json()["manifest"]["metrics"]
        for metric in metrics:
            if metric["name"] == "auc":
                metric |= {"value": 0.41, "low": 0.38, "high": 0.44}
        bad = upload(client, with_manifest(fast, metrics=metrics, curves=[CURVES]))
        assert bad.status_code == 201, bad.text
        model = bad.json()["id"]
        with closing(signed_in(server, server.key)) as browser:
            asked = browser.get(f"/models/{model}/activate").text
            assert "Near chance: AUC" in asked
            assert "There is no acceptance test of this model" in asked
            assert asked.count("worse beyond the intervals</span>") == sum(each["name"] == "auc" for each in metrics)
            assert asked.index('class="primary"') < asked.index("<table")
            page = browser.get(f"/models/{model}").text
            assert page.count('class="plot"') == 3
            assert 'points="0,200 20,120 100,40 200,0"' in page
            assert "0.2</text>" in page, "the risk's axis ends at 0.2"
            listed = browser.get("/models").text
            assert listed.index('id="all"') < listed.index('id="measured"')
            assert "published without curves" not in page
            without = upload(client, with_manifest(fast, curves=[])).json()["id"]
            bare = browser.get(f"/models/{without}").text
            assert ('class="plot"' in bare, "This artifact was published without curves" in bare) == (False, True)
        activated = client.post(f"/admin/models/{model}/activate").json()
        assert activated["serves_here"] is True
        assert any(
            warning.startswith("Near chance: AUC, all turns, on test is 0.410") for warning in activated["warnings"]
        )
        assert any(each.startswith("Worse than balanced 0") for each in activated["warnings"])
        back = client.post(f"/admin/models/{active}/activate").json()
        assert [warning.partition(":")[0] for warning in back["warnings"]] == [
            "There is no acceptance test of this model on this site's own patches"
        ]
        said = rosette("models", "activate", model, ROSETTE_HOME=str(tmp_path / "home"))
        assert "Warning: Near chance" in said
        row = next(each for each in client.get("/admin/audit").json()["entries"] if each["action"] == "model.activate")
        assert json.loads(row["after"])["active"] == model


def test_curves_that_fall_are_refused(artifact_path: Path, fast: bytes, tmp_path: Path) -> None:
    file = tmp_path / "bad.onnx"
    file.write_bytes(with_manifest(fast, curves=[CURVES | {"roc": [[1, 1], [0, 0]]}]))
    assert "do not rise" in rosette("models", "verify", file, code=1)

"""Runs of DICOM slides have DICOM objects, for roles that may read everything."""

from __future__ import annotations

import csv
import io
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

import highdicom as hd
import numpy as np
import pytest

from app.access.caller import Role
from tests.app.conftest import RunningServer, assert_problem
from tests.app.slides.conftest import listed
from tests.app.slides.test_slide_runs import PLAIN, followed
from tests.slides.dicom_made import convert
from tests.slides.made import tissue, write_svs
from tests.web.conftest import signed_in

NAMES = ("probability.dcm", "regions.dcm")


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning")
def test_a_run_of_a_dicom_slide(tmp_path: Path, artifact_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    svs = write_svs(tmp_path / "s.svs", tissue(["tn", "nt"], 1.944), 0.499)
    convert(svs, tmp_path / "offered" / "dicom")
    with RunningServer(tmp_path / "home", artifact_path, slides=str(tmp_path / "offered"), deadline_s=300) as running:
        [slide] = listed(running).values()
        with running.new_client(Role.PREDICT) as asker:
            location = asker.post(f"/slides/{slide['id']}/scores", json=PLAIN | {"prevalence": 0.4}).headers["location"]
            run = followed(asker, location)
            assert run["state"] == "complete", run
            for name in NAMES:
                assert_problem(asker.get(f"{location}/{name}"), 403, "forbidden")
            rows = list(csv.DictReader(io.StringIO(asker.get(f"{location}/cells.csv").text)))
        files = {name: running.client.get(f"{location}/{name}") for name in NAMES}
        assert {each.headers["content-type"] for each in files.values()} == {"application/dicom"}
        found = hd.imread(io.BytesIO(files["probability.dcm"].content)).get_total_pixel_matrix()
        expected = [float(row["probability"]) if row["state"] == "scored" else np.nan for row in rows]
        np.testing.assert_array_equal(found.ravel(), np.array(expected, np.float32))
        features = running.client.get(f"{location}/regions.geojson").json()["features"]
        report: Any = hd.sr.srread(io.BytesIO(files["regions.dcm"].content))
        groups = report.content.get_planar_roi_measurement_groups()
        assert [int(each.tracking_uid[5:]) for each in groups] == [int(f["id"].replace("-", ""), 16) for f in features]
        page = f"/ui/slides/runs/{run['id']}"
        for role, named in ((Role.READ, True), (Role.PATHOLOGIST, False)):
            with closing(signed_in(running, running.new_key(role))) as browser:
                shown = browser.get(page, params={"map": "shown"})
                assert (shown.status_code == 200) is named
                assert all((f"{page}/{name}" in shown.text) is named for name in NAMES)
                assert browser.get(f"{page}/{NAMES[0]}").status_code == (200 if named else 403)
        for file in (tmp_path / "home").rglob("*.dcm"):
            file.unlink()
        assert_problem(running.client.get(f"{location}/{NAMES[0]}"), 409, "run-state")
        monkeypatch.setitem(sys.modules, "highdicom", None)
        problem = assert_problem(running.client.get(f"{location}/{NAMES[0]}"), 501, "dicom-not-installed")
        assert "pip install '.[slides,dicom]'" in problem["detail"]

"""The stack offers the slides of a folder of the machine, and scores them in a confined process."""

from __future__ import annotations

import csv
import io
import time
from collections.abc import Callable

import numpy as np
import pytest

from tests.docker.stack import Stack
from tests.slides.made import tissue, write_svs

PATIENCE_S = 300


@pytest.fixture(scope="module")
def stack(new_stack: Callable[..., Stack], tmp_path_factory: pytest.TempPathFactory) -> Stack:
    folder = tmp_path_factory.mktemp("slides")
    write_svs(folder / "slide.svs", tissue(["tnt.n", "nttn.", "n.ntt"], 1.944), 0.499)
    folder.chmod(0o755)  # for user 10001
    running = new_stack("slides", ROSETTE_SLIDES_FOLDER=str(folder))
    running.up()
    return running


def test_a_slide_is_scored_to_the_bits_of_its_patches(stack: Stack) -> None:
    with stack.client() as client:
        offered = client.get("/slides").json()
        assert offered["unavailable"] == "", offered
        [slide] = offered["slides"]
        assert (slide["name"], slide["state"]) == ("slide.svs", "ready"), slide
        started = client.post(f"/slides/{slide['id']}/scores", json={})
        assert started.status_code == 202, started.text
        run = client.get(started.headers["location"]).json()
        deadline = time.monotonic() + PATIENCE_S
        while run["state"] in {"queued", "running"} and time.monotonic() < deadline:
            time.sleep(1)
            run = client.get(started.headers["location"]).json()
        assert run["state"] == "complete", run
        rows = list(csv.DictReader(io.StringIO(client.get(f"/runs/{run['id']}/cells.csv").text)))
        scored = [row for row in rows if row["state"] == "scored"][:5]
        assert scored
        for row in scored:
            patch = client.get(f"/slides/{slide['id']}/cells/{row['column']}/{row['row']}.png").content
            answer = client.post("/predict", content=patch, headers={"Content-Type": "image/png"}).json()
            logits = [float.fromhex(row["logit_0"]), float.fromhex(row["logit_1"])]
            assert np.array(answer["logits"], np.float32).tobytes() == np.array(logits, np.float32).tobytes()


def test_a_container_cannot_write_to_the_slides(stack: Stack) -> None:
    program = "import os; print(os.access('/slides', os.W_OK))"
    assert stack.compose("exec", "-T", "app", "python", "-c", program).strip() == "False"

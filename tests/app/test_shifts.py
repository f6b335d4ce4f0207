"""Answers at offsets of a few pixels."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from model_zoo.network import Network
from model_zoo.orbit import Rotations
from model_zoo.shifts import OFFSETS_PX, Shifts, shift_report, shifted
from model_zoo.turns import Patch
from tests.app.conftest import RunningServer, assert_problem, encoded

WIDE = os.environ | {"COLUMNS": "200"}
PNG = {"Content-Type": "image/png"}


def ask(client: httpx.Client, image: bytes, key: str | None = None, **params: str) -> httpx.Response:
    headers = PNG | ({"Idempotency-Key": key} if key else {})
    return client.post("/predict", content=image, headers=headers, params=params)


def test_the_offsets_are_the_centre_and_eight_around_it() -> None:
    assert OFFSETS_PX[0] == (0, 0)
    assert sorted(OFFSETS_PX) == [(dx, dy) for dx in (-4, 0, 4) for dy in (-4, 0, 4)]


def test_a_shift_moves_the_cut_right_and_down_and_reflects_the_edge(tumour: Patch) -> None:
    found = dict(zip(OFFSETS_PX, shifted(tumour), strict=True))
    assert np.array_equal(found[0, 0], tumour)
    right, up = found[4, 0], found[0, -4]
    assert np.array_equal(right[:, :92], tumour[:, 4:])
    assert np.array_equal(right[:, 92:], tumour[:, 94:90:-1])
    assert np.array_equal(up[4:], tumour[:92])
    assert np.array_equal(up[:4], tumour[4:0:-1])


def test_the_figures_of_shifts() -> None:
    report = shift_report([0.6, *([0.6] * 6), 0.4, 0.2], threshold=0.5)
    assert report.max_deviation == pytest.approx(abs(0.2 - 4.8 / 9))
    assert report.label_agreement == pytest.approx(7 / 9)
    assert report.edges == "reflected"


@pytest.mark.parametrize("rotations", ["full", "none"])
def test_an_answer_reports_shifts_and_decides_without_them(
    server: RunningServer, network: Network, tumour: Patch, png: bytes, rotations: str
) -> None:
    plain = ask(server.client, png, rotations=rotations).json()
    answer = ask(server.client, png, rotations=rotations, shifts="report").json()
    assert plain["shifts"] is None
    shifts = answer["shifts"]
    assert shifts["offsets_px"] == [list(offset) for offset in OFFSETS_PX]
    alone = [float(network.probabilities(network.logits(each[None]))[0]) for each in shifted(tumour)]
    assert shifts["probabilities"] == alone
    assert alone[0] == answer["consistency"]["probabilities"][0]
    assert shifts["max_deviation"] == pytest.approx(max(abs(p - np.mean(alone)) for p in alone))
    for name in ("label", "probability", "basis", "logits", "decision", "reasons", "consistency", "quality"):
        assert answer[name] == plain[name]
    assert server.client.get(f"/predictions/{answer['id']}").json() == answer


def test_a_batch_reports_shifts_for_each_patch(server: RunningServer, png: bytes, network: Network) -> None:
    turned = encoded(np.rot90(np.zeros((96, 96, 3), np.uint8)))
    files = [("file", png), ("file", b"no image"), ("file", turned)]
    response = server.client.post("/predict/batch", files=files, params={"rotations": "none", "shifts": "report"})
    first, refused, last = response.json()["results"]
    assert first["shifts"] == ask(server.client, png, shifts="report").json()["shifts"]
    assert refused["type"] == "/problems/not-an-image"
    assert last["decision"] == "not_assessable"
    assert len(set(last["shifts"]["probabilities"])) == 1


def test_the_log_has_the_largest_deviation(server: RunningServer, png: bytes) -> None:
    ask(server.client, png, case_id="shifted", shifts="report")
    ask(server.client, png, case_id="shifted")
    head, plain, reported = server.client.get("/predictions/export.csv", params={"case_id": "shifted"}).text.split(
        "\r\n"
    )[:3]
    rows = [dict(zip(head.split(","), line.split(","), strict=True)) for line in (plain, reported)]
    assert [(row["shifts"], bool(row["shift_deviation"])) for row in rows] == [("none", False), ("report", True)]


def test_shifts_are_part_of_a_repeatable_request(server: RunningServer, png: bytes) -> None:
    first = ask(server.client, png, "with-shifts", shifts="report")
    again = ask(server.client, png, "with-shifts", shifts="report")
    assert again.content == first.content
    assert_problem(ask(server.client, png, "with-shifts"), 422, "idempotency-mismatch")
    none = ask(server.client, png, "without-shifts")
    assert ask(server.client, png, "without-shifts", shifts="none").content == none.content


@pytest.mark.parametrize("value", ["", "all", "REPORT", "report&shifts=none"])
def test_other_values_are_refused(server: RunningServer, png: bytes, value: str) -> None:
    response = server.client.post(f"/predict?shifts={value}", content=png, headers=PNG)
    assert "shifts" in assert_problem(response, 422, "invalid-parameter")["detail"]


@pytest.mark.parametrize("rotations", list(Rotations))
def test_requests_with_and_without_shifts_wait_together(
    server: RunningServer, png: bytes, rotations: Rotations
) -> None:
    """Patches that share a call of the network are those that nothing else is asked about."""
    import asyncio

    async def ask_all() -> list[Any]:
        async with httpx.AsyncClient(base_url=server.url, headers=server.client.headers, timeout=60) as client:
            asked = [
                client.post("/predict", content=png, headers=PNG, params={"rotations": rotations, "shifts": shifts})
                for shifts in list(Shifts) * 6
            ]
            return [response.json()["shifts"] is not None for response in await asyncio.gather(*asked)]

    assert asyncio.run(ask_all()) == [False, True] * 6


def test_the_command_reports_shifts(png: bytes, tmp_path: Path, server: RunningServer) -> None:
    image = tmp_path / "patch.png"
    image.write_bytes(png)
    program = [str(Path(sys.executable).with_name("rosette")), "predict", "--json", "--shifts", "report", str(image)]
    program += ["--model", "balanced"]
    told = subprocess.run(program, capture_output=True, text=True, check=True, timeout=120)
    shifts = ask(server.client, png, shifts="report").json()["shifts"]
    assert json.loads(told.stdout)["shifts"] == shifts
    program[2] = "--table"
    table = subprocess.run(program, capture_output=True, text=True, check=True, timeout=120, env=WIDE)
    assert f"{shifts['max_deviation']:.3f}" in table.stdout

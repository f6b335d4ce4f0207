"""Which slides are offered, and what is shown of them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from contextlib import closing
from io import BytesIO
from pathlib import Path

import httpx
import numpy as np
import openslide
import pytest
from PIL import Image

from app.access.caller import Role
from app.slides.service import SlideService
from slides.opened import open_model, open_slide
from slides.patch import patch_of
from slides.reader import Pixels
from tests.app.conftest import RunningServer, assert_problem
from tests.app.slides.conftest import listed
from tests.conftest import shipped_artifact
from tests.homes import furnish
from tests.processes import KEY, Server
from tests.slides.made import spoil_tile, tissue, write_svs
from tests.web.conftest import signed_in

WHOLE = "ward 7/Ada Lovelace.svs"


def picture_of(data: bytes) -> Pixels:
    return np.array(Image.open(BytesIO(data)).convert("RGB"))


def far(found: Pixels, expected: Pixels) -> float:
    """Mean difference in grey levels."""
    assert found.shape == expected.shape
    return float(np.abs(found.astype(int) - expected.astype(int)).mean())


def test_slides_and_why_others_are_refused(offered: RunningServer, pixels: Pixels) -> None:
    slides = listed(offered)
    whole = slides.pop(WHOLE)
    assert (whole["state"], whole["reason"], whole["last_run"]) == ("ready", "", None)
    assert (whole["height"], whole["width"]) == pixels.shape[:2]
    assert (whole["microns_per_pixel"], whole["vendor"]) == (0.499, "aperio")
    assert slides.pop("linked in.svs")["state"] == "ready"
    assert {slide["state"] for slide in slides.values()} == {"refused"}
    said = {name: slide["reason"] for name, slide in slides.items()}
    assert set(said) == {"linked out.svs", "cut short.svs", "empty.svs", "without scale.tif"}
    assert "leads out of the configured folder" in said["linked out.svs"]
    assert "empty" in said["empty.svs"]
    assert "microns per pixel" in said["without scale.tif"]


def test_a_name_that_is_no_text_hides_no_other_slide(tmp_path: Path, artifact_path: Path) -> None:
    offered = tmp_path / "offered"
    offered.mkdir()
    (offered / "a.svs").touch()
    (offered / os.fsdecode(b"caf\xe9.svs")).touch()
    with RunningServer(tmp_path / "home", artifact_path, slides=str(offered)) as running:
        slides = listed(running)
        assert set(slides) == {"a.svs", "caf\N{REPLACEMENT CHARACTER}.svs"}
        odd = slides["caf\N{REPLACEMENT CHARACTER}.svs"]
        assert (odd["state"], odd["reason"]) == (
            "refused",
            "its name, or that of a folder above it, is not UTF-8: rename it",
        )
        assert_problem(running.client.get(f"/slides/{odd['id']}/thumbnail"), 409, "slide-refused")
        with closing(signed_in(running, running.key)) as browser:
            shown = browser.get("/ui/slides")
        assert (shown.status_code, "is not UTF-8: rename it" in shown.text) == (200, True)


def test_names_are_for_those_who_read_everything(offered: RunningServer) -> None:
    listed(offered)
    everything = offered.client.get("/slides").json()
    for role in (Role.READ, Role.REVIEW):
        with offered.new_client(role) as client:
            assert client.get("/slides").json() == everything
    with offered.new_client(Role.PREDICT) as client:
        answer = client.get("/slides")
        assert {slide["name"] for slide in answer.json()["slides"]} == {None}
        assert [slide["id"] for slide in answer.json()["slides"]] == [slide["id"] for slide in everything["slides"]]
        for word in ("Ada", "Lovelace", "ward", "cut short", "linked", "without scale"):
            assert word not in answer.text


def test_ids_are_opaque_and_outlast_a_restart(
    offered: RunningServer, folder: Path, tmp_path: Path, artifact_path: Path
) -> None:
    ids = {name: slide["id"] for name, slide in listed(offered).items()}
    with RunningServer(tmp_path / "home", artifact_path, slides=str(folder)) as other:
        others = {name: slide["id"] for name, slide in listed(other).items()}
        assert not set(others.values()) & set(ids.values())
        key = other.key
    with RunningServer(tmp_path / "home", artifact_path, slides=str(folder)) as same:
        same.client.headers["Authorization"] = f"Bearer {key}"
        assert {name: slide["id"] for name, slide in listed(same).items()} == others


def test_a_thumbnail_shows_the_slide(offered: RunningServer, slide_id: str, pixels: Pixels) -> None:
    response = offered.client.get(f"/slides/{slide_id}/thumbnail", params={"max_px": 200})
    assert response.headers["content-type"] == "image/jpeg"
    found = picture_of(response.content)
    assert max(found.shape) == 200
    expected = Image.fromarray(pixels).resize((found.shape[1], found.shape[0]), Image.Resampling.BOX)
    assert far(found, np.array(expected)) < 8


def test_tiles_show_the_slide_at_every_level(offered: RunningServer, slide_id: str, pixels: Pixels) -> None:
    tiles = offered.client.get(f"/slides/{slide_id}").json()["tiles"]
    assert (tiles["height"], tiles["width"]) == pixels.shape[:2]
    assert 2 ** (tiles["levels"] - 1) >= max(pixels.shape) > 2 ** (tiles["levels"] - 2)
    for level in range(tiles["levels"]):
        factor = 2 ** (tiles["levels"] - 1 - level)
        width, height = -(-tiles["width"] // factor), -(-tiles["height"] // factor)
        expected = np.array(Image.fromarray(pixels).resize((width, height), Image.Resampling.BOX))
        for row in range(-(-height // 254)):
            for column in range(-(-width // 254)):
                response = offered.client.get(f"/slides/{slide_id}/tiles/{level}/{column}_{row}.jpeg")
                top, left = max(0, 254 * row - 1), max(0, 254 * column - 1)
                part = expected[top : 254 * (row + 1) + 1, left : 254 * (column + 1) + 1]
                assert far(picture_of(response.content), part) < (10 if width > 16 else 25), (level, column, row)


@pytest.mark.parametrize("part", ["tiles/99/0_0.jpeg", "tiles/3/9_0.jpeg", "tiles/3/0_2147483647.jpeg"])
def test_tiles_that_do_not_exist(offered: RunningServer, slide_id: str, part: str) -> None:
    response = offered.client.get(f"/slides/{slide_id}/{part}")
    if "99" in part:
        assert_problem(response, 422, "invalid-parameter")
    else:
        assert_problem(response, 404, "unknown-part")


@pytest.mark.parametrize(
    "wrong",
    [
        *("0" * 32, "0" * 31, "0" * 32 + "%0a", "A" * 32, "%00"),
        *("..%2f..%2fsecret", "..%2fsecret.svs", "%2e%2e", "ward%207%2fAda%20Lovelace.svs"),
    ],
)
def test_nothing_else_is_a_slide(offered: RunningServer, wrong: str) -> None:
    for rest in ("", "/thumbnail", "/tiles/0/0_0.jpeg", "/cells/0/0.png"):
        response = offered.client.get(f"/slides/{wrong}{rest}")
        assert response.status_code in {404, 422}
        assert "secret" not in response.json()["detail"]


@pytest.mark.parametrize("run", ["x", "\x00", "0" * 31, "9" * 5000])
def test_what_is_no_id_of_a_run_is_not_looked_for(offered: RunningServer, slide_id: str, run: str) -> None:
    assert_problem(
        offered.client.get(f"/slides/{slide_id}/cells/0/0.png", params={"run": run}), 422, "invalid-parameter"
    )


def test_a_refused_slide_shows_nothing(offered: RunningServer) -> None:
    slides = listed(offered)
    for name in ("linked out.svs", "cut short.svs", "empty.svs"):
        slide = f"/slides/{slides[name]['id']}"
        assert_problem(offered.client.get(f"{slide}/thumbnail"), 409, "slide-refused")
        assert_problem(offered.client.get(f"{slide}/tiles/0/0_0.jpeg"), 409, "slide-refused")
        assert_problem(offered.client.post(f"{slide}/scores", json={}), 409, "slide-refused")
    without_scale = f"/slides/{slides['without scale.tif']['id']}"
    assert offered.client.get(f"{without_scale}/thumbnail").status_code == 200
    assert_problem(offered.client.get(f"{without_scale}/cells/0/0.png"), 404, "unknown-part")
    assert_problem(offered.client.post(f"{without_scale}/scores", json={}), 409, "slide-refused")


def test_a_cell_is_the_patch_that_a_run_scores(offered: RunningServer, slide_id: str, folder: Path) -> None:
    with open_slide(folder / WHOLE, open_model(shipped_artifact()).manifest, None) as opened:
        for column, row in [(0, 0), (3, 5), (14, 11)]:
            response = offered.client.get(f"/slides/{slide_id}/cells/{column}/{row}.png")
            patch = patch_of(opened, column, row)
            assert patch is not None
            assert np.array_equal(picture_of(response.content), patch)
    assert_problem(offered.client.get(f"/slides/{slide_id}/cells/15/0.png"), 404, "unknown-part")


@pytest.fixture
def changing(tmp_path: Path, artifact_path: Path) -> tuple[Path, Path, dict[str, object]]:
    folder = tmp_path / "offered"
    folder.mkdir()
    return folder, folder / "changing.svs", {"slides": str(folder), "deadline_s": 300}


def test_a_file_that_is_replaced_while_open_is_opened_anew(
    changing: tuple[Path, Path, dict[str, object]], tmp_path: Path, artifact_path: Path
) -> None:
    folder, path, settings = changing
    first, second = tissue(["t"]), tissue(["n"])
    write_svs(path, first, 0.97)
    secret = write_svs(tmp_path / "secret.svs", second, 0.97)
    with RunningServer(tmp_path / "home", artifact_path, **settings) as running:
        slide = f"/slides/{listed(running)['changing.svs']['id']}"
        tile = f"{slide}/tiles/7/0_0.jpeg"
        assert far(picture_of(running.client.get(tile).content), first) < 10
        write_svs(folder / "other.part", second, 0.97).replace(path)
        assert far(picture_of(running.client.get(tile).content), second) < 10
        path.unlink()
        path.symlink_to(secret)
        assert_problem(running.client.get(tile), 409, "slide-refused")
        path.unlink()
        assert_problem(running.client.get(tile), 404, "unknown-slide")
        spoilt = write_svs(path, first, 0.97)
        spoil_tile(spoilt, 0, 0)
        grey = picture_of(running.client.get(tile).content)
        assert far(grey, np.full_like(grey, 128)) < 2


def test_a_process_that_dies_is_replaced(offered: RunningServer, slide_id: str, slide_service: SlideService) -> None:
    def cell(row: int) -> httpx.Response:
        return offered.client.get(f"/slides/{slide_id}/cells/9/{row}.png")

    assert cell(8).status_code == 200
    before = set(slide_service._processes.pids)
    assert before
    for pid in before:
        os.kill(pid, signal.SIGKILL)
    assert cell(9).status_code == 200
    assert set(slide_service._processes.pids) - before


def test_without_a_setting_the_list_says_which(server: RunningServer) -> None:
    answer = server.client.get("/slides").json()
    assert answer["slides"] == []
    assert "set ROSETTE_SLIDES" in answer["unavailable"]
    assert_problem(server.client.get(f"/slides/{'0' * 32}"), 404, "unknown-slide")


def test_without_the_extra_every_route_of_slides_names_it(tmp_path: Path, artifact_path: Path) -> None:
    """A server whose Python does not find OpenSlide."""
    furnish(tmp_path, artifact_path)
    program = (
        "import sys; sys.modules['openslide'] = None; from model_zoo.cli import main; sys.argv[1:] = ['serve']; main()"
    )
    environment = os.environ | {"ROSETTE_HOME": str(tmp_path), "ROSETTE_PORT": "0", "ROSETTE_ADMIN_KEY": KEY}
    environment |= {"ROSETTE_INFERENCE_PROCESSES": "1", "ROSETTE_SLIDES": str(tmp_path)}
    with subprocess.Popen(
        [sys.executable, "-c", program], env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as process:
        server = Server(process)
        try:
            headers = {"Authorization": f"Bearer {KEY}"}
            with httpx.Client(base_url=server.wait_until_it_listens(), headers=headers, timeout=60) as client:
                slide = f"/slides/{'0' * 32}"
                for path in ("/slides", slide, f"{slide}/thumbnail", f"{slide}/tiles/0/0_0.jpeg"):
                    problem = assert_problem(client.get(path), 501, "slides-not-installed")
                    assert "pip install '.[slides]'" in problem["detail"]
                assert_problem(client.post(f"{slide}/scores", json={}), 501, "slides-not-installed")
                assert client.get("/runs").json()["runs"] == []
        finally:
            server.kill()


def test_a_real_slide(shared: Path, tmp_path: Path, artifact_path: Path) -> None:
    file = shared / "slides" / "CMU-1-Small-Region.svs"
    if not file.exists():
        pytest.skip(f"no slide at {file}")
    with RunningServer(tmp_path / "home", artifact_path, slides=str(file.parent), deadline_s=300) as running:
        slide = listed(running)[file.name]
        assert (slide["state"], slide["width"], slide["height"]) == ("ready", 2220, 2967)
        assert (slide["microns_per_pixel"], slide["vendor"]) == (0.499, "aperio")
        with openslide.OpenSlide(file) as reader:
            expected = np.asarray(reader.read_region((253, 253), 0, (256, 256)).convert("RGB"))
        tile = running.client.get(f"/slides/{slide['id']}/tiles/12/1_1.jpeg")
        assert tile.headers["cache-control"] == "private, max-age=3600"
        assert far(picture_of(tile.content), expected) < 5


def test_a_relative_folder_stops_the_start(tmp_path: Path, artifact_path: Path) -> None:
    with pytest.raises(ValueError, match="absolute paths"):
        RunningServer(tmp_path, artifact_path, slides="slides")

"""A server that offers a folder of slides: good ones, damaged ones and links."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from app.slides.service import SlideService
from slides.reader import Pixels
from tests.app.conftest import RunningServer
from tests.slides.made import tissue, write_svs, write_tiff

DRAWING = ["tnt.n", "nttn.", "n.ntt", ".nn.t"]
SCALE = 1.944  # level-0 pixels to one of the model's


@pytest.fixture(scope="session")
def pixels() -> Pixels:
    return tissue(DRAWING, SCALE)


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory, pixels: Pixels) -> Path:
    """Slides below ``offered``, and what nobody may see beside it."""
    outside = tmp_path_factory.mktemp("slides")
    folder = outside / "offered"
    (folder / "ward 7").mkdir(parents=True)
    write_svs(folder / "ward 7" / "Ada Lovelace.svs", pixels, 0.499, levels=[4])
    write_svs(outside / "secret.svs", pixels, 0.499)
    (folder / "linked out.svs").symlink_to(outside / "secret.svs")
    (folder / "linked in.svs").symlink_to("ward 7/Ada Lovelace.svs")
    (folder / "folder out").symlink_to(outside)
    whole = (folder / "ward 7" / "Ada Lovelace.svs").read_bytes()
    (folder / "cut short.svs").write_bytes(whole[: len(whole) // 2])
    (folder / "empty.svs").touch()
    write_tiff(folder / "without scale.tif", pixels[:300, :300], None)
    (folder / ".hidden.svs").write_bytes(whole)
    (folder / "notes.txt").write_text("no slide")
    return folder


@pytest.fixture(scope="module")
def offered(tmp_path_factory: pytest.TempPathFactory, artifact_path: Path, folder: Path) -> Iterator[RunningServer]:
    home = tmp_path_factory.mktemp("home")
    with RunningServer(home, artifact_path, slides=str(folder), deadline_s=300) as running:
        yield running


@pytest.fixture(scope="module")
def slide_service(offered: RunningServer) -> SlideService:
    return offered.services.slides


def listed(running: RunningServer) -> dict[str, dict[str, Any]]:
    """The slides by their names, when all have been opened."""
    while True:
        found: list[dict[str, Any]] = running.client.get("/slides").json()["slides"]
        if all(each["state"] != "waiting" for each in found):
            return {each["name"]: each for each in found}


@pytest.fixture
def slide_id(offered: RunningServer) -> str:
    """Of the one that is whole and has a pyramid."""
    found: str = listed(offered)["ward 7/Ada Lovelace.svs"]["id"]
    return found

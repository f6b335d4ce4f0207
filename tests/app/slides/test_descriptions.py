"""What slides say of themselves is kept over a restart, and only for the same file, model and reader."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from app.slides.descriptions import Description, Descriptions, Kept
from slides.reader import Pixels
from tests.app.conftest import RunningServer
from tests.slides.made import write_svs

ONE = Description(width=3, height=4, bounds=[0, 0, 3, 4], levels=3, vendor="aperio", microns_per_pixel=0.5)


def listed(running: RunningServer) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = running.client.get("/slides").json()["slides"]
    return found


def test_no_slide_is_opened_again_after_a_restart(
    tmp_path: Path, artifact_path: Path, pixels: Pixels, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "slides"
    folder.mkdir()
    write_svs(folder / "a.svs", pixels, 0.499)
    (folder / "b.svs").write_bytes((folder / "a.svs").read_bytes()[:5000])
    settings = {"slides": str(folder), "deadline_s": 300}
    with RunningServer(tmp_path / "home", artifact_path, **settings) as running:
        first = listed(running)
        while any(slide["state"] == "waiting" for slide in first):
            first = listed(running)
        key = running.key
        kept = tmp_path / "home" / "slides" / "descriptions.json"
    assert kept.exists()
    with RunningServer(tmp_path / "home", artifact_path, **settings) as running:
        running.client.headers["Authorization"] = f"Bearer {key}"
        catalogue = running.services.slides.catalogue
        second = listed(running)
        opened = catalogue._opened
    assert second == first
    assert opened == 0


def test_what_was_kept_is_read_again(tmp_path: Path) -> None:
    store = Descriptions(tmp_path / "home" / "descriptions.json")
    assert store.read() == {}
    known = {
        "a": Kept(version=[1, 2**62], scale=0.97, found=ONE),
        "b": Kept(version=[3], scale=None, found="it is damaged"),
    }
    store.write(known)
    assert store.read() == known


@pytest.mark.parametrize("change", [b"", b"{}", b'{"reader": "another", "slides": {}}', b"\xff" * 9])
def test_a_damaged_file_is_as_none(tmp_path: Path, change: bytes) -> None:
    path = tmp_path / "descriptions.json"
    path.write_bytes(change)
    assert Descriptions(path).read() == {}


def test_a_folder_that_cannot_be_written_stops_nothing(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    Descriptions(tmp_path / "file" / "descriptions.json").write({})

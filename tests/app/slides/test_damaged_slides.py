"""Damaged files: each is shown or refused in a sentence, whatever became of the process that read it."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from app.slides.descriptions import Description
from app.slides.folders import find_slides
from app.slides.viewer import SlideProcesses, SlideRefusedError
from tests.scale import scaled
from tests.slides.made import tissue, write_svs

FILES = scaled(12, 300)


@pytest.mark.parametrize("seed", range(FILES))
def test_a_damaged_file_is_shown_or_refused(tmp_path: Path, seed: int) -> None:
    chance = random.Random(seed)
    path = write_svs(tmp_path / "damaged.svs", tissue(["tn", "nt"]), 0.97, levels=[2])
    data = bytearray(path.read_bytes())
    if chance.random() < 0.3:
        del data[chance.randrange(len(data)) :]
    where = chance.choice([(0, 16), (max(0, len(data) - 1200), len(data)), (0, len(data))])
    for _ in range(chance.choice([1, 4, 64])):
        if data:
            data[min(chance.randrange(*where), len(data) - 1)] = chance.choice(
                [0, 1, 0x7F, 0xFF, chance.randrange(256)]
            )
    path.write_bytes(data)
    [file] = find_slides([tmp_path], b"a secret")
    version = file.version()
    assert version is not None
    processes, refusal = SlideProcesses(), "none"
    try:
        header, _ = processes.ask(file, version, "describe", model_mpp=0.97)
        found = Description.model_validate(header)
        for level in range(found.levels):
            _, [tile] = processes.ask(file, version, "tile", level=level, column=0, row=0)
            assert tile.startswith(b"\xff\xd8\xff")
        _, [thumbnail] = processes.ask(file, version, "thumbnail", longest=256)
        assert thumbnail.startswith(b"\xff\xd8\xff")
        processes.ask(file, version, "patch", model_mpp=0.97, column=1, row=1)
    except SlideRefusedError as error:
        refusal = str(error)
    finally:
        processes.close()
    assert refusal
    assert str(tmp_path) not in refusal

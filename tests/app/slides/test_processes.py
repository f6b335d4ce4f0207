"""Processes that have slides open: few, and none is ended while it is at work."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from app.slides.folders import SlideFile, find_slides
from app.slides.viewer import PROCESSES, SlideProcesses
from tests.slides.made import tissue, write_svs


def test_more_slides_than_processes_are_all_answered(tmp_path: Path) -> None:
    pixels = tissue(["tn"])
    for index in range(PROCESSES + 2):
        write_svs(tmp_path / f"{index}.svs", pixels, 0.97)
    files = find_slides([tmp_path], b"a secret")
    processes = SlideProcesses()

    def asked(file: SlideFile) -> int:
        version = file.version()
        assert version is not None
        header, _ = processes.ask(file, version, "describe", model_mpp=0.97)
        for row in range(3):
            processes.ask(file, version, "patch", model_mpp=0.97, column=1, row=row)
        return int(header["width"])

    try:
        with ThreadPoolExecutor(3) as threads:
            assert set(threads.map(asked, files * 2)) == {pixels.shape[1]}
        assert len(processes.pids) <= PROCESSES
    finally:
        processes.close()
    assert processes.pids == []

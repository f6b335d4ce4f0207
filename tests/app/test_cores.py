"""The number of cores under a CPU quota of a container."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from app.cores import usable_cores

AFFINITY = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def cores(tmp_path: Path, own: str, files: dict[str, str]) -> int:
    (tmp_path / "own").write_text(own)
    for name, text in files.items():
        file = tmp_path / "cgroup" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    return usable_cores(tmp_path / "cgroup", tmp_path / "own")


@pytest.mark.parametrize(
    ("own", "files", "quota"),
    [
        ("0::/\n", {"cpu.max": "100000 100000\n"}, 1),
        ("0::/\n", {"cpu.max": "max 100000\n"}, None),
        ("0::/a/b\n", {"a/b/cpu.max": "max 100000\n", "a/cpu.max": "50000 100000\n", "cpu.max": "max 100000"}, 1),
        ("0::/not/seen/from/here\n", {"cpu.max": "10000 100000\n"}, 1),
        ("3:memory:/\n1:cpu:/a\n", {"cpu/a/cpu.cfs_quota_us": "150000", "cpu/a/cpu.cfs_period_us": "100000"}, 2),
        ("1:cpu,cpuacct:/\n", {"cpu,cpuacct/cpu.cfs_quota_us": "-1", "cpu,cpuacct/cpu.cfs_period_us": "100000"}, None),
        ("1:cpu:/\n", {"cpu/cpu.cfs_quota_us": "100000", "cpu/cpu.cfs_period_us": "100000"}, 1),
        ("", {}, None),
    ],
)
def test_a_quota_is_rounded_up_and_never_more_than_the_machine(
    tmp_path: Path, own: str, files: dict[str, str], quota: int | None
) -> None:
    assert cores(tmp_path, own, files) == min(AFFINITY, quota or AFFINITY)

"""The number of cores that this process may use."""

from __future__ import annotations

import os
from math import ceil, inf
from pathlib import Path

CGROUPS = Path("/sys/fs/cgroup")
OWN_CGROUPS = Path("/proc/self/cgroup")


def usable_cores(cgroups: Path = CGROUPS, own: Path = OWN_CGROUPS) -> int:
    """The cores that this process may run on, or fewer if a container's CPU quota (cgroup v1 or v2) is less.

    Args:
        cgroups: where control groups are mounted.
        own: the file that names the groups of the process.
    """
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, ceil(min(cores, _quota(cgroups, own))))


def _quota(cgroups: Path, own: Path) -> float:
    """The smallest quota of the process's groups and their parents, in cores; infinite if there is none."""
    quotas = [inf]
    for line in _text(own).splitlines():
        _, controllers, group = line.split(":", 2)
        if controllers and "cpu" not in controllers.split(","):
            continue
        top = cgroups / controllers if controllers else cgroups
        folder = top / group.lstrip("/")
        if not folder.is_dir():  # a container sees its own group as the root
            folder = top
        for each in (folder, *folder.parents):
            quotas.append(_quota_of(each))
            if each == top:
                break
    return min(quotas)


def _quota_of(folder: Path) -> float:
    quota, period = _text(folder / "cpu.max").split() or [
        _text(folder / "cpu.cfs_quota_us").strip() or "max",
        _text(folder / "cpu.cfs_period_us").strip() or "1",
    ]
    return inf if quota in {"max", "-1"} else int(quota) / int(period)


def _text(file: Path) -> str:
    try:
        return file.read_text(encoding="ascii")
    except OSError:
        return ""

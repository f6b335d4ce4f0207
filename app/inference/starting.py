"""Starts an inference process, which sees nothing of the settings: passwords and keys are among them."""

from __future__ import annotations

import os
import subprocess
import sys

# Variables that the loader, the memory allocator, threads and Python read, by their beginnings.
KEPT = ("PATH", "HOME", "TMPDIR", "LANG", "LC_", "LD_", "DYLD_", "PYTHON", "MALLOC_", "OMP_", "OPENBLAS_", "ORT_")


def started(descriptors: tuple[int, int], helpers: int) -> subprocess.Popen[bytes]:
    """Start a process in its own group.

    Args:
        descriptors: of the sockets for jobs and for models, which it keeps open.
        helpers: threads at most that may help with an orbit.
    """
    return subprocess.Popen(
        [sys.executable, "-m", "app.inference.process", *map(str, descriptors), str(helpers)],
        pass_fds=descriptors,
        stdin=subprocess.DEVNULL,
        env={name: value for name, value in os.environ.items() if name.startswith(KEPT)},
        process_group=0,
    )

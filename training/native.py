"""C kernels for training on a CPU in bfloat16, where PyTorch's operators take most of a step.

They are compiled on first use with the system's C compiler. Without a compiler, or on another device or
precision, use PyTorch's operators: check :func:`kernels` and :func:`suits` first.
"""

from __future__ import annotations

import ctypes
import hashlib
import os
import shutil
import subprocess
import tempfile
from functools import cache
from pathlib import Path

import torch
from torch import Tensor

FOLDER = Path(__file__).parent
# The parts of -ffast-math: with that flag itself, or -funsafe-math-optimizations, gcc links code that makes the whole
# process round denormals to zero as soon as the library is loaded.
ARITHMETIC = ["-fno-math-errno", "-fassociative-math", "-freciprocal-math", "-fno-signed-zeros", "-fno-trapping-math"]
FLAGS = ["-O3", "-march=native", *ARITHMETIC, "-fopenmp", "-shared", "-fPIC"]


@cache
def kernels() -> ctypes.CDLL | None:
    """All kernels in one library, or None if it cannot be built."""
    compiler = shutil.which(os.environ.get("CC", "cc"))
    if compiler is None:
        return None
    headers, sources = (sorted(FOLDER.glob(pattern)) for pattern in ("*.h", "*.c"))
    machine = Path("/proc/cpuinfo").read_bytes()[:4096]
    content = b"".join(file.read_bytes() for file in (*headers, *sources))
    key = hashlib.sha256(content + " ".join(FLAGS).encode() + machine).hexdigest()[:16]
    cache_dir = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "rosette"
    library = cache_dir / f"kernels-{key}.so"
    if not library.exists():
        cache_dir.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=cache_dir) as build:
            target = Path(build) / library.name
            done = subprocess.run([compiler, *FLAGS, *sources, "-o", target], capture_output=True, check=False)
            if done.returncode:
                return None
            target.replace(library)
    return ctypes.CDLL(str(library))


def suits(x: Tensor) -> bool:
    """Whether the kernels exist and accept ``x``."""
    return x.dtype == torch.bfloat16 and x.device.type == "cpu" and kernels() is not None


def call(name: str, *arguments: Tensor | int | None) -> None:
    """Call a kernel: tensors are passed as pointers to their dense memory, numbers as C longs."""
    library = kernels()
    assert library is not None

    def passed(argument: Tensor | int | None) -> object:
        if isinstance(argument, Tensor):
            return ctypes.c_void_p(argument.data_ptr())
        return None if argument is None else ctypes.c_long(argument)

    getattr(library, name)(*map(passed, arguments))


def rows(x: Tensor) -> Tensor:
    """[N, C, H, W] as dense [N, H, W, C], a view if channels-last."""
    return x.permute(0, 2, 3, 1).contiguous()


def channels_last(x: Tensor) -> Tensor:
    """The inverse of :func:`rows`, a view."""
    return x.permute(0, 3, 1, 2)

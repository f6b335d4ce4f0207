"""Hide AVX-512 from the programs that are measured, so that a CPU that has it can stand for one without VNNI."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

SOURCE = Path(__file__).with_name("hide_avx512.c")


class HidingError(RuntimeError):
    """AVX-512 cannot be hidden on this machine."""


def hide_avx512(folder: Path) -> None:
    """Have every program that is started from now on find a CPU without AVX-512, AVX-VNNI and AMX.

    Args:
        folder: where the library that does this is built; it must stay as long as programs are started.

    Raises:
        HidingError: if there is no C compiler, its library cannot be loaded, or the CPU or the kernel lacks CPUID
            faulting.
    """
    compiler = shutil.which("cc")
    if compiler is None:
        raise HidingError("there is no C compiler: install one as the program cc")
    library = folder / "hide_avx512.so"
    built = subprocess.run(
        [compiler, "-O2", "-shared", "-fPIC", "-o", library, SOURCE], capture_output=True, text=True, check=False
    )
    if built.returncode:
        raise HidingError(f"{SOURCE.name} cannot be built:\n{built.stderr}")
    environment = os.environ | {"LD_PRELOAD": str(library)}
    tried = subprocess.run(["true"], env=environment, capture_output=True, text=True, check=False)
    if tried.returncode or tried.stderr:  # a library that cannot be loaded is only complained of
        raise HidingError(f"AVX-512 cannot be hidden: {tried.stderr.strip()}")
    os.environ["LD_PRELOAD"] = str(library)

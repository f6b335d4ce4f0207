"""Builds the ``_kernels.c`` of packages with them; without a C compiler the packages are built all the same."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

PACKAGES = ("model_zoo", "slides")
# The loops use integers only; no option may let a later one with floats depend on the CPU.
FLAGS = [] if os.name == "nt" else ["-O2", "-g0", "-ffp-contract=off", "-fno-fast-math"]


class KernelsHook(BuildHookInterface[Any]):
    """Adds the compiled modules to a wheel, or puts them beside their sources for an editable installation."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        root = Path(self.root)
        for package in PACKAGES:
            library = compiled(root, package, root if version == "editable" else root / "build" / "kernels")
            if library is None:
                self.app.display_warning(f"{package}/_kernels.c was not compiled: NumPy is used instead, it is slower")
                continue
            build_data["pure_python"] = False
            build_data["infer_tag"] = True
            if version != "editable":
                build_data["force_include"][str(library)] = f"{package}/{library.name}"


def compiled(root: Path, package: str, folder: Path) -> Path | None:
    """Compile a package's ``_kernels.c`` to ``folder``; gives the module's file, or None if that fails."""
    from setuptools import Distribution, Extension
    from setuptools.command.build_ext import build_ext

    extension = Extension(
        f"{package}._kernels",
        [str(root / package / "_kernels.c")],
        include_dirs=[str(root / "model_zoo")],  # kernels.h
        extra_compile_args=FLAGS,
    )
    command = build_ext(Distribution({"name": "rosette-pathology", "ext_modules": [extension]}))
    command.build_lib = str(folder)
    command.build_temp = str(folder / "build")
    command.force = True
    try:
        command.ensure_finalized()
        command.run()
    except Exception as error:  # compilers fail in many ways, none of which may fail the build
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        return None
    return Path(command.get_ext_fullpath(f"{package}._kernels"))

"""Runs a graph on patches on this machine's CPU, or on another CPU emulated by qemu.

The graph runs in a separate process, ``python -m training.study.replay FOLDER 0|1``. This module imports little,
because under emulation every import takes seconds.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import numpy.typing as npt
import onnxruntime as ort

from model_zoo.network import session_options

NATIVE = "native"
EMULATOR = "qemu-x86_64"
SETTING = "session.x64quantprecision"
PACKAGES = Path(__file__).parents[2]


class NotRunError(RuntimeError):
    """A replay failed; the message says why."""


@dataclass(frozen=True)
class Replay:
    """The results on one CPU.

    Attributes:
        tensors: every output of the graph by name, [N, ...].
        optimized: the graph as onnxruntime ran it there, as ONNX bytes.
    """

    tensors: dict[str, npt.NDArray[Any]]
    optimized: bytes


def replay(graph: bytes, patches: npt.NDArray[np.uint8], cpu: str, *, setting: bool, limit_s: float) -> Replay:
    """Run every patch by itself, as the server does.

    Args:
        graph: ONNX bytes; takes uint8 ``patches`` [N, 96, 96, 3].
        patches: uint8 [N, 96, 96, 3].
        cpu: ``"native"``, or a model that ``qemu-x86_64 -cpu help`` lists.
        setting: ``session.x64quantprecision``; all other options are the server's.
        limit_s: seconds after which the process is killed.

    Raises:
        NotRunError: if there is no emulator, or the process fails or exceeds the limit.
    """
    emulator = shutil.which(EMULATOR)
    if emulator is None and cpu != NATIVE:
        raise NotRunError(f"no {EMULATOR}: install the package qemu-user")
    emulated = [] if emulator is None or cpu == NATIVE else [emulator, "-cpu", cpu]
    with TemporaryDirectory() as folder:
        Path(folder, "graph.onnx").write_bytes(graph)
        np.save(Path(folder, "patches.npy"), patches)
        command = [*emulated, sys.executable, "-m", "training.study.replay", folder, str(int(setting))]
        try:
            done = subprocess.run(command, cwd=PACKAGES, capture_output=True, text=True, check=False, timeout=limit_s)
        except subprocess.TimeoutExpired as error:
            raise NotRunError(f"no answer within {limit_s:g} s") from error
        if done.returncode:
            said = done.stderr.strip().splitlines() or ["nothing on stderr"]
            raise NotRunError(f"the process ended with {done.returncode}: {said[-1]}")
        with np.load(Path(folder, "answers.npz")) as tensors:
            return Replay(dict(tensors), Path(folder, "optimized.onnx").read_bytes())


def emulator_version() -> str | None:
    """The version of the emulator, or None without one."""
    emulator = shutil.which(EMULATOR)
    if emulator is None:
        return None
    done = subprocess.run([emulator, "--version"], capture_output=True, text=True, check=True)
    return done.stdout.partition("\n")[0]


def _answer(folder: Path, setting: str) -> None:
    """Run ``graph.onnx`` on ``patches.npy``; write ``answers.npz`` and ``optimized.onnx`` beside them."""
    options = session_options()
    options.add_session_config_entry(SETTING, setting)
    options.optimized_model_filepath = str(folder / "optimized.onnx")
    graph = (folder / "graph.onnx").read_bytes()
    session = ort.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    rows = [session.run(names, {"patches": patch[None]}) for patch in np.load(folder / "patches.npy")]
    tensors: dict[str, Any] = {name: np.concatenate([row[i] for row in rows]) for i, name in enumerate(names)}
    np.savez(folder / "answers.npz", **tensors)


if __name__ == "__main__":
    _answer(Path(sys.argv[1]), sys.argv[2])

"""Trains cells, each in its own folder, several in parallel; skips finished ones."""

from __future__ import annotations

import ctypes
import gc
import os
import signal
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import Executor, ProcessPoolExecutor, as_completed
from contextlib import nullcontext, redirect_stdout
from multiprocessing import get_context, parent_process
from pathlib import Path
from time import perf_counter

import torch

from training.fit import Material, fit
from training.quantize.run import FIGURES, quantize_run
from training.study.cells import Cell

PROBES = 256
PR_SET_PDEATHSIG = 1

_material: Material


def finished(cell: Cell, runs: Path) -> Path | None:
    """The folder of a cell that has been trained and quantized, or None."""
    folder = runs / cell.key
    return folder if (folder / FIGURES).exists() else None


def workers(data: Path, *, jobs: int, threads: int) -> ProcessPoolExecutor:
    """Processes that train; each starts when there is work for it, and then reads the patches.

    On a CPU, one process per core with one thread each is faster than one process with all threads.

    Args:
        jobs: number of parallel cells.
        threads: threads of each.
    """
    return ProcessPoolExecutor(jobs, get_context("spawn"), _begin, (data, threads))


def run(
    cells: Sequence[Cell],
    data: Path,
    runs: Path,
    *,
    jobs: int,
    threads: int,
    tell: Callable[[str], None] = print,
    pool: Executor | None = None,
) -> None:
    """Train and quantize the unfinished cells; killed runs continue from their last epoch.

    Args:
        runs: folder for the cells' run folders, named by their keys.
        jobs, threads: as of :func:`workers`.
        tell: called with a line of progress.
        pool: :func:`workers` that stay for further cells; without it, processes for these cells alone.
    """
    todo = list({cell.key: cell for cell in cells if finished(cell, runs) is None}.values())
    tell(f"{len(cells) - len(todo)} of {len(cells)} networks are there; {len(todo)} to train")
    if not todo:
        return
    with nullcontext(pool) if pool else workers(data, jobs=jobs, threads=threads) as trainers:
        running = {trainers.submit(_complete, cell, runs): cell for cell in todo}
        for count, done in enumerate(as_completed(running), 1):
            cell = running[done]
            tell(f"[{count}/{len(todo)}] {cell.name}, seed {cell.recipe.seed}: {done.result():.0f} s ({cell.key})")


def _begin(data: Path, threads: int) -> None:
    global _material  # a process reads the patches once, for all of its cells
    if sys.platform == "linux":  # a killed study must not leave a worker that writes to the same folder as the next one
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        if (parent := parent_process()) is not None and not parent.is_alive():
            os._exit(1)  # it ended while this process imported torch
    torch.set_num_threads(threads)
    _material = Material.load(data)


def _complete(cell: Cell, runs: Path) -> float:
    started = perf_counter()
    folder = runs / cell.key
    with redirect_stdout(sys.stderr):
        fit(
            _material,
            folder,
            cell.topology,
            cell.recipe,
            teachers=cell.teachers,
            enable_progress_bar=False,
            enable_model_summary=False,
            devices=1,
        )
    quantize_run(folder, _material.choosing.images[:PROBES])
    gc.unfreeze()
    gc.collect()
    return perf_counter() - started

"""Training speed and peak memory of C12 and the conventional network of equal topology, in one run.

    python benchmarks/training_speed.py [fast|balanced] [THREADS]

The two are measured in alternating blocks, so that a drift of the machine's speed affects both; the ratio is that of
each pair of blocks, with the 2.5th and 97.5th percentile. Memory is measured in a separate process for each.
"""

from __future__ import annotations

import resource
import subprocess
import sys
from dataclasses import replace

import numpy as np
import torch

from training.mobilenetv2 import Topology
from training.speed import patches_per_second, trainer_of
from training.topologies import TOPOLOGIES

GROUPS = ("C12", "C1")
BLOCKS, SECONDS = 12, 3.0


def topology_of(name: str, group: str) -> Topology:
    return replace(TOPOLOGIES[name], group=group)


def main(name: str, threads: int) -> None:
    torch.set_num_threads(threads)
    steps = [trainer_of(topology_of(name, group)) for group in GROUPS]
    pairs = np.array([[patches_per_second(step, SECONDS) for step in steps] for _ in range(BLOCKS)])
    ratio = pairs[:, 0] / pairs[:, 1]
    low, high = np.percentile(ratio, [2.5, 97.5])
    c12, c1 = np.median(pairs, axis=0)
    print(f"{name}, {threads} threads: C12 {c12:.0f}, conventional {c1:.0f} patches/s")
    print(f"ratio {np.median(ratio):.3f} [{low:.3f}, {high:.3f}], n = {BLOCKS} pairs of blocks of {SECONDS:.0f} s")
    for group in GROUPS:
        child = [sys.executable, __file__, name, str(threads), group]
        peak = subprocess.run(child, check=True, capture_output=True, text=True).stdout
        print(f"{group}: peak memory {peak.strip()} MB, Python and its packages included, batches of 64")


def peak_memory(name: str, threads: int, group: str) -> None:
    torch.set_num_threads(threads)
    patches_per_second(trainer_of(topology_of(name, group)), SECONDS)
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024)


if __name__ == "__main__":
    name = sys.argv[1] if len(sys.argv) > 1 else "balanced"
    threads = int(sys.argv[2]) if len(sys.argv) > 2 else torch.get_num_threads()
    if len(sys.argv) > 3:
        peak_memory(name, threads, sys.argv[3])
    else:
        main(name, threads)

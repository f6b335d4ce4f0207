"""Time of one inference of an INT8 artifact and its float twin, one thread, in one run.

    python benchmarks/inference.py model_zoo/NAME.int8.onnx model_zoo/NAME.fp32.onnx

The two are measured in alternating blocks, so that a drift of the machine's speed affects both; the ratio is that of
the blocks' medians, with the 2.5th and 97.5th percentile over pairs of blocks.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

import numpy as np

from model_zoo.network import Network
from model_zoo.synthetic import synthetic_patch

BLOCKS, INFERENCES, WARM_UP = 40, 50, 10


def block(network: Network, patch: np.ndarray) -> float:
    """Median time of an inference in milliseconds."""
    for _ in range(WARM_UP):
        network.logits(patch)
    times = []
    for _ in range(INFERENCES):
        start = time.perf_counter()
        network.logits(patch)
        times.append(time.perf_counter() - start)
    return float(np.median(times)) * 1e3


def main(int8_file: Path, float_file: Path) -> None:
    int8, twin = (Network(file.read_bytes(), threads=1) for file in (int8_file, float_file))
    patch = synthetic_patch("tumour", 0)[None]
    pairs = np.array([(block(int8, patch), block(twin, patch)) for _ in range(BLOCKS)])
    ratio = pairs[:, 1] / pairs[:, 0]
    low, high = np.percentile(ratio, [2.5, 97.5])
    flags = Path("/proc/cpuinfo").read_text()
    print(f"INT8 {np.median(pairs[:, 0]):.3f} ms, float32 {np.median(pairs[:, 1]):.3f} ms a patch, one thread")
    print(f"INT8 is {np.median(ratio):.2f} times as fast [{low:.2f}, {high:.2f}], n = {BLOCKS} pairs of blocks")
    print(f"CPU with VNNI: {'yes' if 'avx512_vnni' in flags or 'avx_vnni' in flags else 'no'}")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))

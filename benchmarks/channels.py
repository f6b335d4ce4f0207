"""INT8 latency per multiplication of aligned and other channel counts, one thread, in one run.

    python benchmarks/channels.py

C12 gets counts that are multiples of 16 from field counts in fours (48, 96, 144 channels). The networks have random
weights and about equal cost, and are measured in alternating blocks.
"""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import onnx

from training.mobilenetv2 import MobileNetV2, Topology
from training.quantize.pipeline import quantize
from training.study.measure import latencies, macs

NETWORKS = {
    "48, 96 channels (4, 8 fields)": Topology(stages=((1, 48, 1, 2), (3, 48, 2, 1), (3, 96, 4, 2)), softened=()),
    "60, 84 channels (5, 7 fields)": Topology(stages=((1, 60, 1, 2), (3, 60, 1, 1), (3, 84, 5, 2)), softened=()),
    "36, 108 channels (3, 9 fields)": Topology(stages=((1, 36, 1, 2), (3, 36, 2, 1), (3, 108, 4, 2)), softened=()),
}
PROBES = np.random.default_rng(0).integers(0, 256, (4, 96, 96, 3), dtype=np.uint8)


def main() -> None:
    costs = []
    with TemporaryDirectory() as folder:
        files = []
        for i, topology in enumerate(NETWORKS.values()):
            network = MobileNetV2(topology).eval()
            costs.append(macs(network) / 1e6)
            files.append(Path(folder, f"{i}.onnx"))
            onnx.save(quantize(network, PROBES).int8, files[-1])
        times = latencies(files)
    for name, cost, time in zip(NETWORKS, costs, times, strict=True):
        per = [1e3 * value / cost for value in (time.value, time.low, time.high)]
        print(f"{name}: {cost:.1f} M MACs, {time.value:.3f} ms; {per[0]:.2f} [{per[1]:.2f}, {per[2]:.2f}] µs a M MACs")


if __name__ == "__main__":
    main()

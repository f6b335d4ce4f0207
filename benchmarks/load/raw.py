"""onnxruntime alone: a thread for each core, each calling one session that has ``intra_op_num_threads=1``.

    ARTIFACT=model_zoo/NAME.int8.onnx python raw.py IMAGE THREADS SECONDS [--decode]

Prints, as JSON, the number of patches, the duration, latencies, CPU time and memory. Without
``--decode`` the image is decoded once.
"""

from __future__ import annotations

import json
import resource
import sys
import threading
from pathlib import Path
from time import perf_counter

sys.path.insert(0, str(Path(__file__).with_name("services")))
import patch  # type: ignore[import-not-found]

WARM_UP_S = 0.5


def main(file: Path, threads: int, seconds: float, decode: bool) -> None:
    session = patch.open_session()
    data = file.read_bytes()
    pixels = patch.decode(data)
    latencies: list[list[float]] = [[] for _ in range(threads)]
    gate = threading.Barrier(threads + 1)

    def answer(mine: list[float], until: float) -> None:
        while (start := perf_counter()) < until:
            patch.logits(session, patch.decode(data) if decode else pixels)
            mine.append(perf_counter() - start)

    def work(mine: list[float]) -> None:
        answer([], perf_counter() + WARM_UP_S)
        gate.wait()
        answer(mine, perf_counter() + seconds)

    workers = [threading.Thread(target=work, args=[mine]) for mine in latencies]
    for worker in workers:
        worker.start()
    gate.wait()
    start, before = perf_counter(), resource.getrusage(resource.RUSAGE_SELF)
    for worker in workers:
        worker.join()
    took, after = perf_counter() - start, resource.getrusage(resource.RUSAGE_SELF)
    everything = sorted(round(latency * 1e6) for mine in latencies for latency in mine)
    print(
        json.dumps(
            {
                "requests": len(everything),
                "seconds": took,
                "p50_ms": everything[len(everything) // 2] / 1e3,
                "p99_ms": everything[len(everything) * 99 // 100] / 1e3,
                "cpu_s": after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime,
                "rss_mb": after.ru_maxrss / 1024,
                "logits": patch.logits(session, pixels).tolist(),
            }
        )
    )


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3]), "--decode" in sys.argv)

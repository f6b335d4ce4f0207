#!/usr/bin/env bash
# uvloop 0.23.0 and asyncio of Python 3.11: what loop.call_later and asyncio.sleep do with a fraction of a millisecond.
#
# One expects a delay of half a millisecond to take about that in both loops: their clocks count nanoseconds.
# uvloop rounds delays to whole milliseconds for libuv's timers, and 0.5 becomes 0: the callback runs at once.
# asyncio's own loop rounds up, because it waits in epoll with whole milliseconds: 0.5 ms takes more than 1 ms.
# 1.4 ms takes about 1.1 with uvloop and 2.1 with asyncio, so one of them is early and the other late.
# It matters for servers that collect requests into batches for a fraction of a millisecond: under uvloop the window is not there,
# and under asyncio, where tests often run, it is at least twice as long as asked for.
# Output seen (medians of 200): "asyncio: 0.5 ms takes 1.15 ms, 1.4 ms takes 2.16 ms", "uvloop: 0.5 ms takes 0.01 ms, 1.4 ms takes 1.14 ms".
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet uvloop==0.23.0

cd "$folder"
"$folder/venv/bin/python" - <<'PYTHON'
import asyncio
import statistics
import time

import uvloop

DELAYS = (0.0005, 0.0014)


async def takes(delay):
    times = []
    for _ in range(200):
        start = time.perf_counter()
        await asyncio.sleep(delay)
        times.append(time.perf_counter() - start)
    return statistics.median(times) * 1000


def measured(factory):
    with asyncio.Runner(loop_factory=factory) as runner:
        return [runner.run(takes(delay)) for delay in DELAYS]


seen = {}
for name, factory in (("asyncio", asyncio.new_event_loop), ("uvloop", uvloop.new_event_loop)):
    seen[name] = measured(factory)
    print(f"{name}: 0.5 ms takes {seen[name][0]:.2f} ms, 1.4 ms takes {seen[name][1]:.2f} ms")
assert seen["uvloop"][0] < 0.4 <= 1.0 <= seen["asyncio"][0], "half a millisecond is now waited for: the behaviour has changed"
PYTHON

"""The network shapes that have names."""

from __future__ import annotations

from training.mobilenetv2 import Topology

TOPOLOGIES = {
    "mobilenetv2": Topology(),
    "accurate": Topology(
        stages=((1, 24, 1, 1), (4, 36, 2, 2), (4, 48, 3, 2), (4, 96, 4, 2), (4, 144, 3, 1), (4, 288, 1, 1)),
        softened=(3,),
    ),
    "fast": Topology(
        stem_channels=24,
        stages=((1, 12, 1, 1), (4, 24, 2, 2), (4, 24, 2, 2), (4, 48, 3, 2), (4, 96, 2, 1)),
        softened=(3,),
        head_channels=288,
    ),
}

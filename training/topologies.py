"""The named topologies."""

from __future__ import annotations

from dataclasses import replace

from training.topology import Topology

DENSENET = "p4m-densenet"
TOPOLOGIES = {
    "mobilenetv2": Topology(),
    "balanced": Topology(
        stages=((1, 48, 1, 2), (3, 48, 2, 1), (4, 96, 4, 2), (4, 144, 2, 1)), softened=(), head_channels=576
    ),
    "fast": Topology(stages=((1, 48, 1, 2), (3, 48, 1, 1), (3, 96, 3, 2)), softened=(), head_channels=384),
    "dense": Topology(
        stages=((1, 48, 1, 2), (3, 48, 2, 1), (4, 96, 3, 2), (4, 144, 1, 1)),
        softened=(),
        head_channels=576,
        dense=True,
    ),
    "dense-inner": Topology(
        stages=((1, 48, 1, 2), (3, 48, 1, 1), (3, 96, 3, 2)),
        softened=(),
        head_channels=384,
        dense=True,
        pool="inner",
    ),
}

_FAST, _BALANCED = TOPOLOGIES["fast"], TOPOLOGIES["balanced"]

PARETO = {
    "fast": _FAST,
    "fast, half as wide": replace(
        _FAST, stem_channels=24, stages=((1, 24, 1, 2), (3, 24, 1, 1), (3, 48, 3, 2)), head_channels=192
    ),
    "fast, a block less": replace(_FAST, stages=((1, 48, 1, 2), (3, 48, 1, 1), (3, 96, 2, 2)), head_channels=288),
    "fast, stays at 47² for longer": Topology(
        stem_channels=24,
        stages=((1, 12, 1, 1), (4, 24, 2, 2), (4, 24, 2, 2), (4, 48, 3, 2), (4, 96, 2, 1)),
        softened=(3,),
        head_channels=288,
    ),
    "fast, stage 2 softened": replace(_FAST, stages=((1, 48, 1, 2), (3, 48, 1, 1), (2, 72, 2, 2)), softened=(2,)),
    "balanced": _BALANCED,
}

"""Initial weights from a network of another depth: each block comes from the same place of the same stage."""

from __future__ import annotations

from dataclasses import replace
from itertools import islice

from training.mobilenetv2 import MobileNetV2, Topology


def transferred(source: MobileNetV2, topology: Topology) -> MobileNetV2:
    """A network of ``topology`` with the weights of ``source``: of each stage, its first blocks.

    The topologies may differ in the blocks of a stage, in padding and in the pooled positions. Blocks with a shortcut
    add little to their input, so a network that lacks the last ones of a stage is a better start than random weights.

    Raises:
        ValueError: if the topologies differ in anything else, or a stage of ``source`` has fewer blocks.
    """
    if _form(source.topology) != _form(topology) or any(
        there < here for there, here in zip(_blocks(source.topology), _blocks(topology), strict=True)
    ):
        raise ValueError(
            "the topologies differ in more than padding, pooled positions and the number of blocks in a stage, "
            "or a stage needs more blocks than there are"
        )
    network = MobileNetV2(topology)
    for part in ("stem", "head", "classifier"):
        getattr(network, part).load_state_dict(getattr(source, part).state_dict())
    here, there = iter(network.blocks), iter(source.blocks)
    for kept, given in zip(_blocks(topology), _blocks(source.topology), strict=True):
        blocks = list(islice(there, given))[:kept]
        for block, weights in zip(islice(here, kept), blocks, strict=True):
            block.load_state_dict(weights.state_dict())
    return network.eval()


def taken(source: Topology, topology: Topology) -> str:
    """What :func:`transferred` takes, in a sentence."""
    there, here = _blocks(source), _blocks(topology)
    if there == here:
        return "All its weights are taken; padding or the pooled positions differ."
    stages = "; ".join(f"stage {n}: {few} of {all_}" for n, (few, all_) in enumerate(zip(here, there, strict=True), 1))
    return f"The first blocks of each stage are taken ({stages}), so its accuracy must be trained again."


def _blocks(topology: Topology) -> list[int]:
    return [blocks for _, _, blocks, _ in topology.stages]


def _form(topology: Topology) -> Topology:
    """The topology with one block in each stage, padded, pooled over the disc."""
    stages = tuple((expansion, channels, 1, stride) for expansion, channels, _, stride in topology.stages)
    return replace(topology, stages=stages, dense=False, pool="disc")

"""Chooses the faster precision on this machine: bfloat16 is faster only if the CPU has units for it."""

from __future__ import annotations

from time import process_time
from typing import TYPE_CHECKING, Literal

import torch

from training.recipe import Precision

if TYPE_CHECKING:
    from training.fit import Classifier

TIMED_STEPS = 2
SHORT_RUN = 60  # steps; timing takes as long as six of them
SIDE_PX = 96


def choose_precision(
    asked: Precision, classifier: Classifier, batch_size: int, steps: int
) -> Literal["bf16-mixed", "32-true"]:
    """The given precision; for ``auto`` bfloat16 on a GPU, and on a CPU the one that is faster in a few steps.

    These steps do not change weights, statistics or the random state. A short run is not timed: it uses float32.

    Args:
        steps: of the whole run.
    """
    if asked != "auto":
        return asked
    if torch.cuda.is_available():
        return "bf16-mixed"
    if steps < SHORT_RUN:
        return "32-true"
    kept = {name: tensor.clone() for name, tensor in classifier.state_dict().items()}
    with torch.random.fork_rng():
        seconds = {mixed: _seconds(classifier, batch_size, mixed=mixed) for mixed in (False, True)}
    classifier.load_state_dict(kept)
    classifier.zero_grad()
    chosen: Literal["bf16-mixed", "32-true"] = "bf16-mixed" if seconds[True] < seconds[False] else "32-true"
    rates = {mixed: TIMED_STEPS * batch_size / taken for mixed, taken in seconds.items()}
    from lightning.pytorch.utilities import rank_zero_info

    rank_zero_info(
        f"Precision {chosen}: {rates[True]:.1f} patches a CPU second in bfloat16, {rates[False]:.1f} in float32"
    )
    return chosen


def _seconds(classifier: Classifier, batch_size: int, *, mixed: bool) -> float:
    """CPU seconds of a few steps, after one that is not counted."""
    images = torch.randint(256, (batch_size, SIDE_PX, SIDE_PX, 3), dtype=torch.uint8)
    batch = images, torch.arange(batch_size) % 2, torch.zeros(batch_size)
    classifier.train()
    started = 0.0
    for step in range(1 + TIMED_STEPS):
        if step == 1:
            started = process_time()
        with torch.autocast("cpu", torch.bfloat16, enabled=mixed):
            loss, _ = classifier.loss(batch, augment=False)
        loss.backward()
    return process_time() - started

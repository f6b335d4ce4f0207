"""Training speed on this machine."""

from __future__ import annotations

from collections.abc import Callable
from time import perf_counter

import torch

from training.fit import Classifier, keep_freed_memory
from training.mobilenetv2 import PATCH_PX, Topology
from training.recipe import Recipe

WARM_UP = 3


def trainer_of(topology: Topology, batch_size: int = 64) -> Callable[[], None]:
    """A function that runs one training step, including augmentation, on random patches."""
    keep_freed_memory()
    device = "cuda" if torch.cuda.is_available() else "cpu"
    classifier = Classifier(topology, Recipe()).to(device)
    optimizer = torch.optim.AdamW(classifier.parameters(), fused=True)
    images = torch.randint(0, 256, (batch_size, PATCH_PX, PATCH_PX, 3), dtype=torch.uint8, device=device)
    batch = images, torch.arange(batch_size, device=device) % 2, torch.zeros(batch_size, device=device)

    def step() -> None:
        with torch.autocast(device, torch.bfloat16):
            loss = classifier.loss(batch, augment=True)[0]
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        if device == "cuda":
            torch.cuda.synchronize()

    for _ in range(WARM_UP):
        step()
    return step


def patches_per_second(step: Callable[[], None], seconds: float, batch_size: int = 64) -> float:
    """Run a training step for ``seconds``."""
    count, start = 0, perf_counter()
    while perf_counter() - start < seconds:
        step()
        count += 1
    return count * batch_size / (perf_counter() - start)

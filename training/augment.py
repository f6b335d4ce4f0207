"""Augmentation of batches of patches: quarter turns, reflections and stain jitter.

Source of the stain jitter: Tellez et al. 2018, *Whole-Slide Mitosis Detection in H&E Breast Histology*;
of the stain matrix: Ruifrok & Johnston 2001.
"""

from __future__ import annotations

import torch
from torch import Tensor

HED_TO_OPTICAL_DENSITY = torch.tensor([[0.65, 0.70, 0.29], [0.07, 0.99, 0.11], [0.27, 0.57, 0.78]])


def turn_at_random(images: Tensor, generator: torch.Generator | None = None) -> Tensor:
    """Give each image [N, C, H, H] one of the eight quarter turns and reflections."""
    choice = torch.randint(8, (len(images),), generator=generator)
    turned = torch.empty_like(images)
    for element in range(8):
        chosen = choice == element
        image = images[chosen].flip(-1) if element >= 4 else images[chosen]
        turned[chosen] = image.rot90(element % 4, (-2, -1))
    return turned


def jitter_stain(images: Tensor, strength: float, generator: torch.Generator | None = None) -> Tensor:
    """Scale and shift haematoxylin, eosin and DAB of each image by up to ``strength``.

    Args:
        images: float [N, 3, H, W] in [0, 1].
        strength: half-width of the uniform factors about 1 and, in optical density, of the shifts about 0.
    """
    count = len(images)
    to_density = HED_TO_OPTICAL_DENSITY.to(images.device)
    uniform = (torch.rand(2, count, 3, generator=generator) * 2 - 1).to(images.device) * strength
    mix = torch.linalg.inv(to_density) @ torch.diag_embed(1 + uniform[0]) @ to_density
    shift = uniform[1] @ to_density
    density = -images.clamp(min=1 / 255).log()
    density = torch.einsum("nihw,nij->njhw", density, mix) + shift[:, :, None, None]
    return (-density).exp().clamp(0, 1)

"""Augmentation of batches of patches: turns, shifts, zoom, JPEG, stain jitter and focus.

Source of the twins: Zheng et al. 2016, *Improving the Robustness of Deep Neural Networks via Stability Training*;
of the stain jitter: Tellez et al. 2018, *Whole-Slide Mitosis Detection in H&E Breast Histology*;
of the stain matrix: Ruifrok & Johnston 2001.
"""

from __future__ import annotations

from io import BytesIO

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from training.recipe import Recipe

HED_TO_OPTICAL_DENSITY = torch.tensor([[0.65, 0.70, 0.29], [0.07, 0.99, 0.11], [0.27, 0.57, 0.78]])
JPEG_BLOCK_PX = 16  # of 4:2:0
JPEG_QUALITIES = (60, 95)
TWIN_SHIFT_PX = 4
BINOMIAL = torch.tensor([1.0, 4.0, 6.0, 4.0, 1.0]) / 16


def turn_at_random(images: Tensor, generator: torch.Generator | None = None) -> Tensor:
    """Apply a random quarter turn or reflection of the eight to each image [N, C, H, H]."""
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


def refocus(images: Tensor, strength: float, generator: torch.Generator | None = None) -> Tensor:
    """Blur or sharpen each image, as a scanner's focus does.

    Args:
        images: float [N, C, H, W] in [0, 1].
        strength: at 1, uniform between sharpening by half of the difference to a blur of 1 px, and a blur of 1 px.
    """
    channels = images.shape[1]
    kernel = torch.outer(BINOMIAL, BINOMIAL).to(images).expand(channels, 1, 5, 5)
    blurred = F.conv2d(F.pad(images, (2, 2, 2, 2), "replicate"), kernel, groups=channels)
    amount = torch.rand(len(images), 1, 1, 1, generator=generator) * 1.5 - 0.5
    return images.lerp(blurred, amount.to(images) * strength).clamp(0, 1)


def shift_and_zoom(images: npt.NDArray[np.uint8], shift_px: int, zoom: float, seed: int) -> npt.NDArray[np.uint8]:
    """Shift each patch by up to ``shift_px`` and scale it by up to ``zoom``; edges are reflected.

    Args:
        images: uint8 [N, H, H, 3].
        shift_px: largest shift in either direction, in whole pixels.
        zoom: largest change of the scale, such as 0.05; 0 changes nothing.

    Returns:
        uint8 [N, H, H, 3].
    """
    random, side = np.random.default_rng(seed), images.shape[1]
    margin = shift_px + int(np.ceil(side * zoom))
    padded = np.pad(images, ((0, 0), (margin, margin), (margin, margin), (0, 0)), "reflect")
    moved = np.empty_like(images)
    for i, (left, top) in enumerate(margin + random.integers(-shift_px, shift_px + 1, (len(images), 2))):
        if not zoom:
            moved[i] = padded[i, top : top + side, left : left + side]
            continue
        crop = random.uniform(side * (1 - zoom), side * (1 + zoom))
        corner = (left + (side - crop) / 2, top + (side - crop) / 2)
        box = (*corner, corner[0] + crop, corner[1] + crop)
        moved[i] = np.asarray(Image.fromarray(padded[i]).resize((side, side), Image.Resampling.BICUBIC, box=box))
    return moved


def reencode(images: npt.NDArray[np.uint8], share: float, seed: int) -> npt.NDArray[np.uint8]:
    """Encode and decode a share of the patches as JPEG 4:2:0, at a random quality and on a random block grid.

    Args:
        images: uint8 [N, H, H, 3].
        share: of the patches, drawn at random.

    Returns:
        uint8 [N, H, H, 3].
    """
    random, side = np.random.default_rng(seed), images.shape[1]
    encoded = images.copy()
    for i in np.flatnonzero(random.random(len(images)) < share):
        top, left = random.integers(0, JPEG_BLOCK_PX, 2)
        padding = ((top, JPEG_BLOCK_PX - top), (left, JPEG_BLOCK_PX - left), (0, 0))
        buffer = BytesIO()
        quality = int(random.integers(JPEG_QUALITIES[0], JPEG_QUALITIES[1] + 1))
        Image.fromarray(np.pad(images[i], padding, "reflect")).save(
            buffer, "JPEG", quality=quality, subsampling="4:2:0"
        )
        encoded[i] = np.asarray(Image.open(buffer))[top : top + side, left : left + side]
    return encoded


def augmented(images: Tensor, recipe: Recipe) -> Tensor:
    """A batch of training patches as the recipe asks for it; with ``consistency``, all of them twice.

    Args:
        images: uint8 [N, 96, 96, 3].

    Returns:
        float [N, 3, 96, 96] in [0, 1], or [2 N, 3, 96, 96]: the patches, then their twins in the same order. Twins
        differ in their position and encoding alone: turn, stain and focus are equal.
    """
    device, seed = images.device, int(torch.randint(2**31, ()))
    pixels = images.cpu().numpy()
    if recipe.shift_px or recipe.zoom:
        pixels = shift_and_zoom(pixels, recipe.shift_px, recipe.zoom, seed)
    pixels = turn_at_random(torch.from_numpy(pixels).permute(0, 3, 1, 2)).permute(0, 2, 3, 1).numpy()
    if recipe.consistency:
        pixels = np.concatenate([pixels, shift_and_zoom(pixels, TWIN_SHIFT_PX, 0.0, seed + 1)])
    if recipe.jpeg:
        pixels = reencode(pixels, recipe.jpeg, seed)
    x = torch.from_numpy(pixels).to(device).permute(0, 3, 1, 2).float() / 255
    if not recipe.consistency:
        return _colour_and_focus(x, recipe, None)
    return torch.cat([_colour_and_focus(each, recipe, torch.Generator().manual_seed(seed)) for each in x.chunk(2)])


def _colour_and_focus(images: Tensor, recipe: Recipe, random: torch.Generator | None) -> Tensor:
    images = jitter_stain(images, recipe.stain_jitter, random)
    return refocus(images, recipe.refocus, random) if recipe.refocus else images

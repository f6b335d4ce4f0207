"""Synthetic H&E-like patches for golden cases and demonstrations, never for training.

By the Beer-Lambert law the optical densities of haematoxylin and eosin are added.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from model_zoo.turns import SIDE, Patch

Kind = Literal["tumour", "normal", "blank"]
Field = NDArray[np.float64]

# Macenko et al. 2009, reference stains: optical density per unit in R, G, B.
_HAEMATOXYLIN = np.array([0.563, 0.720, 0.406])
_EOSIN = np.array([0.216, 0.801, 0.558])
SOFTNESS = 0.5  # of a nucleus' edge, in pixels
_ROWS, _COLUMNS = np.indices((SIDE, SIDE), dtype=np.float64)


@dataclass(frozen=True)
class _Nuclei:
    """A population of nuclei; lengths in pixels of about one micron."""

    spacing: float
    radius: float
    radius_spread: float
    elongation: float
    irregularity: float
    density: float


_LYMPHOCYTES = _Nuclei(spacing=8.0, radius=3.1, radius_spread=0.08, elongation=0.08, irregularity=0.04, density=0.62)
_CARCINOMA = _Nuclei(spacing=12.0, radius=5.4, radius_spread=0.20, elongation=0.16, irregularity=0.07, density=0.42)


def synthetic_patch(kind: Kind, seed: int) -> Patch:
    """A synthetic patch, uint8 [96, 96, 3], at about one micron per pixel.

    Args:
        kind: ``"tumour"`` (nests of large, irregular, crowded nuclei), ``"normal"`` (small, round, regular
            lymphocytes) or ``"blank"`` (glass).
        seed: equal seeds give equal patches on one machine.
    """
    rng = np.random.default_rng([seed, *kind.encode()])
    density = np.full((SIDE, SIDE, 3), 0.012)
    if kind != "blank":
        density = density + _tissue(kind, rng)
    noise = rng.normal(0, 1.2, (SIDE, SIDE, 3))
    return np.rint(255 * 10**-density + noise).clip(0, 255).astype(np.uint8)


def _tissue(kind: Literal["tumour", "normal"], rng: np.random.Generator) -> Field:
    if kind == "tumour":
        nests = _step(_noise(rng, 14, 14), -0.5, 0.25)
        nests = np.maximum(nests, np.exp(-((_distance(SIDE / 2, SIDE / 2) / 30) ** 4)))
        nuclei = _nuclei(_CARCINOMA, nests, rng)
        cytoplasm = 0.10 * nests
    else:
        nests = _step(_noise(rng, 10, 10), -0.9, 0.3)
        nuclei = _nuclei(_LYMPHOCYTES, nests, rng)
        cytoplasm = 0.05 * nests
    fibres = _noise(rng, 9, 1.4, angle=rng.uniform(0, np.pi))
    chromatin = 1 + 0.16 * _noise(rng, 1.0, 1.0) * (1.4 if kind == "tumour" else 1.0)
    eosin = (0.24 + 0.06 * fibres - 0.07 * nests + 0.03 * _noise(rng, 2, 2)).clip(0.03)
    eosin = eosin * (1 - 0.5 * nuclei.clip(0, 0.6))
    gaps = _step(_noise(rng, 5, 2), 1.7, 0.15) * (1 - nests)
    haematoxylin = cytoplasm + 0.02 + 0.02 * _noise(rng, 4, 4).clip(0) + nuclei * chromatin
    stain = haematoxylin[..., None] * _HAEMATOXYLIN + (eosin * (1 - 0.8 * gaps))[..., None] * _EOSIN
    return np.asarray(stain.clip(0))


def _nuclei(population: _Nuclei, nests: Field, rng: np.random.Generator) -> Field:
    """Haematoxylin of nuclei on a jittered hexagonal lattice, within nests."""
    total = np.zeros((SIDE, SIDE))
    pitch = population.spacing
    for i, row in enumerate(np.arange(-pitch, SIDE + pitch, pitch * 0.87)):
        for column in np.arange(-pitch + i % 2 * pitch / 2, SIDE + pitch, pitch):
            y, x = rng.normal((row, column), 0.17 * pitch)
            angle, tone, size = rng.uniform(0, np.pi), rng.uniform(0.75, 1.25), rng.normal(0, population.radius_spread)
            stretch = 1 + abs(rng.normal(0, population.elongation))
            waves = rng.normal(0, population.irregularity, 3), rng.uniform(0, 2 * np.pi, 3)
            inside = nests[int(np.clip(y, 0, SIDE - 1)), int(np.clip(x, 0, SIDE - 1))]
            if inside < rng.uniform(0.15, 0.85):
                continue
            radius = population.radius * np.exp(size)
            reach = stretch * (radius * (1 + np.abs(waves[0]).sum()) + 20 * SOFTNESS)
            part = _within(y, reach), _within(x, reach)
            down, right = _ROWS[part] - y, _COLUMNS[part] - x
            u = (right * np.cos(angle) + down * np.sin(angle)) / stretch
            v = (down * np.cos(angle) - right * np.sin(angle)) * stretch
            direction = np.arctan2(v, u)
            lobes = sum(a * np.cos(k * direction + p) for k, (a, p) in enumerate(zip(*waves, strict=True), 2))
            depth = radius * (1 + lobes) - np.hypot(u, v)
            rim = 0.75 + 0.45 * np.exp(-((depth - 0.8) ** 2))
            density = population.density * tone * rim * _step(depth, 0, SOFTNESS)
            total[part] = np.maximum(total[part], density)
    return total


def _within(centre: float, reach: float) -> slice:
    """The pixels that a nucleus can reach; beyond it the step is 0 to the last bit."""
    return slice(max(0, int(centre - reach)), max(0, int(centre + reach) + 2))


def _noise(rng: np.random.Generator, along: float, across: float, angle: float = 0.0) -> Field:
    """Smooth Gaussian noise of unit variance, [96, 96], with these correlation lengths in pixels."""
    fy, fx = np.fft.fftfreq(SIDE)[:, None], np.fft.fftfreq(SIDE)[None]
    u, v = fx * np.cos(angle) + fy * np.sin(angle), fy * np.cos(angle) - fx * np.sin(angle)
    spectrum = np.exp(-2 * np.pi**2 * ((u * along) ** 2 + (v * across) ** 2))
    smooth = np.fft.ifft2(np.fft.fft2(rng.normal(size=(SIDE, SIDE))) * spectrum).real
    return np.asarray((smooth - smooth.mean()) / smooth.std())


def _step(values: Field, threshold: float, softness: float) -> Field:
    """A smooth step from 0 to 1 at the threshold."""
    return np.asarray(0.5 * (1 + np.tanh((values - threshold) / softness)))


def _distance(row: float, column: float) -> Field:
    return np.hypot(_ROWS - row, _COLUMNS - column)

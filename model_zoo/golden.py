"""Golden cases: eight stored patches and the bits that a network must return for them.

The patches are stored because ``exp`` and similar functions differ in the last bit between CPUs. They were made by

    for patch in tumour-1 tumour-2 tumour-3 normal-1 normal-2 normal-3 blank-1 blank-2; do
        rosette demo-patch model_zoo/golden/$patch.png --kind ${patch%-*} --seed ${patch#*-}
    done
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Callable, Mapping
from functools import cache
from hashlib import sha256
from importlib.resources import files
from io import BytesIO
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from model_zoo.manifest import GoldenCase
from model_zoo.turns import SIDE, Patch

Logits = NDArray[np.float32]


class GoldenCaseError(ValueError):
    """A golden case is damaged, or a network's answer differs from the manifest's."""


@cache
def golden_patches() -> Mapping[str, bytes]:
    """The eight stored PNG files by name, in alphabetical order; read once, as vetting gives up the right to files."""
    entries = sorted(files("model_zoo").joinpath("golden").iterdir(), key=lambda entry: entry.name)
    pngs = {entry.name.removesuffix(".png"): entry.read_bytes() for entry in entries if entry.name.endswith(".png")}
    return MappingProxyType(pngs)


def golden_cases(logits_of: Callable[[Patch], Logits]) -> tuple[GoldenCase, ...]:
    """Answer the eight stored patches.

    Args:
        logits_of: function from uint8 [N, 96, 96, 3] to float32 [N, 2].

    Raises:
        GoldenCaseError: if a stored patch cannot be read.
    """
    pngs = golden_patches()
    patches = {name: decode(name, png) for name, png in pngs.items()}
    return tuple(
        GoldenCase(
            name=name,
            png=b64encode(pngs[name]),
            sha256=sha256(patch.tobytes()).hexdigest(),
            logits=to_bits(logits_of(patch[None])[0]),
        )
        for name, patch in patches.items()
    )


def patch_of(case: GoldenCase) -> Patch:
    """The case's patch, uint8 [96, 96, 3].

    Raises:
        GoldenCaseError: if the PNG cannot be read or its pixels do not match the case's hash.
    """
    patch = decode(case.name, case.png)
    actual = sha256(patch.tobytes()).hexdigest()
    if actual != case.sha256:
        raise GoldenCaseError(f"golden case {case.name!r}: the pixels hash to {actual}, expected {case.sha256}")
    return patch


def decode(name: str, png: bytes) -> Patch:
    """Decode a golden case's PNG into uint8 [96, 96, 3].

    Raises:
        GoldenCaseError: if it is not a 96×96 RGB PNG.
    """
    try:
        with Image.open(BytesIO(png), formats=("PNG",)) as image:
            if image.size != (SIDE, SIDE) or image.mode != "RGB":
                found = f"{image.size[0]}×{image.size[1]} {image.mode}"
                raise GoldenCaseError(f"golden case {name!r} is {found}, expected {SIDE}×{SIDE} RGB")
            return np.array(image, dtype=np.uint8)
    except (OSError, SyntaxError) as error:
        raise GoldenCaseError(f"golden case {name!r} is not a readable PNG: {error}") from error


def to_bits(logits: Logits) -> tuple[str, str]:
    """The two float32 logits as hexadecimal bits, big-endian."""
    no_metastasis, metastasis = (f"{word:08x}" for word in logits.astype(np.float32).view(np.uint32).tolist())
    return no_metastasis, metastasis


def from_bits(bits: tuple[str, str]) -> Logits:
    """The inverse of ``to_bits``: float32 [2]."""
    return np.array([int(word, 16) for word in bits], np.uint32).view(np.float32)


def synthetic_field() -> Patch:
    """Four golden patches side by side, uint8 [192, 192, 3]."""
    pngs = golden_patches()
    a, b, c, d = (decode(name, pngs[name]) for name in ("tumour-1", "normal-1", "normal-2", "tumour-2"))
    return np.concatenate([np.concatenate([a, b], axis=1), np.concatenate([c, d], axis=1)])

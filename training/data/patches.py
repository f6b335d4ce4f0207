"""Labelled patches in memory."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Literal

import numpy as np
import numpy.typing as npt

SplitName = Literal["train", "valid", "test"]
PATCH_PX = 96


class DataError(ValueError):
    """The data folder does not hold what was asked of it."""


class MissingSplitError(DataError):
    """The data folder has no such split."""


@dataclass(frozen=True)
class Patches:
    """Patches in memory.

    Attributes:
        images: uint8 [N, 96, 96, 3], RGB.
        labels: int64 [N], 1 where the centre 32×32 px hold tumour.
        source: what was read, with the number of patches.
        origins: file and row of every patch, for messages; str [N], or empty if unknown.
        official: whether the files are those that PCam's authors published, by their MD5 sums.
        notes: what the user should know of these data, a sentence each.
    """

    images: npt.NDArray[np.uint8]
    labels: npt.NDArray[np.int64]
    source: str
    origins: npt.NDArray[np.object_] = field(default_factory=lambda: np.empty(0, object), repr=False)
    official: bool = False
    notes: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: npt.NDArray[np.bool_] | npt.NDArray[np.int64] | slice) -> Patches:
        origins = self.origins[index] if len(self.origins) else self.origins
        return Patches(self.images[index], self.labels[index], self.source, origins, self.official, self.notes)

    def origin(self, row: int) -> str:
        """File and row of a patch, as a message names it."""
        return str(self.origins[row]) if len(self.origins) else f"{self.source}, row {row}"

    @cached_property
    def sha256(self) -> str:
        """Hash over all pixels and labels, in order."""
        digest = hashlib.sha256(np.ascontiguousarray(self.images).data)
        digest.update(np.ascontiguousarray(self.labels).data)
        return digest.hexdigest()

    @cached_property
    def pixel_hashes(self) -> tuple[bytes, ...]:
        """SHA-256 of the pixels of each patch."""
        return tuple(hashlib.sha256(np.ascontiguousarray(image).data).digest() for image in self.images)


def named(rows: Sequence[str]) -> npt.NDArray[np.object_]:
    """Names as :attr:`Patches.origins` takes them."""
    return np.array(rows, object)


def in_calibrating_half(valid: Patches) -> npt.NDArray[np.bool_]:
    """Which validation patches are for calibrating, by a hash of their pixels, [N]; the others are for choosing."""
    return np.array([digest[0] & 1 for digest in valid.pixel_hashes], dtype=bool)


def halves_of_valid(valid: Patches) -> tuple[Patches, Patches]:
    """Split the validation patches in two, fixed by their pixels: (for choosing, for calibrating)."""
    calibrating = in_calibrating_half(valid)
    return valid[~calibrating], valid[calibrating]

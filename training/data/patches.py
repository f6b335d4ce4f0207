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
    """The data folder is invalid."""


class MissingSplitError(DataError):
    """The data folder has no such split."""


@dataclass(frozen=True)
class Patches:
    """Patches in memory.

    Attributes:
        images: uint8 [N, 96, 96, 3], RGB.
        labels: int64 [N], 1 if the centre 32×32 px contain tumour.
        source: description of the source, with the number of patches.
        origins: file and row of every patch, for messages; str [N], or empty if unknown.
        official: whether the files are PCam's official ones, by their MD5 sums.
        notes: notes about these data for the user.
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
        """File and row of a patch, for messages."""
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
    """Names in the form of :attr:`Patches.origins`."""
    return np.array(rows, object)


def in_calibrating_half(valid: Patches) -> npt.NDArray[np.bool_]:
    """Mask [N] of the calibrating half of validation patches, by a hash of their pixels."""
    return np.array([digest[0] & 1 for digest in valid.pixel_hashes], dtype=bool)


def halves_of_valid(valid: Patches) -> tuple[Patches, Patches]:
    """Split the validation patches by their pixels into (choosing half, calibrating half)."""
    calibrating = in_calibrating_half(valid)
    return valid[~calibrating], valid[calibrating]

"""The interface of a layout of a data folder."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from training.data.patches import Patches, SplitName

# The names of a split in files and folders; ``val`` and ``validation`` are common for ``valid``.
ALIASES: dict[SplitName, tuple[str, ...]] = {
    "train": ("train",),
    "valid": ("valid", "validation", "val"),
    "test": ("test",),
}


@dataclass(frozen=True)
class Found:
    """A split that a layout found.

    Attributes:
        name: its files, for messages.
        read: reads and checks them.
    """

    name: str
    read: Callable[[], Patches]

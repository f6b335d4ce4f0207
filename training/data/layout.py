"""How a layout offers a split of a data folder."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from training.data.patches import Patches, SplitName

# The names that a split goes by in files and folders; ``val`` and ``validation`` are common for ``valid``.
ALIASES: dict[SplitName, tuple[str, ...]] = {
    "train": ("train",),
    "valid": ("valid", "validation", "val"),
    "test": ("test",),
}


@dataclass(frozen=True)
class Found:
    """A split as one layout has it.

    Attributes:
        name: its files, for a message.
        read: reads and checks them.
    """

    name: str
    read: Callable[[], Patches]

"""Duplicate patches: within a split they have double weight, in two splits they make figures too good."""

from __future__ import annotations

from collections.abc import Mapping

from training.data.patches import DataError, Patches, SplitName


def require_distinct(splits: Mapping[SplitName, Patches], *, allow_in_train: bool = False) -> tuple[str, ...]:
    """Compare the pixels of all patches by hash.

    In PCam's official files, which were sampled at random, duplicates are counted in a note and not refused.

    Args:
        splits: splits that are used together.
        allow_in_train: whether train may contain duplicates with the same label.

    Returns:
        A note for each kind of accepted duplicates.

    Raises:
        DataError: with the first pair and the number of duplicates.
    """
    notes = []
    for split, patches in splits.items():
        notes += _within(split, patches, allow_in_train and split == "train")
    names = list(splits)
    for index, later in enumerate(names):
        for earlier in names[:index]:
            notes += _across(earlier, splits[earlier], later, splits[later])
    return tuple(notes)


def _within(split: SplitName, patches: Patches, allowed: bool) -> list[str]:
    first: dict[bytes, int] = {}
    pairs = [
        (first[digest], row) for row, digest in enumerate(patches.pixel_hashes) if first.setdefault(digest, row) != row
    ]
    torn = [pair for pair in pairs if patches.labels[pair[0]] != patches.labels[pair[1]]]
    if pairs and patches.official:
        return [f"{split} holds {len(pairs)} patches again, {len(torn)} with another label, as PCam published them"]
    if torn:
        a, b = map(patches.origin, torn[0])
        raise DataError(
            f"{a} and {b} hold the same pixels with different labels ({len(torn)} such pairs in {split}): "
            "correct the labels or remove the patches"
        )
    if pairs and not allowed:
        a, b = map(patches.origin, pairs[0])
        flag = ", or pass --allow-duplicates to train with them" if split == "train" else ""
        raise DataError(f"{a} and {b} hold the same pixels ({len(pairs)} duplicates in {split}): remove them{flag}")
    return [f"{split} holds {len(pairs)} patches again"] if pairs else []


def _across(earlier: SplitName, first: Patches, later: SplitName, second: Patches) -> list[str]:
    rows = {digest: row for row, digest in enumerate(first.pixel_hashes)}
    pairs = [(rows[digest], row) for row, digest in enumerate(second.pixel_hashes) if digest in rows]
    if not pairs:
        return []
    if first.official and second.official:
        return [f"{len(pairs)} patches of {later} are in {earlier} too, as PCam published them"]
    raise DataError(
        f"{first.origin(pairs[0][0])} in {earlier} and {second.origin(pairs[0][1])} in {later} hold the same pixels "
        f"({len(pairs)} patches of {later} are in {earlier} too): remove them from one split"
    )

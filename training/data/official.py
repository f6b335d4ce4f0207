"""Compares HDF5 files with PCam's official files by their MD5 sums.

The sums are of the unpacked files of https://zenodo.org/records/2546921. The table in PCam's README has those of the
packed files, with valid and test exchanged (https://github.com/basveeling/pcam/issues/1).
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from training.data.patches import DataError, SplitName

NAME = "camelyonpatch_level_2_split_{split}_{axis}.h5"
COUNTS: dict[SplitName, int] = {"train": 262144, "valid": 32768, "test": 32768}
SUMS: dict[str, tuple[SplitName, str]] = {
    "01844da899645b4d6f84946d417ba453": ("train", "x"),
    "0781386bf6c2fb62d58ff18891466aca": ("train", "y"),
    "81cf9680f1724c40673f10dc88e909b1": ("valid", "x"),
    "94d8aacc249253159ce2a2e78a86e658": ("valid", "y"),
    "2614b2e6717d6356be141d9d6dbfcb7e": ("test", "x"),
    "11ed647efe9fe457a4eb45df1dba19ba": ("test", "y"),
}


@dataclass(frozen=True)
class OfficialCheck:
    """Whether the files are the official ones, and a note for the user."""

    official: bool = False
    notes: tuple[str, ...] = ()


@contextmanager
def hashing(x: Path, y: Path, count: int) -> Iterator[Callable[[], tuple[str, str] | None]]:
    """Hash both files while the caller reads them, to read the disk once.

    Yields:
        A function that waits for the MD5 sums; they are None if name or size already exclude the
        official files.
    """
    if not any(x.name == NAME.format(split=split, axis="x") and count == COUNTS[split] for split in COUNTS):
        yield lambda: None
        return
    with ThreadPoolExecutor(1) as pool:
        sums = [pool.submit(md5, file) for file in (y, x)]
        yield lambda: (sums[1].result(), sums[0].result())


def md5(file: Path) -> str:
    """MD5 of a file, cached in the process while the file does not change."""
    state = file.stat()
    return _md5(file, state.st_size, state.st_mtime_ns)


@lru_cache
def _md5(file: Path, _size: int, _changed: int) -> str:
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()


def verdict(
    x: Path,
    y: Path,
    split: SplitName,
    sums: tuple[str, str] | None,
    known: Mapping[str, tuple[SplitName, str]] = SUMS,
) -> OfficialCheck:
    """The verdict on images and labels by their sums.

    The same patches stored differently have other sums: they are accepted with a note.

    Raises:
        DataError: if a file is an official one of another split, or the images are official and the labels are not.
    """
    if sums is None:
        return OfficialCheck()
    for file, total, axis in ((x, sums[0], "x"), (y, sums[1], "y")):
        if known.get(total, (split, axis)) != (split, axis):
            right = NAME.format(split=known[total][0], axis=known[total][1])
            raise DataError(f"{file.name} is PCam's official {right} by its MD5 sum: rename it to this name")
    images, labels = (total in known for total in sums)
    if images and labels:
        return OfficialCheck(True, (f"{x.name} and {y.name} are PCam's official files (MD5 compared)",))
    if images:
        raise DataError(
            f"{y.name} is not PCam's official file (MD5 {sums[1]}), but {x.name} is: "
            "download the labels again, or rename both files if the labels are your own"
        )
    note = f"{x.name} has the name and size of PCam's official file, but another MD5 sum ({sums[0]}): "
    return OfficialCheck(
        False, (f"{note}it was stored again or is damaged; download it again if you did not store it",)
    )

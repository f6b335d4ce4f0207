"""PCam's official HDF5 files are recognized by their MD5 sums."""

from __future__ import annotations

from hashlib import md5
from pathlib import Path

import h5py
import numpy as np
import numpy.typing as npt
import pytest

from tests.training.layouts import SPLITS, write_h5
from training.data import DataError, SplitName, load, load_to_fit
from training.data.official import COUNTS, NAME, SUMS, OfficialCheck, hashing, verdict


def files(folder: Path, split: SplitName, *, of: str = "") -> tuple[Path, Path]:
    """Stand-ins under the official names, whose content says which split they are of."""
    x, y = (folder / NAME.format(split=split, axis=axis) for axis in "xy")
    for file, axis in ((x, "x"), (y, "y")):
        file.write_text(f"{of or split} {axis}")
    return x, y


def total(text: str) -> str:
    return md5(text.encode(), usedforsecurity=False).hexdigest()


KNOWN: dict[str, tuple[SplitName, str]] = {total(f"{split} {axis}"): (split, axis) for split in COUNTS for axis in "xy"}


def judged(x: Path, y: Path, split: SplitName) -> OfficialCheck:
    with hashing(x, y, COUNTS[split]) as sums:
        pass
    return verdict(x, y, split, sums(), KNOWN)


@pytest.mark.parametrize("split", list(COUNTS))
def test_official_files_are_recognized_and_reported(tmp_path: Path, split: SplitName) -> None:
    found = judged(*files(tmp_path, split), split)
    assert found.official
    assert found.notes == (
        f"camelyonpatch_level_2_split_{split}_x.h5 and camelyonpatch_level_2_split_{split}_y.h5 are PCam's official "
        "files (MD5 compared)",
    )


@pytest.mark.parametrize("axis", ["x", "y"])
def test_a_file_of_another_split_under_this_name_is_refused(tmp_path: Path, axis: str) -> None:
    x, y = files(tmp_path, "valid")
    (x if axis == "x" else y).write_text(f"test {axis}")
    expected = rf"split_valid_{axis}\.h5 is PCam's official camelyonpatch_level_2_split_test_{axis}\.h5 by its MD5 sum"
    with pytest.raises(DataError, match=expected):
        judged(x, y, "valid")


def test_other_labels_beside_official_images_are_refused(tmp_path: Path) -> None:
    x, y = files(tmp_path, "train")
    y.write_text("labels of another order")
    with pytest.raises(DataError, match=r"train_y\.h5 is not PCam's official file \(MD5 [0-9a-f]{32}\), but .*train_x"):
        judged(x, y, "train")


def test_images_that_were_written_anew_are_read_with_a_warning(tmp_path: Path) -> None:
    x, y = files(tmp_path, "train")
    x.write_text("compressed otherwise")
    found = judged(x, y, "train")
    assert not found.official
    assert "has the name and size of PCam's official file, but another MD5 sum" in found.notes[0]
    assert total("compressed otherwise") in found.notes[0]


def test_files_of_another_name_or_size_are_not_hashed(tmp_path: Path) -> None:
    x, y = files(tmp_path, "valid")
    with hashing(x, y, 100) as sums:
        assert sums() is None
    with hashing(x.rename(tmp_path / "own_valid_x.h5"), y, COUNTS["valid"]) as sums:
        assert sums() is None
    assert verdict(x, y, "valid", None) == OfficialCheck()


def test_a_changed_file_is_hashed_again(tmp_path: Path) -> None:
    x, y = files(tmp_path, "valid")
    assert judged(x, y, "valid").official
    x.write_text("damaged, and of another length")
    assert not judged(x, y, "valid").official


def test_each_official_file_has_one_sum() -> None:
    assert sorted(SUMS.values()) == sorted((split, axis) for split in COUNTS for axis in "xy")
    assert all(len(known) == 32 for known in SUMS)


@pytest.fixture
def published(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A small release: its files' counts and sums stand in place of PCam's. Each holds a patch again."""
    orders: dict[SplitName, npt.NDArray[np.int64]] = {
        "train": np.arange(48),
        "valid": np.arange(48)[::-1],
        "test": np.arange(24),
    }  # of labels, too
    release = {split: SPLITS[split][np.append(order, order[0])] for split, order in orders.items()}
    for split, patches in release.items():
        monkeypatch.setitem(COUNTS, split, len(patches))
        for axis, values in (("x", patches.images), ("y", patches.labels.reshape(-1, 1, 1, 1))):
            write_h5(tmp_path / NAME.format(split=split, axis=axis), values, axis)
            content = (tmp_path / NAME.format(split=split, axis=axis)).read_bytes()
            monkeypatch.setitem(SUMS, md5(content, usedforsecurity=False).hexdigest(), (split, axis))
    return tmp_path


@pytest.mark.parametrize("chunks", [True, (1, 96, 96, 3), (32, 3, 6, 3)], ids=str)
def test_the_official_storage_is_read(tmp_path: Path, chunks: bool | tuple[int, ...]) -> None:
    """Names, datasets, types and shapes are those of the release; both datasets are compressed in chunks."""
    for split, patches in SPLITS.items():
        for axis, values in (("x", patches.images), ("y", patches.labels.astype(np.uint8).reshape(-1, 1, 1, 1))):
            with h5py.File(tmp_path / f"camelyonpatch_level_2_split_{split}_{axis}.h5", "w") as file:
                file.create_dataset(
                    axis,
                    data=values,
                    maxshape=(None, *values.shape[1:]),
                    chunks=chunks if axis == "x" else True,
                    compression="gzip",
                )
                assert (file[axis].dtype, file[axis].chunks is None) == (np.uint8, False)
    for split, patches in SPLITS.items():
        read = load(tmp_path, split)
        assert np.array_equal(read.images, patches.images)
        assert np.array_equal(read.labels, patches.labels)
        assert read.source == f"camelyonpatch_level_2_split_{split}_x.h5: {len(patches)} patches, lossless"


def test_duplicates_of_an_official_release_are_counted_and_not_refused(published: Path) -> None:
    train, valid = load_to_fit(published)
    assert train.official
    assert valid.official
    assert "are PCam's official files (MD5 compared)" in train.notes[0]
    assert train.notes[1] == "train holds 1 patches again, 0 with another label, as PCam published them"


def test_an_official_file_under_another_name_ends_the_loading(published: Path) -> None:
    x, y = (published / NAME.format(split="valid", axis=axis) for axis in "xy")
    x.write_bytes((published / NAME.format(split="train", axis="x")).read_bytes())
    y.write_bytes((published / NAME.format(split="train", axis="y")).read_bytes())
    with pytest.raises(DataError, match=r"split_valid_x\.h5 is PCam's official .*_train_x\.h5 by its MD5 sum"):
        load_to_fit(published)

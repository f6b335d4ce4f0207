"""The layouts of a data folder, and their errors."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import pytest
from PIL import Image

from model_zoo.turns import Patch
from tests.training.tiny import encoded, synthetic_patches, write_parquet
from training.data import DataError, Patches, halves_of_valid, load, load_to_fit

OFFICIAL = "camelyonpatch_level_2_split_train"


def write_hdf5(folder: Path, patches: Patches) -> None:
    with h5py.File(folder / f"{OFFICIAL}_x.h5", "w") as x, h5py.File(folder / f"{OFFICIAL}_y.h5", "w") as y:
        x.create_dataset("x", data=patches.images, compression="gzip")
        y.create_dataset("y", data=patches.labels.astype(np.uint8).reshape(-1, 1, 1, 1))


def write_folders(folder: Path, patches: Patches) -> None:
    for i, (image, label) in enumerate(zip(patches.images, patches.labels, strict=True)):
        file = folder / "train" / str(label) / f"{i:03}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(encoded(image))


def by_label(patches: Patches) -> Patches:
    """In the order in which folders are read."""
    return patches[np.argsort(patches.labels, kind="stable")]


def assert_equal(actual: Patches, expected: Patches) -> None:
    assert actual.images.dtype == np.uint8
    assert actual.labels.dtype == np.int64
    assert np.array_equal(actual.images, expected.images)
    assert np.array_equal(actual.labels, expected.labels)
    assert actual.sha256 == expected.sha256


def test_the_three_layouts_give_equal_patches(tmp_path: Path, patches: Patches) -> None:
    for layout in ("hdf5", "parquet", "folders"):
        (tmp_path / layout).mkdir()
    write_hdf5(tmp_path / "hdf5", patches)
    write_parquet(tmp_path / "parquet" / "train-00000-of-00002.parquet", patches[:7])
    write_parquet(tmp_path / "parquet" / "train-00001-of-00002.parquet", patches[7:])
    write_folders(tmp_path / "folders", patches)
    assert_equal(load(tmp_path / "hdf5", "train"), patches)
    assert_equal(load(tmp_path / "parquet", "train"), patches)
    assert_equal(load(tmp_path / "folders", "train"), by_label(patches))
    assert str(len(patches)) in load(tmp_path / "hdf5", "train").source


def test_the_hash_knows_pixels_labels_and_order(patches: Patches) -> None:
    changed = patches.images.copy()
    changed[3, 50, 50, 1] ^= 1
    others = [Patches(changed, patches.labels, ""), Patches(patches.images, 1 - patches.labels, ""), patches[::-1]]
    assert len({patches.sha256, *(other.sha256 for other in others)}) == 4
    assert Patches(patches.images, patches.labels, "elsewhere").sha256 == patches.sha256


def test_a_folder_without_the_split_is_refused(tmp_path: Path, patches: Patches) -> None:
    write_parquet(tmp_path / "train.parquet", patches[:2])
    with pytest.raises(
        DataError,
        match=r"holds no 'valid' split: found train.parquet; expected \*_valid_x.h5 .* valid.parquet .*valid/0",
    ):
        load(tmp_path, "valid")


def test_hdf5_without_labels_is_refused(tmp_path: Path, patches: Patches) -> None:
    write_hdf5(tmp_path, patches)
    (tmp_path / f"{OFFICIAL}_y.h5").unlink()
    with pytest.raises(DataError, match=rf"{OFFICIAL}_x.h5 has no {OFFICIAL}_y.h5 beside it"):
        load(tmp_path, "train")


def test_hdf5_with_too_few_labels_is_refused(tmp_path: Path, patches: Patches) -> None:
    write_hdf5(tmp_path, Patches(patches.images, patches.labels[:-1], ""))
    with pytest.raises(DataError, match=r"holds \(16, 96, 96, 3\) for labels of shape \(15, 1, 1, 1\)"):
        load(tmp_path, "train")


def test_hdf5_of_another_size_is_refused(tmp_path: Path, patches: Patches) -> None:
    write_hdf5(tmp_path, Patches(patches.images[:, :95], patches.labels, ""))
    with pytest.raises(DataError, match=r"holds uint8 \(16, 95, 96, 3\), expected uint8 \[N, 96, 96, 3\]"):
        load(tmp_path, "train")


def test_parquet_with_an_image_of_another_size_is_refused(tmp_path: Path, patches: Patches) -> None:
    write_parquet(tmp_path / "train.parquet", Patches(patches.images[:, :, :95], patches.labels, ""))
    with pytest.raises(DataError, match=r"train\.parquet row 0 is 95×96 px, expected 96×96"):
        load(tmp_path, "train")


def test_folders_without_images_are_refused(tmp_path: Path) -> None:
    for label in "01":
        (tmp_path / "test" / label).mkdir(parents=True)
        (tmp_path / "test" / label / "notes.txt").write_text("no image")
    with pytest.raises(DataError, match=r"test holds no images \(.jpeg, .jpg, .png, .tif, .tiff\)"):
        load(tmp_path, "test")


@pytest.mark.parametrize("damage", ["truncated", "no image"])
def test_a_file_that_cannot_be_decoded_is_named(tmp_path: Path, patches: Patches, damage: str) -> None:
    write_folders(tmp_path, patches[:4])
    file = tmp_path / "train" / "1" / "001.png"
    file.write_bytes(file.read_bytes()[:4000] if damage == "truncated" else b"no image at all")
    with pytest.raises(DataError, match=r"001\.png"):
        load(tmp_path, "train")


@pytest.mark.parametrize("mode", ["L", "P", "LA", "CMYK"])
def test_an_image_that_is_not_rgb_is_refused(tmp_path: Path, patches: Patches, mode: str) -> None:
    write_folders(tmp_path, patches[:4])
    Image.fromarray(patches.images[1]).convert(mode).save(tmp_path / "train" / "1" / "odd.tif")
    with pytest.raises(DataError, match=f"odd.tif is {mode}, expected RGB"):
        load(tmp_path, "train")


def test_halves_of_valid_are_fixed_disjoint_and_independent_of_order() -> None:
    rng = np.random.default_rng(0)
    images: Patch = rng.integers(0, 256, (200, 96, 96, 3), dtype=np.uint8)
    valid = Patches(images, np.arange(200), "noise")
    choosing, calibrating = (set(half.labels.tolist()) for half in halves_of_valid(valid))
    assert choosing | calibrating == set(range(200))
    assert not choosing & calibrating
    assert 70 < len(choosing) < 130
    shuffled = valid[rng.permutation(200)]
    assert [set(half.labels.tolist()) for half in halves_of_valid(shuffled)] == [choosing, calibrating]
    alone = halves_of_valid(synthetic_patches(1))
    assert sorted(len(half) for half in alone) == [0, 1]


def test_the_shared_patches_are_all_there_distinct_and_load_without_a_flag(shared: Path) -> None:
    train, valid = load_to_fit(shared / "pcam")
    test = load(shared / "pcam", "test")
    for patches, count, positive in ((train, 31521, 14043), (valid, 2907, 1407), (test, 1503, 728)):
        assert patches.images.shape == (count, 96, 96, 3)
        assert patches.labels.sum() == positive
    assert train.notes == ()

"""Users' data folders in every layout."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from tests.training.layouts import LAYOUTS, PCAM, SPLITS, cells_of, write_hdf5, write_parquet, write_table
from training.data import DataError, Patches, SplitName, load, load_to_fit


@pytest.fixture(params=["parquet", "hdf5", "folders", "kaggle", "wilds"])
def layout(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    LAYOUTS[request.param](tmp_path)
    return tmp_path


def as_set(patches: Patches) -> set[tuple[bytes, int]]:
    return {(image.tobytes(), int(label)) for image, label in zip(patches.images, patches.labels, strict=True)}


def test_every_layout_gives_the_same_patches(layout: Path) -> None:
    train, valid = load_to_fit(layout)
    assert as_set(train) == as_set(SPLITS["train"])
    assert as_set(valid) == as_set(SPLITS["valid"])
    assert len(train.origins) == len(train) == 48
    if not (layout / "train_labels.csv").exists():
        assert as_set(load(layout, "test")) == as_set(SPLITS["test"])


def test_kaggle_has_no_test_split_and_says_that_slides_are_shared(tmp_path: Path) -> None:
    LAYOUTS["kaggle"](tmp_path)
    with pytest.raises(DataError, match="Kaggle publishes no labels for its test patches; use valid"):
        load(tmp_path, "test")
    assert "one slide may be in train and valid" in load(tmp_path, "valid").notes[0]


@pytest.mark.parametrize("nested", ["pcam", "data", "camelyon17_v1.0"])
def test_a_nested_folder_is_found(tmp_path: Path, nested: str) -> None:
    (tmp_path / nested).mkdir()
    write_hdf5(tmp_path / nested)
    assert as_set(load(tmp_path, "valid")) == as_set(SPLITS["valid"])


def test_files_of_operating_systems_are_ignored(layout: Path) -> None:
    for folder in [layout, *(entry for entry in layout.rglob("*") if entry.is_dir())]:
        for entry in list(folder.iterdir()):
            (folder / f"._{entry.name}").write_bytes(b"\0\5\26\7")
        (folder / ".DS_Store").write_bytes(b"\0\0\0\1Bud1")
        (folder / "Thumbs.db").write_bytes(b"\xd0\xcf\x11\xe0")
    assert len(load(layout, "train")) == 48


@pytest.mark.parametrize("name", ["val", "validation"])
def test_valid_goes_by_its_other_names(tmp_path: Path, name: str) -> None:
    write_parquet(tmp_path)
    (tmp_path / "valid.parquet").rename(tmp_path / f"{name}-00000-of-00001.parquet")
    assert as_set(load(tmp_path, "valid")) == as_set(SPLITS["valid"])


@pytest.mark.parametrize(
    ("negative", "positive"), [("no_metastasis", "metastasis"), ("Negative", "Positive"), ("normal", "tumor")]
)
def test_classes_go_by_their_names(tmp_path: Path, negative: str, positive: str) -> None:
    expected = as_set(SPLITS["valid"])
    labels, cells = SPLITS["valid"].labels, cells_of(SPLITS["valid"])
    file = tmp_path / "valid.parquet"
    write_table(file, cells, [(negative, positive)[label] for label in labels])
    assert as_set(load(tmp_path, "valid")) == expected
    write_table(file, cells, labels.tolist(), classes=(negative, positive))
    assert as_set(load(tmp_path, "valid")) == expected
    write_table(file, cells, (1 - labels).tolist(), classes=(positive, negative))  # 0 stands for tumour there
    assert as_set(load(tmp_path, "valid")) == expected
    file.unlink()
    LAYOUTS["folders"](tmp_path)
    for label, name in ((0, negative), (1, positive)):
        (tmp_path / "valid" / str(label)).rename(tmp_path / "valid" / name)
    assert as_set(load(tmp_path, "valid")) == expected


@pytest.mark.parametrize("kind", [bool, float, str])
def test_labels_may_be_booleans_whole_floats_and_digits(tmp_path: Path, kind: type) -> None:
    patches = SPLITS["valid"]
    write_table(tmp_path / "valid.parquet", cells_of(patches), [kind(label) for label in patches.labels.tolist()])
    assert np.array_equal(load(tmp_path, "valid").labels, patches.labels)


def test_duplicates_in_train_are_read_where_they_are_allowed(tmp_path: Path) -> None:
    write_parquet(tmp_path)
    train = SPLITS["train"]
    write_table(tmp_path / "train.parquet", cells_of(train) + cells_of(train)[:3], [*train.labels, *train.labels[:3]])
    with pytest.raises(DataError, match=r"train\.parquet row 0 and train\.parquet row 48 hold the same pixels \(3 dup"):
        load_to_fit(tmp_path)
    again, _ = load_to_fit(tmp_path, allow_duplicates=True)
    assert len(again) == 51
    assert again.notes == ("train holds 3 patches again",)


def test_a_test_split_is_not_needed_to_fit(tmp_path: Path) -> None:
    write_parquet(tmp_path)
    (tmp_path / "test.parquet").unlink()
    assert [len(split) for split in load_to_fit(tmp_path)] == [48, 48]


@pytest.mark.parametrize("split", list(SPLITS))
def test_the_split_is_asked_for_by_its_own_name(tmp_path: Path, split: SplitName) -> None:
    write_hdf5(tmp_path)
    assert load(tmp_path, split).source == f"{PCAM.format(split, 'x')}: {len(SPLITS[split])} patches, lossless"


def test_a_folder_beside_the_nested_one_is_found_twice(tmp_path: Path) -> None:
    write_parquet(tmp_path)
    shutil.copytree(tmp_path, tmp_path / "pcam")
    with pytest.raises(DataError, match=r"holds the train split twice, in train\.parquet and in train\.parquet"):
        load(tmp_path, "train")

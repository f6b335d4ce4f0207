"""Spoilt data folders: each ends in one sentence with the file and the fault, and nothing is trained."""

from __future__ import annotations

import gzip
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image

from tests.training.layouts import (
    LAYOUTS,
    PCAM,
    SPLITS,
    cells_of,
    kaggle_ids,
    saved,
    write_h5,
    write_table,
)
from tests.training.tiny import encoded
from training.data import DataError, load_to_fit

TRAIN, VALID, TEST = SPLITS["train"], SPLITS["valid"], SPLITS["test"]
HTML = b"<!DOCTYPE html><html><title>Google Drive - Virus scan warning</title></html>"
X, Y = (PCAM.format("train", axis) for axis in "xy")
Spoil = Callable[[Path], object]


def table(split: str = "train", **options: Any) -> Spoil:
    """Write the Parquet file of train anew with other cells or labels."""
    arguments = {"cells": cells_of(TRAIN), "labels": TRAIN.labels.tolist(), **options}
    return lambda root: write_table(root / f"{split}.parquet", **arguments)


def label(value: object) -> Spoil:
    """Another label in row 7 of train, a column of the type of that label."""
    of: Callable[[int], object] = int if value is None else type(value)
    labels = [of(number) for number in TRAIN.labels.tolist()]
    return table(labels=[*labels[:7], value, *labels[8:]])


def image(content: bytes | None) -> Spoil:
    """Another image in row 7 of train."""
    cells = cells_of(TRAIN)
    return table(cells=[*cells[:7], {"bytes": content, "path": "a.png"}, *cells[8:]])


def content(name: str, value: bytes) -> Spoil:
    return lambda root: (root / name).write_bytes(value)


def cut(name: str) -> Spoil:
    return lambda root: (root / name).write_bytes((root / name).read_bytes()[: (root / name).stat().st_size * 2 // 3])


def remove(name: str) -> Spoil:
    return lambda root: (root / name).unlink()


def rename(old: str, new: str) -> Spoil:
    return lambda root: (root / old).rename(root / new)


def copy(old: str, new: str) -> Spoil:
    return lambda root: shutil.copy(root / old, root / new)


def pack(name: str) -> Spoil:
    """Only the compressed file is there."""

    def spoil(root: Path) -> None:
        (root / f"{name}.gz").write_bytes(gzip.compress((root / name).read_bytes()))
        (root / name).unlink()

    return spoil


def h5(name: str, values: Any, key: str) -> Spoil:
    return lambda root: write_h5(root / name, values, key)


def marks(values: Any) -> Spoil:
    """Other labels, each as a number, in the HDF5 file of train."""
    return h5(Y, np.asarray(values), "y")


def replace(name: str, old: str, new: str) -> Spoil:
    def spoil(root: Path) -> None:
        text = (root / name).read_text()
        assert old in text
        (root / name).write_text(text.replace(old, new, 1))

    return spoil


def with_marks(row: int, value: float, dtype: str) -> Spoil:
    labels = TRAIN.labels.astype(dtype)
    labels[row] = value
    return marks(labels)


def twice(*splits: str) -> Spoil:
    """The first patch of train once more, at the end of these splits."""

    def spoil(root: Path) -> None:
        for split in splits:
            patches = {"train": TRAIN, "valid": VALID, "test": TEST}[split]
            cells, labels = cells_of(patches) + cells_of(TRAIN)[:1], [*patches.labels, TRAIN.labels[0]]
            write_table(root / f"{split}.parquet", cells, labels)

    return spoil


GRAY = Image.fromarray(TRAIN.images[7]).convert("L")
DEEP = Image.fromarray(np.arange(96 * 96, dtype=np.uint16).reshape(96, 96))
FLOAT = Image.fromarray(np.zeros((96, 96), np.float32))
SMALL = Image.fromarray(TRAIN.images[7, :48, :48])
CLEAR = Image.fromarray(np.dstack([TRAIN.images[7], np.arange(96 * 96, dtype=np.uint8).reshape(96, 96)]))
PAGE = Image.fromarray(TRAIN.images[7])
PAGES = saved(PAGE, "TIFF", save_all=True, append_images=[PAGE])
ROW = r"train\.parquet row 7"
KAGGLE = kaggle_ids("train")[7]
WILDS = "patches/patient_000_node_1/patch_patient_000_node_1_x_7_y_7.png"

# Name: layout, what is done to it, what the sentence says.
CASES: dict[str, tuple[str, Spoil, str]] = {
    "label null": ("parquet", label(None), rf"{ROW}: the label is missing \(null\); read are 0 "),
    "label -1": ("parquet", label(-1), f"{ROW}: the label is -1; read are 0 "),
    "label 255": ("parquet", label(255), f"{ROW}: the label is 255;"),
    "label fractional": ("parquet", label(0.5), f"{ROW}: the label is 0.5;"),
    "label NaN": ("parquet", label(float("nan")), f"{ROW}: the label is missing"),
    "label of a third class": ("parquet", label("stroma"), f"{ROW}: the label is 'stroma'"),
    "label empty text": ("parquet", label(""), rf"{ROW}: the label is missing \(empty\)"),
    "labels one-hot": ("parquet", table(labels=[[1, 0]] * 48), r"row 0: the label is \[1, 0\]"),
    "label column named otherwise": (
        "parquet",
        table(names=("image", "target")),
        r"train\.parquet has the columns image, target; read are image and label, and label is missing: rename",
    ),
    "image column named otherwise": (
        "parquet",
        table(names=("img", "label")),
        r"train\.parquet has the columns img, label; .* image is missing",
    ),
    "images as numbers": (
        "parquet",
        table(cells=[[0.5] * 8] * 48, kind=pa.list_(pa.float32())),
        r"train\.parquet has images of type list<.*float>, expected a struct with bytes",
    ),
    "classes unknown": ("parquet", table(classes=("cat", "dog")), r"train\.parquet states the classes 'cat', 'dog'"),
    "three classes": ("parquet", table(classes=("normal", "tumor", "cancer")), r"states the classes 'normal', 'tumor'"),
    "image not embedded": ("parquet", image(None), f"{ROW} holds no image bytes: embed"),
    "image empty": ("parquet", image(b""), f"{ROW} is empty, expected image"),
    "image cut": ("parquet", image(encoded(TRAIN.images[7])[:4000]), rf"{ROW} cannot be decoded \(.*\): replace"),
    "image a web page": ("parquet", image(HTML), f"{ROW} is a web page, expected image"),
    "image gray": ("parquet", image(saved(GRAY)), f"{ROW} is L, expected RGB"),
    "image 16 bit": ("parquet", image(saved(DEEP)), f"{ROW} is I;16, expected RGB"),
    "image float": ("parquet", image(saved(FLOAT, "TIFF")), f"{ROW} is F, expected RGB"),
    "image of 48 px": ("parquet", image(saved(SMALL)), f"{ROW} is 48×48 px, expected 96×96: cut patches"),
    "image transparent": ("parquet", image(saved(CLEAR)), f"{ROW} is transparent in places: composite"),
    "image of two pages": ("parquet", image(PAGES), f"{ROW} holds 2 images, expected one"),
    "Parquet a web page": (
        "parquet",
        content("train.parquet", HTML),
        r"train\.parquet is a web page, expected Parquet",
    ),
    "Parquet cut": ("parquet", cut("train.parquet"), r"train\.parquet is a Parquet file that is cut or damaged: down"),
    "Parquet empty": ("parquet", content("valid.parquet", b""), r"valid\.parquet is empty, expected Parquet"),
    "Parquet an LFS pointer": (
        "parquet",
        content("train.parquet", b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 7\n"),
        r"train\.parquet is a Git LFS pointer without its content: run git lfs pull",
    ),
    "Parquet without rows": (
        "parquet",
        table(cells=[], labels=pa.array([], pa.int64())),
        r"train\.parquet holds no pat",
    ),
    "shard missing": (
        "parquet",
        rename("train.parquet", "train-00001-of-00002.parquet"),
        "holds shard 0 of train 0 times, expected 00002 shards once each",
    ),
    "shards and one file": (
        "parquet",
        copy("train.parquet", "train-00000-of-00001.parquet"),
        r"holds the train split twice, in train-00000-of-00001\.parquet and in train\.parquet: keep one",
    ),
    "a copy by another name": (
        "parquet",
        copy("train.parquet", "train_old.parquet"),
        r"train_old\.parquet looks like a part of the train split; read are",
    ),
    "valid and validation": (
        "parquet",
        copy("valid.parquet", "validation.parquet"),
        r"holds the valid split twice, in valid\.parquet and in validation\.parquet",
    ),
    "a patch twice in train": (
        "parquet",
        twice("train"),
        r"row 0 and train\.parquet row 48 hold the same pixels \(1 d",
    ),
    "a patch twice in valid": (
        "parquet",
        table("valid", cells=cells_of(VALID) + cells_of(VALID)[:1], labels=[*VALID.labels, VALID.labels[0]]),
        r"valid\.parquet row 0 and valid\.parquet row 48 hold the same pixels \(1 duplicates in valid\): remove them$",
    ),
    "a patch of train in valid": (
        "parquet",
        twice("valid"),
        r"train\.parquet row 0 in train and valid\.parquet row 48 in valid hold the same pixels",
    ),
    "a patch of train in test": (
        "parquet",
        twice("test"),
        r"train\.parquet row 0 in train and test\.parquet row 24 in test hold the same pixels",
    ),
    "the same file as train and valid": (
        "parquet",
        copy("train.parquet", "valid.parquet"),
        "48 patches of valid are in train too",
    ),
    "a patch with both labels": (
        "parquet",
        table(cells=cells_of(TRAIN) + cells_of(TRAIN)[:1], labels=[*TRAIN.labels, 1 - TRAIN.labels[0]]),
        r"train\.parquet row 0 and train\.parquet row 48 hold the same pixels with different labels",
    ),
    "train of one class": ("parquet", table(labels=[1] * 48), r"train\.parquet holds 48 patches .* all with label 1"),
    "valid of one class": (
        "parquet",
        table("valid", cells=cells_of(VALID), labels=[False] * 48),
        r"valid\.parquet holds 48 patches of the valid split, all with label 0: both labels are needed",
    ),
    "valid too small": (
        "parquet",
        table("valid", cells=cells_of(VALID)[:8], labels=VALID.labels[:8].tolist()),
        r"valid\*\.parquet: 8 patches: too few to validate with, expected at least 32",
    ),
    "valid with one tumour": (
        "parquet",
        table("valid", cells=cells_of(VALID), labels=[0] * 47 + [1]),
        r"valid\*\.parquet: 48 patches: of the half that chooses the epoch, .* expected at least 4 of each",
    ),
    "no valid": (
        "parquet",
        remove("valid.parquet"),
        r"holds no 'valid' split: found test\.parquet, train\.parquet; exp",
    ),
    "test cut": ("parquet", cut("test.parquet"), r"test\.parquet is a Parquet file that is cut or damaged"),
    "no labels": ("hdf5", remove(Y), f"{X} has no {Y} beside it: put the file"),
    "labels packed": ("hdf5", pack(Y), f"{X} has no {Y} beside it: unpack it: gunzip .*{Y}.gz"),
    "images packed": ("hdf5", pack(X), f"{X}.gz is compressed; unpack it: gunzip .*{X}.gz"),
    "packed and renamed": (
        "hdf5",
        content(X, gzip.compress(b"images")),
        f"{X} is compressed by gzip: add .gz to its name and unpack it",
    ),
    "HDF5 a web page": ("hdf5", content(X, HTML), f"{X} is a web page, expected HDF5"),
    "HDF5 cut": ("hdf5", cut(X), f"{X} is an HDF5 file that is cut or damaged: download"),
    "HDF5 empty": ("hdf5", content(Y, b""), f"{Y} is empty, expected HDF5"),
    "HDF5 other bytes": ("hdf5", content(X, b"\x93NUMPY"), f"{X} is no HDF5 file, or is damaged"),
    "float images": (
        "hdf5",
        h5(X, TRAIN.images / np.float32(255), "x"),
        rf"{X} holds float32 .*, expected uint8 \[N, 96",
    ),
    "16 bit images": (
        "hdf5",
        h5(X, TRAIN.images.astype(np.uint16), "x"),
        rf"{X} holds uint16 \(48, 96, 96, 3\), expect",
    ),
    "channels first": (
        "hdf5",
        h5(X, TRAIN.images.transpose(0, 3, 1, 2), "x"),
        rf"{X} holds uint8 \(48, 3, 96, 96\), ex",
    ),
    "images flat": ("hdf5", h5(X, TRAIN.images.reshape(48, -1), "x"), rf"{X} holds uint8 \(48, 27648\), expected"),
    "images of 50 px": ("hdf5", h5(X, TRAIN.images[:, :50, :50], "x"), rf"{X} holds uint8 \(48, 50, 50, 3\), expected"),
    "images by another name": ("hdf5", h5(X, TRAIN.images, "images"), f"{X} holds the datasets images; read is 'x'"),
    "labels by another name": ("hdf5", h5(Y, TRAIN.labels, "labels"), f"{Y} holds the datasets labels; read is 'y'"),
    "a label too few": ("hdf5", marks(TRAIN.labels[:-1]), rf"{X} holds .* for labels of shape \(47,\) in {Y}"),
    "HDF5 labels one-hot": ("hdf5", marks(np.eye(2)[TRAIN.labels]), rf"for labels of shape \(48, 2\) in {Y}"),
    "HDF5 label 255": ("hdf5", with_marks(7, 255, "uint8"), f"{Y} row 7: the label is 255"),
    "HDF5 label -1": ("hdf5", with_marks(7, -1, "int64"), f"{Y} row 7: the label is -1"),
    "HDF5 label fractional": ("hdf5", with_marks(7, 0.25, "float64"), f"{Y} row 7: the label is 0.25"),
    "HDF5 label NaN": ("hdf5", with_marks(7, np.nan, "float32"), f"{Y} row 7: the label is missing"),
    "all images black": (
        "hdf5",
        h5(X, np.zeros_like(TRAIN.images), "x"),
        f"{X} row 0 and {X} row 1 hold the same pixels",
    ),
    "two files of images": (
        "hdf5",
        copy(X, "my_train_x.h5"),
        f"holds the train split twice, as {X} and as my_train_x.h5",
    ),
    "two layouts": (
        "hdf5",
        lambda root: write_table(root / "train.parquet", cells_of(TRAIN), TRAIN.labels.tolist()),
        rf"holds the train split twice, in {X} and in train\.parquet",
    ),
    "one folder of class": (
        "folders",
        lambda root: shutil.rmtree(root / "train/1"),
        "train holds no folder for label 1",
    ),
    "a folder of class is empty": (
        "folders",
        lambda root: (shutil.rmtree(root / "train/1"), (root / "train/1").mkdir()),  # type: ignore[func-returns-value]
        "train/ holds 24 patches of the train split, all with label 0",
    ),
    "a third folder": ("folders", lambda root: (root / "train/2").mkdir(), "train/2 is no folder of a class"),
    "two folders of a class": (
        "folders",
        lambda root: (root / "train/tumor").mkdir(),
        "train holds 1/ and tumor/, both for label 1: merge",
    ),
    "folders of unknown classes": (
        "folders",
        lambda root: [(root / "train" / old).rename(root / "train" / new) for old, new in (("0", "a"), ("1", "b"))],
        "train holds a and no folder named by a label or class",
    ),
    "images beside the folders": (
        "folders",
        copy("train/0/000.png", "train/x.png"),
        r"train/x\.png is no folder of a cl",
    ),
    "an array among images": ("folders", content("train/0/a.npy", b"\x93NUMPY"), r"train/0/a\.npy is none of \.jpeg,"),
    "an image file cut": ("folders", cut("train/1/001.png"), r"train/1/001\.png cannot be decoded"),
    "an image file a web page": ("folders", content("valid/1/001.png", HTML), r"valid/1/001\.png is a web page"),
    "an image in both classes": (
        "folders",
        copy("train/0/000.png", "train/1/new.png"),
        r"train/0/000\.png and .*train/1/new\.png hold the same pixels with different labels",
    ),
    "images without a table": (
        "kaggle",
        remove("train_labels.csv"),
        r"train holds .*\.tif and no folder named by a label or class; .* or Kaggle's train_labels\.csv beside train/",
    ),
    "Kaggle's image missing": (
        "kaggle",
        remove(f"train/{KAGGLE}.tif"),
        rf"train/{KAGGLE}\.tif .*line 9\) is listed, and",
    ),
    "Kaggle's row missing": (
        "kaggle",
        replace("train_labels.csv", f"{KAGGLE},1\n", ""),
        rf"{KAGGLE}\.tif has no row in",
    ),
    "Kaggle's label empty": (
        "kaggle",
        replace("train_labels.csv", f"{KAGGLE},1", f"{KAGGLE},"),
        r"train_labels\.csv line 9: the label is missing",
    ),
    "Kaggle's columns": (
        "kaggle",
        replace("train_labels.csv", "id,label", "id;label"),
        r"train_labels\.csv has the columns id;label; read are id, label",
    ),
    "Kaggle's id twice": (
        "kaggle",
        replace("train_labels.csv", "id,label", f"id,label\n{KAGGLE},0"),
        rf"train_labels\.csv line 10 repeats the id {KAGGLE} of train_labels\.csv line 2",
    ),
    "Kaggle's id a path": (
        "kaggle",
        replace("train_labels.csv", f"{KAGGLE},1", "../../secret,1"),
        r"train_labels\.csv line 9: id is '\.\./\.\./secret', expected letters",
    ),
    "Kaggle's table a web page": ("kaggle", content("train_labels.csv", HTML), r"train_labels\.csv is a web page"),
    "Kaggle's images not unpacked": (
        "kaggle",
        lambda root: shutil.rmtree(root / "train"),
        r"train_labels\.csv has no folder train/ with the images beside it",
    ),
    "WILDS's image missing": ("wilds", remove(WILDS), rf"{WILDS} \(metadata\.csv line 9\) is listed, and is not there"),
    "WILDS's label 2": (
        "wilds",
        replace("metadata.csv", "7,000,1,7,7,1,", "7,000,1,7,7,2,"),
        r"metadata\.csv line 9: the label is '2'",
    ),
    "WILDS's column missing": (
        "wilds",
        replace("metadata.csv", ",tumor,", ",y,"),
        r"metadata\.csv has the columns .*; read are .*, and tumor is missing",
    ),
    "WILDS's split unknown": (
        "wilds",
        replace("metadata.csv", "7,000,1,7,7,1,0,0,0", "7,000,1,7,7,1,0,0,9"),
        r"metadata\.csv line 9: split is '9', expected 0, 1, 2, 3",
    ),
    "WILDS's table cut": (
        "wilds",
        replace("metadata.csv", "7,000,1,7,7,1,0,0,0", "7,000,1,7"),
        r"metadata\.csv line 9 has not the 9 cells of the header",
    ),
    "nothing": ("nothing", lambda _root: None, r"holds no 'train' split: found nothing; expected \*_train_x\.h5 with"),
    "an archive": ("nothing", content("pcam.zip", b"PK\3\4"), r"pcam\.zip is an archive; unpack it"),
    "other files": ("nothing", content("x.npy", b"\x93NUMPY"), r"holds no 'train' split: found x\.npy; expected"),
    "no folder": ("nothing", lambda root: root.rmdir(), "is no folder, so it holds no 'train' split"),
}


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in each layout, without a fault."""
    root = tmp_path_factory.mktemp("whole")
    for name, write in LAYOUTS.items():
        (root / name).mkdir()
        write(root / name)
    return root


def spoilt(whole: Path, root: Path, case: str) -> Path:
    layout, spoil, _ = CASES[case]
    shutil.copytree(whole / layout, root / "data")
    spoil(root / "data")
    return root / "data"


@pytest.mark.parametrize("case", CASES)
def test_a_spoilt_folder_ends_in_one_sentence_with_the_file_and_the_fault(
    whole: Path, tmp_path: Path, case: str
) -> None:
    data = spoilt(whole, tmp_path, case)
    with pytest.raises(DataError, match=CASES[case][2]) as caught:
        load_to_fit(data)
    assert "\n" not in str(caught.value)


def test_there_are_at_least_54_spoilt_folders() -> None:
    assert len(CASES) >= 54


def rosette(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    program = Path(sys.executable).with_name("rosette")
    return subprocess.run([program, *arguments], capture_output=True, text=True, timeout=300)


@pytest.mark.parametrize("case", ["label 255", "HDF5 cut", "a patch of train in valid"])
def test_the_installed_train_exits_with_2_and_leaves_no_run(whole: Path, tmp_path: Path, case: str) -> None:
    done = rosette("train", tmp_path / "run", "--data", spoilt(whole, tmp_path, case), "--topology", "fast")
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert line.startswith("rosette train: ")
    with pytest.raises(DataError) as caught:
        load_to_fit(tmp_path / "data")
    assert str(caught.value) in line
    assert done.stdout == ""
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(("case", "split"), [("valid of one class", "valid"), ("test cut", "test")])
def test_the_installed_evaluate_exits_with_2_and_prints_no_figure(
    whole: Path, tmp_path: Path, artifact_path: Path, case: str, split: str
) -> None:
    done = rosette("evaluate", artifact_path, "--data", spoilt(whole, tmp_path, case), "--split", split)
    assert done.returncode == 2
    assert done.stderr.startswith(f"rosette evaluate: {split}.parquet ")
    assert len(done.stderr.splitlines()) == 1
    assert done.stdout == ""

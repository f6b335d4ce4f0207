"""Damaged folders in Hugging Face's layout."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
from PIL import Image

from tests.training.layouts import cells_of, saved
from tests.training.spoil import (
    HTML,
    TRAIN,
    VALID,
    Cases,
    content,
    copy,
    cut,
    image,
    label,
    remove,
    rename,
    table,
    twice,
)
from tests.training.tiny import encoded

GRAY = Image.fromarray(TRAIN.images[7]).convert("L")
DEEP = Image.fromarray(np.arange(96 * 96, dtype=np.uint16).reshape(96, 96))
FLOAT = Image.fromarray(np.zeros((96, 96), np.float32))
SMALL = Image.fromarray(TRAIN.images[7, :48, :48])
CLEAR = Image.fromarray(np.dstack([TRAIN.images[7], np.arange(96 * 96, dtype=np.uint8).reshape(96, 96)]))
PAGE = Image.fromarray(TRAIN.images[7])
PAGES = saved(PAGE, "TIFF", save_all=True, append_images=[PAGE])
ROW = r"train\.parquet row 7"

CASES: Cases = {
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
    "Parquet cut": (
        "parquet",
        cut("train.parquet"),
        r"train\.parquet is a Parquet file that is truncated or damaged: d",
    ),
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
    "test cut": ("parquet", cut("test.parquet"), r"test\.parquet is a Parquet file that is truncated or damaged"),
}

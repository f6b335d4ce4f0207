"""Damaged folders in the layouts of PCam, Kaggle and WILDS, in folders of images, and in none."""

from __future__ import annotations

import gzip
import shutil

import numpy as np

from tests.training.layouts import cells_of, kaggle_ids, write_table
from tests.training.spoil import (
    HTML,
    TRAIN,
    Cases,
    X,
    Y,
    content,
    copy,
    cut,
    h5,
    marks,
    pack,
    remove,
    replace,
    with_marks,
)

KAGGLE = kaggle_ids("train")[7]
WILDS = "patches/patient_000_node_1/patch_patient_000_node_1_x_7_y_7.png"

CASES: Cases = {
    "no labels": ("hdf5", remove(Y), f"{X} has no {Y} beside it: put the file"),
    "labels packed": ("hdf5", pack(Y), f"{X} has no {Y} beside it: unpack it: gunzip .*{Y}.gz"),
    "images packed": ("hdf5", pack(X), f"{X}.gz is compressed; unpack it: gunzip .*{X}.gz"),
    "packed and renamed": (
        "hdf5",
        content(X, gzip.compress(b"images")),
        f"{X} is compressed by gzip: add .gz to its name and unpack it",
    ),
    "HDF5 a web page": ("hdf5", content(X, HTML), f"{X} is a web page, expected HDF5"),
    "HDF5 cut": ("hdf5", cut(X), f"{X} is an HDF5 file that is truncated or damaged: download"),
    "HDF5 empty": ("hdf5", content(Y, b""), f"{Y} is empty, expected HDF5"),
    "HDF5 other bytes": ("hdf5", content(X, b"\x93NUMPY"), f"{X} is not a valid HDF5 file"),
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
    "a third folder": ("folders", lambda root: (root / "train/2").mkdir(), "train/2 is not a folder of a class"),
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
        r"train/x\.png is not a folder of a cl",
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
        rf"train/{KAGGLE}\.tif .*line 9\) is listed but missing",
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
    "WILDS's image missing": (
        "wilds",
        remove(WILDS),
        rf"{WILDS} \(metadata\.csv line 9\) is listed but missing",
    ),
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
        r"metadata\.csv line 9 does not have the 9 cells of the header",
    ),
    "nothing": ("nothing", lambda _root: None, r"holds no 'train' split: found nothing; expected \*_train_x\.h5 with"),
    "an archive": ("nothing", content("pcam.zip", b"PK\3\4"), r"pcam\.zip is an archive; unpack it"),
    "other files": ("nothing", content("x.npy", b"\x93NUMPY"), r"holds no 'train' split: found x\.npy; expected"),
    "no folder": ("nothing", lambda root: root.rmdir(), "is not a folder and has no 'train' split"),
}

"""Small data folders of synthetic patches in every layout."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from functools import cache
from io import BytesIO
from itertools import count
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from tests.training.tiny import encoded, synthetic_patches
from training.data import Patches, SplitName
from training.data.kaggle import in_valid

SPLITS: dict[SplitName, Patches] = {
    "train": synthetic_patches(48),
    "valid": synthetic_patches(48, 48),
    "test": synthetic_patches(24, 96),
}
PCAM = "camelyonpatch_level_2_split_{}_{}.h5"
STRUCT = pa.struct([("bytes", pa.binary()), ("path", pa.string())])


@cache
def _png(pixels: bytes) -> bytes:
    return encoded(np.frombuffer(pixels, np.uint8).reshape(96, 96, 3))


def cells_of(patches: Patches) -> list[Any]:
    return [{"bytes": _png(image.tobytes()), "path": None} for image in patches.images]


def write_table(
    file: Path,
    cells: Sequence[Any],
    labels: Sequence[Any],
    names: tuple[str, str] = ("image", "label"),
    classes: Sequence[str] = (),
    kind: pa.DataType = STRUCT,
) -> None:
    """A Parquet file with these cells; ``classes`` are noted as the datasets library does."""
    table = pa.table({names[0]: pa.array(cells, kind), names[1]: pa.array(labels)})
    if classes:
        features = {"info": {"features": {names[1]: {"names": list(classes), "_type": "ClassLabel"}}}}
        table = table.replace_schema_metadata({"huggingface": json.dumps(features)})
    pq.write_table(table, file)


def write_parquet(root: Path) -> None:
    for split, patches in SPLITS.items():
        write_table(root / f"{split}.parquet", cells_of(patches), patches.labels.tolist())


def write_h5(file: Path, values: Any, key: str) -> None:
    with h5py.File(file, "w") as content:
        content[key] = values


def write_hdf5(root: Path) -> None:
    for split, patches in SPLITS.items():
        write_h5(root / PCAM.format(split, "x"), patches.images, "x")
        write_h5(root / PCAM.format(split, "y"), patches.labels.astype(np.uint8).reshape(-1, 1, 1, 1), "y")


def write_folders(root: Path) -> None:
    for split, patches in SPLITS.items():
        for label in "01":
            (root / split / label).mkdir(parents=True)
        for i, (image, label) in enumerate(zip(patches.images, patches.labels, strict=True)):
            (root / split / str(label) / f"{i:03}.png").write_bytes(encoded(image))


def kaggle_ids(split: SplitName) -> list[str]:
    """As many ids as the split has patches, all of which belong to it."""
    ids = (f"{number:040x}" for number in count() if in_valid(f"{number:040x}") == (split == "valid"))
    return [next(ids) for _ in SPLITS[split].labels]


def write_kaggle(root: Path) -> None:
    (root / "train").mkdir()
    lines = ["id,label"]
    for split in ("train", "valid"):
        patches = SPLITS[split]
        for name, image, label in zip(kaggle_ids(split), patches.images, patches.labels, strict=True):
            (root / "train" / f"{name}.tif").write_bytes(encoded(image, "TIFF"))
            lines.append(f"{name},{label}")
    (root / "train_labels.csv").write_text("\n".join(lines) + "\n")


CENTERS: dict[SplitName, int] = {"train": 0, "valid": 1, "test": 2}


def write_wilds(root: Path) -> None:
    """With RGBA images, as WILDS has them, and one patch of its split id_val, which is not read."""
    lines = [",patient,node,x_coord,y_coord,tumor,slide,center,split"]
    for split, patches in SPLITS.items():
        for i, (image, label) in enumerate(zip(patches.images, patches.labels, strict=True)):
            slide = f"patient_00{CENTERS[split]}_node_1"
            file = root / "patches" / slide / f"patch_{slide}_x_{i}_y_7.png"
            file.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(image).convert("RGBA").save(file)
            center = CENTERS[split]
            lines.append(f"{len(lines) - 1},00{center},1,{i},7,{label},{center},{center},0")
    lines.append(f"{len(lines) - 1},003,1,0,7,1,3,3,1")
    (root / "metadata.csv").write_text("\n".join(lines) + "\n")


LAYOUTS: dict[str, Callable[[Path], None]] = {
    "parquet": write_parquet,
    "hdf5": write_hdf5,
    "folders": write_folders,
    "kaggle": write_kaggle,
    "wilds": write_wilds,
    "nothing": lambda _root: None,
}


def saved(image: Image.Image, format_: str = "PNG", **options: Any) -> bytes:
    buffer = BytesIO()
    image.save(buffer, format_, **options)
    return buffer.getvalue()

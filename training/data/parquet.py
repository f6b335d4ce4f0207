"""Hugging Face's layout: ``train.parquet`` or ``train-00000-of-00003.parquet`` and so on, with image and label."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from training.data.content import fault, visible
from training.data.images import blank, decode_into
from training.data.labels import as_labels, class_names
from training.data.layout import ALIASES, Found
from training.data.patches import DataError, Patches, SplitName, named

COLUMNS = ["image", "label"]
BATCH = 4096
# Older versions of the datasets library append a hash to the shard's number.
SHARD = re.compile(r"(?P<split>[a-z]+)(-(?P<index>\d{5})-of-(?P<count>\d{5})(-[0-9a-f]{16})?)?\.parquet")


def find(root: Path, split: SplitName) -> Found | None:
    """The split's Parquet files, if there are any.

    Raises:
        DataError: if a file name is similar to the split's, files overlap, or a shard is missing.
    """
    start = re.compile(rf"({'|'.join(ALIASES[split])})(?![a-z])")
    files = [file for file in visible(root) if file.suffix == ".parquet" and start.match(file.name)]
    if not files:
        return None
    shards = [(file, match) for file in files if (match := SHARD.fullmatch(file.name))]
    strangers = [file.name for file in files if not SHARD.fullmatch(file.name)]
    if strangers:
        raise DataError(
            f"{root / strangers[0]} looks like a part of the {split} split; read are {split}.parquet, or "
            f"{split}-00000-of-00001.parquet and so on: rename the file or move it away"
        )
    _require_one_set(root, split, [match for _, match in shards])
    return Found(_title(files), lambda: _read(files, split))


def _title(files: Sequence[Path]) -> str:
    return files[0].name if len(files) == 1 else f"{files[0].name} and {len(files) - 1} more"


def _require_one_set(root: Path, split: SplitName, shards: Sequence[re.Match[str]]) -> None:
    first = shards[0]
    for other in shards[1:]:
        if (other["split"], other["count"]) != (first["split"], first["count"]) or other["index"] is None:
            raise DataError(
                f"{root} holds the {split} split twice, in {first.string} and in {other.string}: "
                "keep one and move the other away"
            )
    if first["count"] is None:
        return
    indices = [int(shard["index"]) for shard in shards]
    for index in range(int(first["count"])):
        if indices.count(index) != 1:
            raise DataError(
                f"{root} holds shard {index} of {first['split']} {indices.count(index)} times, "
                f"expected {first['count']} shards once each: download the whole split, and nothing else, there"
            )


def _read(files: Sequence[Path], split: SplitName) -> Patches:
    origins = [f"{file.name} row {row}" for file in files for row in range(_rows(file))]
    images, labels = blank(len(origins)), np.empty(len(origins), np.int64)
    end = 0
    for file in files:
        for cells, values, names in _batches(file):
            begin, end = end, end + len(cells)
            rows = origins[begin:end]
            labels[begin:end] = as_labels(values, rows.__getitem__, names)
            decode_into(images[begin:end], [_bytes(cell, row) for cell, row in zip(cells, rows, strict=True)], rows)
    return Patches(images, labels, f"{split}*.parquet: {len(labels)} patches", named(origins))


def _rows(file: Path) -> int:
    with _opened(file) as content:
        count: int = content.metadata.num_rows
    return count


def _batches(file: Path) -> Iterator[tuple[list[Any], list[object], Sequence[str]]]:
    """Cells of images and labels in batches, with the class names if the file has them."""
    with _opened(file) as content:
        _require_columns(file, content.schema_arrow)
        names = _class_names(file, content.schema_arrow)
        for batch in content.iter_batches(BATCH, columns=COLUMNS):
            yield batch["image"].to_pylist(), batch["label"].to_pylist(), names


@contextmanager
def _opened(file: Path) -> Iterator[Any]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(file) as content:
            yield content
    except (pa.ArrowException, OSError) as error:
        raise DataError(f"{file.name} {fault(file, 'Parquet')} ({str(error).splitlines()[0]})") from error


def _require_columns(file: Path, schema: Any) -> None:
    import pyarrow as pa

    if missing := [name for name in COLUMNS if name not in schema.names]:
        raise DataError(
            f"{file.name} has the columns {', '.join(schema.names) or 'none'}; read are image and label, "
            f"and {' and '.join(missing)} is missing: rename the columns"
        )
    kind = schema.field("image").type
    if not pa.types.is_struct(kind) or kind.get_field_index("bytes") < 0:
        raise DataError(
            f"{file.name} has images of type {kind}, expected a struct with bytes, which are an encoded image: "
            "write them as the Image feature of Hugging Face's datasets library does"
        )


def _class_names(file: Path, schema: Any) -> Sequence[str]:
    """Names of a ClassLabel in the metadata of the datasets library; empty if there are none."""
    try:
        features = json.loads((schema.metadata or {})[b"huggingface"])["info"]["features"]
        names = [str(name) for name in features["label"]["names"]]
    except (KeyError, TypeError, ValueError):
        return ()
    return class_names(names, file.name)


def _bytes(cell: Any, origin: str) -> bytes:
    content = cell and cell["bytes"]
    if isinstance(content, bytes):
        return content
    raise DataError(f"{origin} holds no image bytes: embed the images in the file, or remove the row")

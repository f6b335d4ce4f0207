"""Labelled patches of sites: real ones, real ones with swapped labels, and skin."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest

ROWS, STEP = 300, 5


def write_csv(file: Path, rows: list[tuple[str, str]]) -> Path:
    with file.open("w", newline="") as stream:
        csv.writer(stream).writerows([("file", "label"), *rows])
    return file


@pytest.fixture(scope="session")
def site(shared: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Every fifth row of PCam's test split, 300 in all, as a site's folder: a sample over its slides."""
    parquet = pytest.importorskip("pyarrow.parquet")
    folder = tmp_path_factory.mktemp("site")
    rows = parquet.read_table(shared / "pcam" / "test.parquet", columns=["image", "label"]).to_pylist()[::STEP]
    for number, row in enumerate(rows[:ROWS]):
        into = folder / ("tumour" if row["label"] else "normal")
        into.mkdir(exist_ok=True)
        (into / f"{number:03}.jpg").write_bytes(row["image"]["bytes"])
    return folder


@pytest.fixture(scope="session")
def swapped(site: Path) -> Path:
    """The same patches with the labels swapped, as a CSV file."""
    other = {"tumour": "normal", "normal": "tumour"}
    rows = [(f"{site.name}/{file.relative_to(site)}", other[file.parent.name]) for file in sorted(site.glob("*/*.jpg"))]
    return write_csv(site.parent / "swapped.csv", rows)


@pytest.fixture(scope="session")
def skin(shared: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Tiles of a slide of skin at the models' scale, with made-up labels, as a CSV file."""
    openslide = pytest.importorskip("openslide")
    folder = tmp_path_factory.mktemp("skin")
    slide = openslide.OpenSlide(shared / "slides" / "CMU-1-Small-Region.svs")
    side = round(96 * 0.97 / 0.499)
    width, height = slide.dimensions
    rows: list[tuple[str, str]] = []
    for y in range(0, height - side, side):
        for x in range(0, width - side, side):
            tile = slide.read_region((x, y), 0, (side, side)).convert("RGB").resize((96, 96))
            name = f"{y}-{x}.png"
            tile.save(folder / name)
            rows.append((name, str(len(rows) % 2)))
    slide.close()
    return write_csv(folder / "labels.csv", rows)

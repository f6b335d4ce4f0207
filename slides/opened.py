"""A slide and a model that fit each other: the geometry of every cell follows from the two."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from model_zoo.manifest import Manifest
from model_zoo.network import Network
from model_zoo.opening import ModelError, open_proved, shipped_artifacts
from slides.grid import check_size
from slides.raster import Plan, Raster, plan
from slides.reader import Reader
from slides.scale import Scale, scale_of


@dataclass(frozen=True)
class Model:
    """An artifact's bytes, and the network that they were proved with here."""

    data: bytes
    network: Network

    @property
    def manifest(self) -> Manifest:
        return self.network.manifest


@dataclass(frozen=True)
class OpenSlide:
    """A slide at a model's scale."""

    reader: Reader
    scale: Scale
    plan: Plan

    def __enter__(self) -> OpenSlide:
        return self

    def __exit__(self, *_: object) -> None:
        self.reader.close()

    @property
    def raster(self) -> Raster:
        return Raster(self.reader, self.plan)


def open_model(path: Path | None) -> Model:
    """Open an artifact and prove it on this machine; by default ``ROSETTE_MODEL``, else the shipped one.

    Raises:
        ModelError: if it cannot be used.
    """
    named = os.environ.get("ROSETTE_MODEL")
    path = path or (Path(named) if named else shipped_artifacts()[0])
    try:
        data = path.read_bytes()
        return Model(data, open_proved(data)[0])
    except (OSError, ModelError) as error:
        raise ModelError(f"the model {path} cannot be used: {error}") from error


def open_slide(path: Path, model: Manifest, mpp: float | None) -> OpenSlide:
    """Open a slide, and lay the grid.

    Args:
        path: the slide's file.
        model: which scale it is read at.
        mpp: microns per pixel of level 0 that a person states, in place of the file's.

    Raises:
        SlideError: if it cannot be scored; the message says why.
    """
    reader = Reader(path)
    try:
        scale = scale_of(reader.properties, mpp)
        how = plan(reader.levels, reader.bounds, scale.microns_per_pixel, model.input.microns_per_pixel)
        check_size(how)
    except BaseException:
        reader.close()
        raise
    return OpenSlide(reader, scale, how)

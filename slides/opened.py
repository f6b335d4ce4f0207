"""A slide and a model that fit each other: the geometry of every cell follows from the two."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from model_zoo.golden import Logits
from model_zoo.manifest import Manifest
from model_zoo.network import Corners, Network
from model_zoo.opening import ModelError, open_proved, open_unproved, read_artifact, shipped_artifacts
from model_zoo.proof import RefusedError
from slides.grid import check_size
from slides.raster import Plan, Raster, plan
from slides.reader import Pixels, Reader
from slides.scale import Scale, scale_of

if TYPE_CHECKING:
    from model_zoo.dense_pass import DensePass


@dataclass(frozen=True)
class Model:
    """An artifact's bytes, and the network that they were proved with here.

    Attributes:
        region: of a dense artifact, what another process's ``DensePass`` has; None: make it here.
    """

    data: bytes
    network: Network
    region: bytes | None = None

    @property
    def manifest(self) -> Manifest:
        return self.network.manifest

    def logits(self, block: Pixels, corners: Corners) -> Logits:
        """Logits, float32 [n, 2], of 96 px windows of a block, uint8 [H, W, 3].

        The bits are those of the patches; a dense artifact answers many windows in one pass.

        Args:
            block: the pixels.
            corners: int [n, 2], the row and column of each window's first pixel.
        """
        return (self.dense_pass.logits if self.dense_pass else self.network.windows)(block, corners)

    @cached_property
    def dense_pass(self) -> DensePass | None:
        """For a dense artifact; proved on this machine when it is first asked for.

        Raises:
            RefusedError: if a pass gives other bits than patches.
        """
        if self.manifest.dense is None:
            return None
        from model_zoo.dense_pass import DensePass

        return DensePass(self.data, self.network, self.region)


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


def default_artifact() -> Path:
    """That of ``ROSETTE_MODEL``, else the shipped one.

    Raises:
        ModelError: if the shipped one is missing.
    """
    named = os.environ.get("ROSETTE_MODEL")
    return Path(named) if named else shipped_artifacts()[0]


@contextmanager
def naming(path: Path) -> Iterator[None]:
    """Makes an error of reading, opening or proving an artifact a ModelError that names its file."""
    try:
        yield
    except (OSError, ModelError, RefusedError) as error:
        raise ModelError(f"the model {path} cannot be used: {error}") from error


def open_model(path: Path | None) -> Model:
    """Open an artifact and prove it on this machine; by default that of :func:`default_artifact`.

    Raises:
        ModelError: if it cannot be used.
    """
    path = path or default_artifact()
    with naming(path):
        data = read_artifact(path)
        model = Model(data, open_proved(data)[0])
        _ = model.dense_pass
    return model


def manifest_of(path: Path | None) -> Manifest:
    """What an artifact says of itself, for work that asks it nothing; by default that of :func:`default_artifact`.

    Raises:
        ModelError: if it cannot be used.
    """
    path = path or default_artifact()
    with naming(path):
        return open_unproved(read_artifact(path)).manifest


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

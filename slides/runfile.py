"""``run.json``: which slide was scored by which model, on which grid, and how."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, AwareDatetime, BaseModel, ConfigDict, Field, ValidationError, model_validator

from model_zoo.freeform import check_printable
from model_zoo.manifest import Basis, Probability, Sha256

RUN_FILE = "run.json"
MAX_RUN_BYTES = 2**20
MAX_CELLS = 16_000_000

Pixels = Annotated[int, Field(ge=0, le=2**31 - 1)]
Positive = Annotated[int, Field(ge=1, le=2**31 - 1)]
Scale = Annotated[float, Field(gt=0, le=100)]
Label = Annotated[str, Field(min_length=1, max_length=1000), AfterValidator(check_printable)]
Share = Annotated[float, Field(ge=1e-6, le=1 - 1e-6)]


class RunError(ValueError):
    """A run folder cannot be read; the message says which file, where, what was expected and what to do."""


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Slide(_Part):
    """The file that was scored.

    Attributes:
        name: the file's name, without its folder.
        vendor: OpenSlide's name of the format.
        width: of level 0, in pixels.
        height: of level 0, in pixels.
        microns_per_pixel: of level 0.
        scale_source: whether the file or the person who started the run stated the scale.
        bounds_x: left edge of the part that was scanned, in level-0 pixels; 0 if the file does not say.
        bounds_y: its upper edge.
    """

    name: Label
    sha256: Sha256
    vendor: Label
    width: Positive
    height: Positive
    microns_per_pixel: Scale
    scale_source: Literal["file", "stated"]
    bounds_x: Pixels = 0
    bounds_y: Pixels = 0


class Raster(_Part):
    """How pixels at the model's scale were made: ``factor`` pixels of ``level`` to one."""

    level: Annotated[int, Field(ge=0, le=64)]
    factor: Annotated[float, Field(ge=0.9, le=1e4)]
    filter: Literal["area", "none"]
    microns_per_pixel: Scale


class Grid(_Part):
    """The cells: each the centre of a patch, ``stride`` pixels at the model's scale wide and high.

    Attributes:
        origin: left and upper edge of the first cell, in level-0 pixels.
    """

    columns: Positive
    rows: Positive
    stride: Positive = 32
    patch: Positive = 96
    origin: tuple[float, float] = (0, 0)

    @model_validator(mode="after")
    def _cells_are_bounded(self) -> Self:
        if self.columns * self.rows > MAX_CELLS:
            raise ValueError(f"{self.columns} × {self.rows} cells are more than {MAX_CELLS}")
        return self


class Model(_Part):
    """The artifact that answered; further fields are kept as they are."""

    model_config = ConfigDict(frozen=True, extra="allow", allow_inf_nan=False)

    name: Label
    version: Label
    sha256: Sha256
    graph_sha256: Sha256
    microns_per_pixel: Scale
    threshold: Probability
    temperature: Annotated[float, Field(gt=0)]
    calibration_prevalence: Share
    review_band: tuple[Probability, Probability]
    consistency_limit: Probability | None = None


class ScopeFigure(_Part):
    """One figure of the slide's assessable cells and the bounds within which it is usual; None: not bounded there."""

    name: Label
    value: float
    low: float | None = None
    high: float | None = None

    @property
    def inside(self) -> bool:
        return (self.low is None or self.value >= self.low) and (self.high is None or self.value <= self.high)


class Scope(_Part):
    """Whether the slide looks like what the model was made for.

    Attributes:
        verdict: ``unknown`` if too few cells were assessable, or the model has no reference.
        cells: how many scored cells were compared.
        reference: which reference the bounds come from.
        text: the same in a sentence.
    """

    verdict: Literal["in_scope", "out_of_scope", "unknown"]
    cells: Annotated[int, Field(ge=0)]
    figures: tuple[ScopeFigure, ...] = ()
    reference: str = ""
    text: Label


class Run(_Part):
    """All of ``run.json``.

    Attributes:
        basis: what the probabilities are based on: the patch as given, or the mean logits of its turns.
        versions: of the libraries that read and answered.
        scope: None until the scope check has looked at the cells.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, populate_by_name=True)

    schema_version: Literal[1] = Field(default=1, alias="schema")
    slide: Slide
    raster: Raster
    grid: Grid
    model: Model
    rotations: Literal["none", "auto", "full"]
    shifts: Literal["none", "auto", "report"]
    basis: Basis = "single"
    versions: dict[str, str] = Field(default_factory=dict)
    state: Literal["running", "complete"]
    started_at: AwareDatetime
    finished_at: AwareDatetime | None = None
    scope: Scope | None = None


def read_runfile(folder: Path) -> Run:
    """Read ``run.json`` of a run folder.

    Raises:
        RunError: if it is missing, too large, or not as the format says.
    """
    path = folder / RUN_FILE
    try:
        with path.open("rb") as file:
            raw = file.read(MAX_RUN_BYTES + 1)
    except OSError as error:
        raise RunError(f"{path} cannot be read ({error.strerror}): give the folder of a run") from error
    if len(raw) > MAX_RUN_BYTES:
        raise RunError(f"{path} is larger than {MAX_RUN_BYTES} bytes: it is not the run.json of a run")
    try:
        return Run.model_validate_json(raw)
    except ValidationError as error:
        found = "; ".join(f"{'.'.join(map(str, each['loc'])) or 'it'}: {each['msg']}" for each in error.errors()[:3])
        raise RunError(f"{path} is not as schema 1 says ({found}): score the slide again") from error


def write_runfile(folder: Path, run: Run) -> None:
    """Write ``run.json`` whole or not at all."""
    write_atomically(folder / RUN_FILE, (run.model_dump_json(by_alias=True, indent=2) + "\n").encode())


def write_atomically(path: Path, content: bytes) -> None:
    """Replace a file by ``content``, so that nobody ever sees a part of it, even after a power cut."""
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    part = Path(name)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        part.chmod(0o644)
        part.replace(path)
    except BaseException:
        part.unlink(missing_ok=True)
        raise
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)

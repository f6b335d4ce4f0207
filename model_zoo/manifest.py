"""The manifest: everything about an artifact that is not its graph."""

from __future__ import annotations

from itertools import pairwise
from typing import Annotated, Literal, Self

from pydantic import Base64Bytes, BaseModel, ConfigDict, Field, JsonValue, model_validator

from model_zoo.symmetry import Group

MANIFEST_KEY = "rosette.manifest"
MAX_BYTES = 64 * 2**20  # of an artifact file

Probability = Annotated[float, Field(ge=0, le=1)]
Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Float32Bits = Annotated[str, Field(pattern=r"^[0-9a-f]{8}$")]
Count = Annotated[int, Field(ge=0, le=10**9)]
Triple = tuple[float, float, float]


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class InputSpec(_Part):
    """What the graph takes: uint8 [N, height, width, 3] RGB at this resolution, seen through a disc."""

    height: Literal[96] = 96
    width: Literal[96] = 96
    microns_per_pixel: float = Field(gt=0)
    mask: Literal["disc"] = "disc"


class GroupSpec(_Part):
    """The network's group with its elements in order; the lists of every answer follow this order."""

    name: str
    angles_deg: tuple[float, ...]
    reflected: tuple[bool, ...]

    @classmethod
    def of(cls, group: Group) -> Self:
        return cls(name=group.name, angles_deg=group.angles_deg, reflected=group.reflected)

    @model_validator(mode="after")
    def _elements_match_the_name(self) -> Self:
        group = Group.parse(self.name)
        if self.angles_deg != group.angles_deg or self.reflected != group.reflected:
            raise ValueError(f"the elements are not those of {self.name} in order")
        return self


class Calibration(_Part):
    """``probability = softmax(logits / temperature)[1]``, fitted where ``prevalence`` of patches were positive."""

    temperature: float = Field(gt=0)
    prevalence: float = Field(gt=0, lt=1)


class Consistency(_Part):
    """How far answers to the turns of one patch may differ.

    Attributes:
        limit: largest deviation of a turn's probability from the orbit's mean that still counts as consistent.
        interpolation_floor: mean absolute change of probability when a patch is turned by the group's
            smallest turn that interpolates, and back: what the interpolation alone does. 0 if none does.
    """

    limit: Probability
    interpolation_floor: Probability


class QualityReference(_Part):
    """What training patches look like; bounds beyond which an answer would be guesswork.

    Attributes:
        min_tissue_fraction: least share of the disc that is tissue.
        min_sharpness: least variance of the Laplacian, in grey levels squared.
        max_stain_distance: largest Mahalanobis distance of the mean optical density.
        stain_mean: mean over training patches of the mean optical density of tissue, per channel.
        stain_precision: inverse covariance of the same.
    """

    min_tissue_fraction: Probability
    min_sharpness: float = Field(ge=0)
    max_stain_distance: float = Field(gt=0)
    stain_mean: Triple
    stain_precision: tuple[Triple, Triple, Triple]


class Bins(_Part):
    """How often a figure fell into each bin of the validation patches.

    Attributes:
        edges: between neighbouring bins, rising; what equals an edge lies above it. The publisher takes deciles.
        counts: of patches, one for each bin, and so one more than edges.
    """

    edges: tuple[float, ...] = Field(min_length=1, max_length=19)
    counts: tuple[Count, ...] = Field(min_length=2, max_length=20)

    @model_validator(mode="after")
    def _bins_lie_between_edges(self) -> Self:
        if any(low >= high for low, high in pairwise(self.edges)):
            raise ValueError("the edges do not rise")
        if len(self.counts) != len(self.edges) + 1:
            raise ValueError(f"{len(self.counts)} counts for {len(self.edges)} edges, expected one more")
        if not sum(self.counts):
            raise ValueError("all bins are empty")
        return self


class Reference(_Part):
    """What live answers are compared with: the answers to the patches that calibrated the artifact.

    Attributes:
        probability: calibrated, of assessable patches.
        max_deviation: from the orbit's mean, of assessable patches.
        stain_distance: of all patches with tissue.
    """

    probability: Bins
    max_deviation: Bins
    stain_distance: Bins


class OrbitDecision(_Part):
    """How the mean logits of a whole orbit are decided by.

    Attributes:
        calibration: of the mean logits.
        threshold, review_band: of the probability that this calibration gives.
        reference: what live answers of this basis are compared with.
    """

    calibration: Calibration
    threshold: Probability
    review_band: tuple[Probability, Probability]
    reference: Reference | None = None

    @model_validator(mode="after")
    def _threshold_lies_in_the_band(self) -> Self:
        low, high = self.review_band
        if not low <= self.threshold <= high:
            raise ValueError(f"the threshold {self.threshold} lies outside the review band {low} to {high}")
        return self


class TrainingData(_Part):
    """What the weights were trained on."""

    source: str
    patches: int = Field(gt=0)
    sha256: Sha256
    licence: str
    encoding: str


class Metric(_Part):
    """A measured figure with its 95 % interval."""

    name: str
    split: str
    n: int = Field(gt=0)
    value: float
    low: float
    high: float
    method: str


class GoldenCase(_Part):
    """A stored patch and the very bits that the graph must answer.

    Attributes:
        png: the synthetic patch as a PNG file.
        sha256: of the patch's RGB bytes.
        logits: the two float32 logits as hexadecimal bits, big-endian.
    """

    name: str
    png: Base64Bytes
    sha256: Sha256
    logits: tuple[Float32Bits, Float32Bits]


class Manifest(_Part):
    """Everything about an artifact that is not its graph, stored in the file's ``rosette.manifest``.

    Attributes:
        reference: None in artifacts that were published without one.
        orbit: None in artifacts that decide by the patch as given alone.
        latency_limit_ms: largest median milliseconds for one patch on one thread that its publisher vouches for.
    """

    schema_version: Literal[1, 2] = 1
    name: str = Field(pattern=r"^[a-z0-9][a-z0-9-]{0,62}$")
    version: str = Field(pattern=r"^[0-9]+\.[0-9]+\.[0-9]+$")
    precision: Literal["int8", "float32"]
    architecture: dict[str, JsonValue]
    group: GroupSpec
    exact_subgroup: str
    input: InputSpec
    turn_rule: Literal["cubic-1"] = "cubic-1"
    classes: tuple[Literal["no_metastasis"], Literal["metastasis"]] = ("no_metastasis", "metastasis")
    threshold: Probability
    calibration: Calibration
    review_band: tuple[Probability, Probability]
    consistency: Consistency
    quality: QualityReference
    reference: Reference | None = None
    orbit: OrbitDecision | None = None
    latency_limit_ms: float = Field(default=50, gt=0, le=1000)
    quantization: dict[str, JsonValue]
    training_data: TrainingData
    metrics: tuple[Metric, ...]
    intended_use: str
    graph_sha256: Sha256
    golden_cases: tuple[GoldenCase, ...] = Field(min_length=8, max_length=8)

    @model_validator(mode="after")
    def _parts_agree(self) -> Self:
        if self.exact_subgroup not in {"C1", Group.parse(self.group.name).exact_subgroup.name}:
            raise ValueError(f"{self.exact_subgroup} is not the exact subgroup of {self.group.name}, nor C1")
        low, high = self.review_band
        if not low <= self.threshold <= high:
            raise ValueError(f"the threshold {self.threshold} lies outside the review band {low} to {high}")
        return self

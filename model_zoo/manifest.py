"""The manifest: the description of an artifact."""

from __future__ import annotations

from itertools import pairwise
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Base64Bytes, BaseModel, ConfigDict, Field, JsonValue, model_validator

from model_zoo.freeform import check_freeform, check_printable
from model_zoo.symmetry import Group

MANIFEST_KEY = "rosette.manifest"
MAX_BYTES = 64 * 2**20  # of an artifact file
PATCH_PX = 96
FRACTIONS = frozenset({"accuracy", "auc", "area", "sensitivity", "specificity", "precision", "recall", "brier", "ece"})

Probability = Annotated[float, Field(ge=0, le=1)]
Bounded = Annotated[float, Field(ge=-1e6, le=1e6)]
OpticalDensity = Annotated[float, Field(ge=0, le=3)]
Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Float32Bits = Annotated[str, Field(pattern=r"^[0-9a-f]{8}$")]
Count = Annotated[int, Field(ge=0, le=10**9)]
Triple = tuple[float, float, float]
Name = Annotated[str, Field(min_length=1, max_length=64), AfterValidator(check_printable)]
Text = Annotated[str, Field(max_length=4000), AfterValidator(check_printable)]
Freeform = Annotated[dict[str, JsonValue], AfterValidator(check_freeform)]
Point = tuple[Probability, Probability]
Basis = Literal["single", "orbit"]


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class InputSpec(_Part):
    """The input of the graph: uint8 [N, height, width, 3] RGB at this resolution.

    Attributes:
        mask: ``"disc"`` if the graph sets everything outside the inscribed disc to glass, ``"none"`` if not.
        corners: how a turn fills pixels from outside of the square: with the nearest pixel.
    """

    height: Literal[96] = 96
    width: Literal[96] = 96
    microns_per_pixel: float = Field(ge=0.05, le=10)
    mask: Literal["disc", "none"] = "disc"
    corners: Literal["replicated"] = "replicated"


class DenseSpec(_Part):
    """A network without padding and mask: one pass over a region gives the bits of its windows.

    Attributes:
        stride: pixels between neighbouring windows of a pass.
        receptive_field: side in pixels of the receptive field of one position of the last feature map.
    """

    stride: int = Field(ge=1, le=PATCH_PX)
    receptive_field: int = Field(ge=1, le=PATCH_PX)

    @model_validator(mode="after")
    def _positions_fill_a_patch(self) -> Self:
        if (PATCH_PX - self.receptive_field) % self.stride:
            raise ValueError(
                f"receptive fields of {self.receptive_field} px at stride {self.stride} do not fill {PATCH_PX} px"
            )
        return self


class GroupSpec(_Part):
    """The network's group with its elements in order; all lists in answers have this order."""

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
    """``probability = softmax(logits / temperature)[1]``, fitted at this ``prevalence`` of positive patches."""

    temperature: float = Field(ge=0.05, le=20)
    prevalence: float = Field(ge=1e-4, le=1 - 1e-4)


class Consistency(_Part):
    """The permitted difference between the answers for the turns of one patch.

    Attributes:
        limit: largest deviation of a turn's probability from the orbit's mean that counts as consistent.
        interpolation_floor: mean absolute change of probability when a patch is turned by the group's
            smallest turn that interpolates, and back: the effect of interpolation alone. 0 if none interpolates.
    """

    limit: Probability
    interpolation_floor: Probability


class QualityReference(_Part):
    """Statistics of the training patches, and the bounds outside of which a patch is not assessable.

    Attributes:
        min_tissue_fraction: minimum share of tissue in the disc; 0.01 excludes bare glass with some specks.
        min_sharpness: minimum variance of the Laplacian, in grey levels squared.
        max_stain_distance: largest Mahalanobis distance of the mean optical density.
        stain_mean: mean over training patches of the mean optical density of tissue, per channel.
        stain_precision: inverse covariance of the mean optical density.
    """

    min_tissue_fraction: float = Field(ge=0.01, le=1)
    min_sharpness: float = Field(ge=0, le=1e6)
    max_stain_distance: float = Field(gt=0, le=1000)
    stain_mean: tuple[OpticalDensity, OpticalDensity, OpticalDensity]
    stain_precision: tuple[Triple, Triple, Triple]

    @model_validator(mode="after")
    def _precision_is_a_precision(self) -> Self:
        (a, b, c), (d, e, f), (g, h, i) = self.stain_precision
        largest = max(abs(entry) for row in self.stain_precision for entry in row)
        if largest > 1e6:
            raise ValueError(f"the stain precision has an entry of magnitude {largest:g}, expected at most 1e6")
        if max(abs(b - d), abs(c - g), abs(f - h)) > 1e-6 * largest:
            raise ValueError("the stain precision is not symmetric")
        minors = (a, a * e - b * d, a * (e * i - f * h) - b * (d * i - f * g) + c * (d * h - e * g))
        if min(minors) <= 0:
            raise ValueError("the stain precision is not positive definite")
        return self


class Bins(_Part):
    """A histogram of a figure on the validation patches.

    Attributes:
        edges: between neighbouring bins, rising; a value equal to an edge belongs to the upper bin.
        counts: of patches, one for each bin, and so one more than edges.
    """

    edges: tuple[Bounded, ...] = Field(min_length=1, max_length=19)
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
    """The reference for drift: the answers for the patches that calibrated the artifact.

    Attributes:
        probability: calibrated, of assessable patches.
        max_deviation: from the orbit's mean, of assessable patches.
        stain_distance: of all patches with tissue.
    """

    probability: Bins
    max_deviation: Bins
    stain_distance: Bins


class OrbitDecision(_Part):
    """How to decide by the mean logits over all turns of a patch.

    Attributes:
        calibration: of the mean logits.
        threshold: of their probability.
        review_band: of their probability.
        reference: the reference for drift on this basis; None if published without one.
    """

    calibration: Calibration
    threshold: Probability
    review_band: tuple[Probability, Probability]
    reference: Reference | None = None

    @model_validator(mode="after")
    def _threshold_lies_in_the_band(self) -> Self:
        _check_band(self.threshold, self.review_band)
        return self


class TrainingData(_Part):
    """The training data."""

    source: Text
    patches: int = Field(gt=0, le=10**9)
    sha256: Sha256
    licence: Text
    encoding: Text


class Metric(_Part):
    """A measured figure with its 95 % interval.

    Attributes:
        basis: whether the patch as given or the mean over its orbit decided.
    """

    name: str = Field(pattern=r"^[a-z][a-z0-9_]{0,63}$")
    split: Name
    n: int = Field(gt=0, le=10**9)
    value: Bounded
    low: Bounded
    high: Bounded
    method: Text
    basis: Basis = "single"

    @model_validator(mode="after")
    def _figure_is_possible(self) -> Self:
        if not self.low <= self.value <= self.high:
            raise ValueError(f"{self.name} is {self.value:g}, outside its interval {self.low:g} to {self.high:g}")
        if FRACTIONS & set(self.name.split("_")) and not 0 <= self.low <= self.high <= 1:
            raise ValueError(f"{self.name} is {self.low:g} to {self.high:g}, expected figures from 0 to 1")
        return self


class ReliabilityBin(_Part):
    """Patches of similar probability: its mean, and the share of positive patches among them."""

    probability: Probability
    positive: Probability
    n: Count


class Curves(_Part):
    """Curves of the answers to a split, thinned to a few points for plots.

    Attributes:
        threshold: above which a patch is called positive.
        roc: 1 - specificity and sensitivity, rising.
        operating_point: the same at the threshold.
        reliability: by rising probability.
        risk_coverage: share of patches that are answered, the most confident first, and share of wrong answers.
    """

    split: Name
    basis: Basis
    n: int = Field(gt=0, le=10**9)
    threshold: Probability
    roc: tuple[Point, ...] = Field(min_length=2, max_length=64)
    operating_point: Point
    reliability: tuple[ReliabilityBin, ...] = Field(min_length=1, max_length=20)
    risk_coverage: tuple[Point, ...] = Field(min_length=1, max_length=64)

    @model_validator(mode="after")
    def _points_rise(self) -> Self:
        for name in ("roc", "risk_coverage"):
            if any(left[0] > right[0] for left, right in pairwise(getattr(self, name))):
                raise ValueError(f"the points of {name} do not rise")
        return self


class GoldenCase(_Part):
    """A stored patch and the bits that the graph must return.

    Attributes:
        png: the synthetic patch as a PNG file.
        sha256: of the patch's RGB bytes.
        logits: the two float32 logits as hexadecimal bits, big-endian.
    """

    name: Name
    png: Annotated[Base64Bytes, Field(max_length=2**16)]
    sha256: Sha256
    logits: tuple[Float32Bits, Float32Bits]


def _check_band(threshold: float, review_band: tuple[float, float]) -> None:
    low, high = review_band
    if not low <= threshold <= high:
        raise ValueError(f"the threshold {threshold} lies outside the review band {low} to {high}")


class Manifest(_Part):
    """The description of an artifact, stored in the file's ``rosette.manifest``.

    :func:`model_zoo.reading.parse_manifest` reads one, and also checks its parts against each other.

    Attributes:
        schema_version: version 1 has neither ``dense`` nor ``orbit``; all its figures are of the patch as given.
        dense: None if the network is not dense.
        reference: None in artifacts that were published without one.
        orbit: None if the patch as given always decides.
        curves: for plots; empty in artifacts that were published without them.
        latency_limit_ms: the publisher's bound on the median milliseconds for one patch on one thread.
    """

    schema_version: Literal[1, 2] = 2
    name: str = Field(pattern=r"^[a-z0-9][a-z0-9-]{0,62}$")
    version: str = Field(pattern=r"^[0-9]+\.[0-9]+\.[0-9]+$", max_length=32)
    precision: Literal["int8", "float32"]
    architecture: Freeform
    group: GroupSpec
    exact_subgroup: str = Field(max_length=8)
    input: InputSpec
    dense: DenseSpec | None = None
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
    quantization: Freeform
    training_data: TrainingData
    metrics: tuple[Metric, ...] = Field(max_length=200)
    curves: tuple[Curves, ...] = Field(default=(), max_length=8)
    intended_use: Text
    graph_sha256: Sha256
    golden_cases: tuple[GoldenCase, ...] = Field(min_length=8, max_length=8)

    @model_validator(mode="after")
    def _parts_agree(self) -> Self:
        if self.exact_subgroup not in {"C1", Group.parse(self.group.name).exact_subgroup.name}:
            raise ValueError(f"{self.exact_subgroup} is not the exact subgroup of {self.group.name}, nor C1")
        _check_band(self.threshold, self.review_band)
        if self.dense is not None and self.input.mask != "none":
            raise ValueError(f"a dense network has no mask, but the input's is {self.input.mask!r}")
        if self.orbit is None and any(metric.basis == "orbit" for metric in self.metrics):
            raise ValueError("a metric was decided by the orbit, but the manifest has no orbit decision")
        if self.schema_version == 1 and (self.dense or self.orbit or self.input.mask == "none"):
            raise ValueError("schema version 1 knows no dense network, no orbit decision and no input without mask")
        return self

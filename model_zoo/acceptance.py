"""Acceptance test: does a model hold on a site's own labelled patches? The rule is stated before they are read."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from model_zoo.basis import Basis
from model_zoo.comparison import TITLES
from model_zoo.manifest import Manifest, Metric
from model_zoo.notice import NOTICE

MIN_PATCHES, MAX_PATCHES, MIN_OF_A_LABEL = 100, 500, 30
MARGIN = 0.10
MAX_REFUSED = 0.20
SPLITS = ("test", "valid")

Outcome = Literal["passed", "failed", "out_of_scope", "no_outcome"]
Kind = Literal["patches", "verdicts"]
Side = Literal["at_least", "at_most"]

FIRST = (
    f"{MIN_PATCHES} to {MAX_PATCHES} labelled patches, at least {MIN_OF_A_LABEL} of each label, none twice",
    "scope: the median texture and stain lie within the bounds for slides (otherwise out of scope)",
)


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Criterion(_Part):
    """One condition of the rule.

    Attributes:
        figure: what is bounded.
        side: ``at_least``: the figure's lower 95 % bound must reach ``limit``; ``at_most``: see ``of``.
        of: the bound of the figure's interval that is compared with the limit.
        limit: what it is compared with.
        stated: the manifest's figure behind the limit; None if the limit is fixed.
        split: the split of that figure.
    """

    figure: str
    side: Side
    of: Literal["low", "high"]
    limit: float
    stated: float | None = None
    split: str | None = None

    @property
    def text(self) -> str:
        """The condition in words."""
        bound = {"low": "lower", "high": "upper"}[self.of]
        most = "at least" if self.side == "at_least" else "at most"
        included = "" if self.stated == self.limit else ", margin included"
        source = "" if self.stated is None else f" (the manifest's {self.stated:.3f} on {self.split}{included})"
        return f"{TITLES.get(self.figure, self.figure)}: {bound} 95 % bound {most} {self.limit:.3f}{source}"

    def holds(self, low: float, high: float) -> bool:
        """Whether a figure with this interval meets the condition."""
        bound = low if self.of == "low" else high
        return bound >= self.limit if self.side == "at_least" else bound <= self.limit


class SiteFigure(_Part):
    """A figure on the site's patches with its 95 % interval.

    Attributes:
        stated: the manifest's figure; None if it states none.
        split: of that figure.
    """

    name: str
    n: int
    value: float
    low: float
    high: float
    method: str
    stated: float | None = None
    split: str | None = None


class SiteDrift(_Part):
    """One quantity's distribution against the manifest's reference; see :class:`model_zoo.drift.FigureDrift`."""

    figure: str
    patches: int
    psi: float | None
    expected: float | None
    verdict: str
    meaning: str


class SiteScope(_Part):
    """Whether texture and stain are as in the training patches, by the bounds for slides."""

    verdict: Literal["in_scope", "out_of_scope", "unknown"]
    patches: int
    texture: float | None = None
    max_texture: float | None = None
    stain: float | None = None
    max_stain: float | None = None


class Check(_Part):
    """A condition of the rule and whether it is met."""

    text: str
    found: str
    passed: bool


class TestedModel(_Part):
    name: str
    version: str
    sha256: str


class SiteData(_Part):
    """The site's patches: ``sha256`` is of their pixels and labels; ``refused`` could not be read as patches.

    In a test on verdicts, ``patches`` are the drawn answers, ``left`` of them were left to a person and ``unjudged``
    are decided but not judged; both are 0 in a test on patches.
    """

    source: str
    sha256: str
    patches: int
    positive: int
    negative: int
    not_assessable: int
    refused: int
    left: int = 0
    unjudged: int = 0


class RegionData(_Part):
    """People's verdicts on regions of slides: figures among them, which are not part of the rule.

    Attributes:
        slides: with a verdict on a region.
        regions: of these slides.
        confirmed, denied: by people's verdicts.
        open: without a verdict that counts, or of which people say different things.
        out_of_scope: slides with verdicts that are left out, since they do not look like what the model was made for.
        unread: slides with verdicts that are left out, since their run's files are not on this server.
        sha256: of runs, regions and verdicts.
    """

    slides: int
    regions: int
    confirmed: int
    denied: int
    open: int
    out_of_scope: int
    unread: int
    sha256: str
    figures: tuple[SiteFigure, ...]


class AcceptanceReport(_Part):
    """The result of an acceptance test.

    Attributes:
        kind: what was judged: labelled patches, or the verdicts that people gave on the server.
        regions: None in a test on patches.
        limits: what the figures do not say.
    """

    format: Literal["rosette.acceptance.1"] = "rosette.acceptance.1"
    site: str = Field(max_length=120)
    model: TestedModel
    data: SiteData
    basis: Basis
    outcome: Outcome
    rule: tuple[str, ...]
    checks: tuple[Check, ...]
    scope: SiteScope
    figures: tuple[SiteFigure, ...]
    drift: tuple[SiteDrift, ...]
    kind: Kind = "patches"
    regions: RegionData | None = None
    limits: tuple[str, ...] = ()
    notice: str = NOTICE

    @property
    def verdict(self) -> str:
        """The outcome in a sentence."""
        if self.outcome == "no_outcome":
            return (
                "No outcome: there are too few verdicts on answers that were drawn at random, or their scope is not "
                "known. The figures describe what was judged; this does not count as an acceptance test."
            )
        if self.outcome == "out_of_scope":
            return "Refused as out of scope: the patches do not look like what the model was trained on."
        if self.outcome == "failed":
            failed = sum(not check.passed for check in self.checks)
            return f"Failed: {failed} of {len(self.checks)} conditions are not met. Do not rely on this model here."
        these = "patches" if self.kind == "patches" else "verdicts"
        return f"Passed: all {len(self.checks)} conditions are met on these {these}."


@dataclass(frozen=True)
class Rule:
    """What a model must show on a site's patches, all of it known before one is read.

    Attributes:
        criteria: one condition per figure.
        fault: why the manifest gives no rule; empty if it does.
        first: what comes before them, in words.
    """

    criteria: tuple[Criterion, ...]
    fault: str = ""
    first: tuple[str, ...] = FIRST

    @property
    def texts(self) -> tuple[str, ...]:
        """The rule in words."""
        return *self.first, *(criterion.text for criterion in self.criteria)


def rule_for(manifest: Manifest) -> Rule:
    """The rule for a model, as :func:`rule_of`."""
    return rule_of(manifest.metrics, _basis(manifest))


def rule_of(metrics: Sequence[Metric], basis: Basis) -> Rule:
    """The rule for a model: its own figures, less a margin of 0.10.

    Sensitivity and specificity are compared with those of the manifest. Where it states neither, its accuracy is the
    mean of both, since it is published at a prevalence of about half: their mean is compared with it, and each of them
    may lie twice the margin below.

    Args:
        metrics: those of its manifest.
        basis: on which it decides full orbits.
    """
    refused = Criterion(figure="share refused or not assessable", side="at_most", of="high", limit=MAX_REFUSED)
    stated = stated_of(metrics, basis)
    required = [refused]
    sensitivity, specificity = stated.get("sensitivity"), stated.get("specificity")
    if sensitivity and specificity:
        required += [at_least("sensitivity", sensitivity), at_least("specificity", specificity)]
    elif accuracy := stated.get("accuracy"):
        required.append(at_least("mean of sensitivity and specificity", accuracy))
        required += [at_least(name, accuracy, 2 * MARGIN) for name in ("sensitivity", "specificity")]
    else:
        return Rule((), "its manifest states neither accuracy nor sensitivity and specificity: publish it with metrics")
    if auc := stated.get("auc"):
        required.append(at_least("auc", auc))
    if ece := stated.get("ece"):
        limit = ece.value + MARGIN
        required.append(
            Criterion(figure="ece", side="at_most", of="low", limit=limit, stated=ece.value, split=ece.split)
        )
    return Rule(tuple(required))


def stated_metrics(manifest: Manifest, basis: Basis | None = None) -> dict[str, Metric]:
    """The manifest's figures by name: those on test, else on valid.

    Args:
        basis: of the figures; by default that on which the model decides full orbits.
    """
    return stated_of(manifest.metrics, basis or _basis(manifest))


def _basis(manifest: Manifest) -> Basis:
    return "orbit" if manifest.orbit else "single"


def stated_of(metrics: Sequence[Metric], basis: Basis) -> dict[str, Metric]:
    """The figures of this basis by name: those on test, else on valid."""
    found: dict[str, Metric] = {}
    for split in SPLITS:
        for metric in metrics:
            if metric.split == split and metric.basis == basis:
                found.setdefault(metric.name, metric)
    return found


def judge(rule: Rule, figures: Sequence[SiteFigure], scope: SiteScope) -> tuple[Outcome, tuple[Check, ...]]:
    """The outcome, and each condition with what was found."""
    within = {"in_scope": "within the bounds", "out_of_scope": "outside of the bounds", "unknown": "too few patches"}
    first = Check(text=rule.texts[1], found=within[scope.verdict], passed=scope.verdict == "in_scope")
    checks = (first, *checked(rule, figures))
    if scope.verdict == "out_of_scope":
        return "out_of_scope", checks
    return ("passed" if all(check.passed for check in checks) else "failed"), checks


def checked(rule: Rule, figures: Sequence[SiteFigure]) -> list[Check]:
    """Each criterion with what was found; one whose figure was not measured is not met."""
    by_name = {figure.name: figure for figure in figures}
    checks = []
    for criterion in rule.criteria:
        figure = by_name.get(criterion.figure)
        found = f"{figure.value:.3f} [{figure.low:.3f}, {figure.high:.3f}]" if figure else "not measured"
        passed = figure is not None and criterion.holds(figure.low, figure.high)
        checks.append(Check(text=criterion.text, found=found, passed=passed))
    return checks


def at_least(name: str, metric: Metric, margin: float = MARGIN) -> Criterion:
    """The condition that a figure reaches the manifest's less a margin."""
    limit = metric.value - margin
    return Criterion(figure=name, side="at_least", of="low", limit=limit, stated=metric.value, split=metric.split)

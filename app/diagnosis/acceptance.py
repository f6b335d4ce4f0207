"""The acceptance test of a model on a site's labelled patches."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from hashlib import sha256

from app.diagnosis.decode import decode
from app.diagnosis.engine import Engine
from app.diagnosis.report import Answer, NewAnswer
from app.diagnosis.scale import Mpp
from app.problems import ImageProblem
from model_zoo.acceptance import (
    MAX_PATCHES,
    MIN_OF_A_LABEL,
    MIN_PATCHES,
    AcceptanceReport,
    Rule,
    SiteData,
    TestedModel,
    judge,
    rule_for,
)
from model_zoo.manifest import Manifest
from model_zoo.orbit import Rotations
from model_zoo.site_figures import SiteAnswer, drift_of, figures_of, scope_of
from model_zoo.slide_scope import slide_reference

MAX_SITE = 120


@dataclass(frozen=True)
class SitePatch:
    """A site's labelled patch.

    Attributes:
        name: what errors call it.
        label: 0 or 1.
        read: gives the image file's bytes.
    """

    name: str
    label: int
    read: Callable[[], bytes]


@dataclass(frozen=True)
class AnsweredPatch:
    """A site's patch and the model's answer with full turns; ``refusal`` says why there is none."""

    patch: SitePatch
    answer: Answer | NewAnswer | None
    refusal: str = ""


Track = Callable[[Sequence[SitePatch]], Iterable[SitePatch]]


def acceptance_rule(manifest: Manifest) -> Rule:
    """The rule for this model.

    Raises:
        ValueError: if its manifest states too little.
    """
    rule = rule_for(manifest)
    if rule.fault:
        raise ValueError(f"{manifest.name} {manifest.version} cannot be tested for acceptance: {rule.fault}")
    return rule


def check_amount(labels: Sequence[int]) -> None:
    """Check the number of patches, before one is read.

    Raises:
        ValueError: if there are too few or too many.
    """
    positive = sum(labels)
    negative = len(labels) - positive
    if not MIN_PATCHES <= len(labels) <= MAX_PATCHES or min(positive, negative) < MIN_OF_A_LABEL:
        raise ValueError(
            f"the number of patches is {len(labels)} ({negative} negative, {positive} positive), expected "
            f"{MIN_PATCHES} to {MAX_PATCHES}, at least {MIN_OF_A_LABEL} of each label: "
            "change the list, without looking at answers"
        )


def check_site(name: str) -> None:
    """Check the site's name.

    Raises:
        ValueError: if it does not fit into a report.
    """
    if len(name) > MAX_SITE or not name.isprintable():
        raise ValueError(f"the site's name has control characters or over {MAX_SITE} characters: shorten it")


def answer_patches(engine: Engine, patches: Sequence[SitePatch], mpp: Mpp, track: Track = iter) -> list[AnsweredPatch]:
    """Answer a site's patches with full turns.

    Args:
        mpp: the patches' microns per pixel, as in a request.
        track: shows the progress.

    Raises:
        OSError: if a file cannot be read.
    """
    return [_answered(engine, patch, mpp) for patch in track(patches)]


def acceptance_report(
    manifest: Manifest, model_id: str, answered: Sequence[AnsweredPatch], *, site: str, source: str, mpp: Mpp
) -> AcceptanceReport:
    """Judge a model's answers to a site's labelled patches by the rule for the model.

    A file that is no patch counts as refused.

    Args:
        manifest: the model's.
        model_id: SHA-256 of its artifact.
        site: the site's name, for the report.
        source: where the patches come from, for the report.
        mpp: as it was when the patches were answered.

    Raises:
        ValueError: if there are too few or too many patches, or one occurs twice.
        OSError: if a file cannot be read.
    """
    rule = acceptance_rule(manifest)
    labels = [each.patch.label for each in answered]
    check_amount(labels)
    digest = _digest(answered)
    answers = [_site_answer(each) for each in answered]
    assessable = [each.patch for each, answer in zip(answered, answers, strict=True) if answer.probability is not None]
    scale = manifest.input.microns_per_pixel
    scope = scope_of(
        len(assessable),
        lambda index: decode(assessable[index].read(), scale, mpp).pixels,
        slide_reference(),
    )
    figures = figures_of(answers, manifest)
    outcome, checks = judge(rule, figures, scope)
    positive, refused = sum(labels), sum(each.answer is None for each in answered)
    return AcceptanceReport(
        site=site,
        model=TestedModel(name=manifest.name, version=manifest.version, sha256=model_id),
        data=SiteData(
            source=source,
            sha256=digest,
            patches=len(answered),
            positive=positive,
            negative=len(answered) - positive,
            not_assessable=len(answered) - len(assessable) - refused,
            refused=refused,
        ),
        basis="orbit" if manifest.orbit else "single",
        outcome=outcome,
        rule=rule.texts,
        checks=checks,
        scope=scope,
        figures=figures,
        drift=drift_of(answers, manifest),
    )


def _answered(engine: Engine, patch: SitePatch, mpp: Mpp) -> AnsweredPatch:
    try:
        return AnsweredPatch(patch, engine.answer(patch.read(), Rotations.FULL, mpp=mpp))
    except ImageProblem as problem:
        return AnsweredPatch(patch, None, problem.detail)


def _site_answer(each: AnsweredPatch) -> SiteAnswer:
    answer = each.answer
    if answer is None:
        return SiteAnswer(each.patch.label, None, None)
    return SiteAnswer(
        each.patch.label,
        answer.probability,
        answer.decision,
        answer.consistency.max_deviation if answer.consistency.consistent is not None else None,
        answer.quality.stain_distance,
    )


def _digest(answered: Sequence[AnsweredPatch]) -> str:
    """SHA-256 over the patches' own hashes and labels, in the order of the hashes.

    Raises:
        ValueError: if a patch occurs twice.
    """
    first: dict[str, SitePatch] = {}
    for each in answered:
        if each.answer is None:
            continue
        earlier = first.setdefault(each.answer.patch.sha256, each.patch)
        if earlier is not each.patch:
            names = f"{each.patch.name} and {earlier.name}"
            raise ValueError(f"the same pixels are in the patches {names}: remove one of them")
    lines = "".join(f"{patch} {each.label}\n" for patch, each in sorted(first.items()))
    return sha256(lines.encode()).hexdigest()

"""The acceptance test of a model on a site's labelled patches."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from hashlib import sha256

from app.diagnosis.decode import decode
from app.diagnosis.engine import Engine
from app.diagnosis.labelled import LabelledFile
from app.diagnosis.report import NewAnswer
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
from model_zoo.orbit import Rotations
from model_zoo.site_figures import SiteAnswer, drift_of, figures_of, scope_of
from model_zoo.slide_scope import slide_reference

Track = Callable[[Sequence[LabelledFile]], Iterable[LabelledFile]]


@dataclass(frozen=True)
class _Answered:
    file: LabelledFile
    answer: NewAnswer | None


def acceptance_rule(engine: Engine) -> Rule:
    """The rule for this model.

    Raises:
        ValueError: if its manifest states too little.
    """
    rule = rule_for(engine.manifest)
    if rule.fault:
        manifest = engine.manifest
        raise ValueError(f"{manifest.name} {manifest.version} cannot be tested for acceptance: {rule.fault}")
    return rule


def check_amount(files: Sequence[LabelledFile]) -> None:
    """Check the number of patches, before one is read.

    Raises:
        ValueError: if there are too few or too many.
    """
    positive = sum(file.label for file in files)
    negative = len(files) - positive
    if not MIN_PATCHES <= len(files) <= MAX_PATCHES or min(positive, negative) < MIN_OF_A_LABEL:
        raise ValueError(
            f"there are {len(files)} patches, {negative} negative and {positive} positive; expected {MIN_PATCHES} to "
            f"{MAX_PATCHES}, at least {MIN_OF_A_LABEL} of each label: change the list, without looking at answers"
        )


def run_acceptance(
    engine: Engine, files: Sequence[LabelledFile], *, site: str, source: str, mpp: Mpp, track: Track = iter
) -> AcceptanceReport:
    """Answer a site's labelled patches and judge the answers by the rule for the model.

    A file that is no patch counts as refused.

    Args:
        site: the site's name, for the report.
        source: where the patches come from, for the report.
        mpp: the patches' microns per pixel, as in a request.
        track: shows the progress.

    Raises:
        ValueError: if there are too few or too many patches, or one occurs twice.
        OSError: if a file cannot be read.
    """
    rule = acceptance_rule(engine)
    check_amount(files)
    answered = [_Answered(file, _answer(engine, file, mpp)) for file in track(files)]
    digest = _digest(answered)
    answers = [_site_answer(each) for each in answered]
    assessable = [each.file for each, answer in zip(answered, answers, strict=True) if answer.probability is not None]
    scale = engine.manifest.input.microns_per_pixel
    scope = scope_of(
        len(assessable),
        lambda index: decode(assessable[index].path.read_bytes(), scale, mpp).pixels,
        slide_reference(),
    )
    figures = figures_of(answers, engine.manifest)
    outcome, checks = judge(rule, figures, scope)
    positive, refused = sum(file.label for file in files), sum(each.answer is None for each in answered)
    not_assessable = len(files) - len(assessable) - refused
    name, version = engine.manifest.name, engine.manifest.version
    return AcceptanceReport(
        site=site,
        model=TestedModel(name=name, version=version, sha256=engine.network.sha256),
        data=SiteData(
            source=source,
            sha256=digest,
            patches=len(files),
            positive=positive,
            negative=len(files) - positive,
            not_assessable=not_assessable,
            refused=refused,
        ),
        basis="orbit" if engine.manifest.orbit else "single",
        outcome=outcome,
        rule=rule.texts,
        checks=checks,
        scope=scope,
        figures=figures,
        drift=drift_of(answers, engine.manifest),
    )


def _answer(engine: Engine, file: LabelledFile, mpp: Mpp) -> NewAnswer | None:
    try:
        return engine.answer(file.path.read_bytes(), Rotations.FULL, mpp=mpp)
    except ImageProblem:
        return None


def _site_answer(each: _Answered) -> SiteAnswer:
    answer = each.answer
    if answer is None:
        return SiteAnswer(each.file.label, None, None)
    return SiteAnswer(
        each.file.label,
        answer.probability,
        answer.decision,
        answer.consistency.max_deviation if answer.consistency.consistent is not None else None,
        answer.quality.stain_distance,
    )


def _digest(answered: Sequence[_Answered]) -> str:
    """SHA-256 over the patches' own hashes and labels, in the order of the hashes.

    Raises:
        ValueError: if a patch occurs twice.
    """
    first: dict[str, LabelledFile] = {}
    for each in answered:
        if each.answer is None:
            continue
        earlier = first.setdefault(each.answer.patch.sha256, each.file)
        if earlier is not each.file:
            raise ValueError(f"{each.file.path} and {earlier.path} hold the same pixels: remove one of them")
    lines = "".join(f"{patch} {file.label}\n" for patch, file in sorted(first.items()))
    return sha256(lines.encode()).hexdigest()

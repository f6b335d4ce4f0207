"""Acceptance test on people's verdicts: when they carry an outcome, and by which rule."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from model_zoo.acceptance import (
    MARGIN,
    MAX_REFUSED,
    MIN_OF_A_LABEL,
    MIN_PATCHES,
    Check,
    Criterion,
    Outcome,
    Rule,
    SiteFigure,
    SiteScope,
    at_least,
    checked,
    stated_of,
)
from model_zoo.basis import Basis
from model_zoo.manifest import Manifest, Metric
from model_zoo.slide_scope import SlideReference
from model_zoo.verdict_figures import MEAN, DrawnAnswer

MAX_LEFT = 0.50
MIN_JUDGED = 0.90
MIN_SLIDES = 10

FIRST = (
    f"outcome: at least {MIN_PATCHES} answers with a label, {MIN_OF_A_LABEL} of each: drawn at random, decided by the "
    "model, judged by people",
    f"outcome: at least {MIN_JUDGED:.0%} of the drawn answers that the model decided are judged",
    f"outcome: they are of at least {MIN_SLIDES} slides, and each answer names its slide or case",
    "scope: the median stain distance lies within the bound for slides (otherwise out of scope; no outcome if it is "
    "not known)",
)
UNKNOWN = "not known: too few answers, or the model measures stain against a reference of its own"
LIMITS = (
    "People gave their verdicts beside the model's answer. Verdicts that follow it make the model look better than it "
    "is.",
    "An answer that the model left to a person has no label: sensitivity and specificity are those of the answers that "
    "it decided itself.",
    "Verdicts on regions are not part of the rule. The model proposes the regions, so nobody is asked about metastasis "
    "that it missed, and all their cells are called positive: they give neither sensitivity nor specificity.",
)


def verdict_rule(metrics: Sequence[Metric], basis: Basis) -> Rule:
    """The rule for a model on verdicts; its first conditions say whether there is an outcome at all.

    The model leaves the hard answers to a person, so those that it decides are the easier ones. Their mean of
    sensitivity and specificity is compared with the manifest's accuracy over all answers without a margin, and each
    of the two may lie one margin below.

    Args:
        metrics: those of its manifest.
        basis: of most answers.
    """
    criteria = [
        Criterion(figure="share refused or not assessable", side="at_most", of="high", limit=MAX_REFUSED),
        Criterion(figure="share left to a person", side="at_most", of="high", limit=MAX_LEFT),
    ]
    stated = stated_of(metrics, basis)
    if (accuracy := stated.get("accuracy")) is None:
        return Rule((), "its manifest states no accuracy: publish it with metrics")
    criteria.append(at_least(MEAN, accuracy, 0))
    criteria += [at_least(name, accuracy) for name in ("sensitivity", "specificity")]
    if ece := stated.get("ece"):
        limit = {"limit": ece.value + MARGIN, "stated": ece.value, "split": ece.split}
        criteria.append(Criterion(figure="ece", side="at_most", of="low", **limit))
    return Rule(tuple(criteria), first=FIRST)


def rule_on_verdicts(manifest: Manifest, basis: Basis | None = None) -> Rule:
    """The rule for a model, as :func:`verdict_rule`; by default on the basis that decides full orbits."""
    return verdict_rule(manifest.metrics, basis or ("orbit" if manifest.orbit else "single"))


def verdict_scope(answers: Sequence[DrawnAnswer], manifest: Manifest, reference: SlideReference) -> SiteScope:
    """The median of the recorded stain distances against the bound for slides; texture needs pixels.

    Unknown if there are too few answers, or the model measures stain against another reference.
    """
    measured = [
        answer.stain_distance
        for answer in answers
        if answer.stain_distance is not None and answer.decision != "not_assessable"
    ]
    bounds = reference.bounds_for(len(measured))
    same = (manifest.quality.stain_mean, manifest.quality.stain_precision) == (
        reference.stain_mean,
        reference.stain_precision,
    )
    if bounds is None or not same:
        return SiteScope(verdict="unknown", patches=len(measured))
    stain, most = float(np.median(measured)), bounds.max_stain_distance
    return SiteScope(
        verdict="out_of_scope" if stain > most else "in_scope", patches=len(measured), stain=stain, max_stain=most
    )


def judge_verdicts(
    rule: Rule, answers: Sequence[DrawnAnswer], figures: Sequence[SiteFigure], scope: SiteScope
) -> tuple[Outcome, tuple[Check, ...]]:
    """The outcome, and each condition with what was found.

    There is no outcome if one of the first three conditions does not hold, or the scope is not known.
    """
    enough = _enough(answers, rule.texts)
    stain = UNKNOWN if scope.stain is None else f"{scope.stain:.2f}, bound {scope.max_stain:.2f}"
    within = Check(text=rule.texts[3], found=stain, passed=scope.verdict == "in_scope")
    checks = (*enough, within, *checked(rule, figures))
    if not all(check.passed for check in enough) or scope.verdict == "unknown":
        return "no_outcome", checks
    if scope.verdict == "out_of_scope":
        return "out_of_scope", checks
    return ("passed" if all(check.passed for check in checks) else "failed"), checks


def _enough(answers: Sequence[DrawnAnswer], rule: Sequence[str]) -> list[Check]:
    """Whether the drawn answers carry an outcome."""
    labelled = [answer for answer in answers if answer.label is not None]
    positive = sum(answer.label or 0 for answer in labelled)
    negative = len(labelled) - positive
    decided = sum(answer.decided for answer in answers)
    judged = len(labelled) / decided if decided else 0.0
    slides, named = len({answer.group for answer in labelled}), all(answer.named for answer in labelled)
    unnamed = "" if named else "; some answers name neither slide nor case"
    return [
        Check(
            text=rule[0],
            found=f"{positive} positive, {negative} negative",
            passed=len(labelled) >= MIN_PATCHES and min(positive, negative) >= MIN_OF_A_LABEL,
        ),
        Check(text=rule[1], found=f"{len(labelled)} of {decided}", passed=judged >= MIN_JUDGED),
        Check(text=rule[2], found=f"{slides}{unnamed}", passed=slides >= MIN_SLIDES and named),
    ]

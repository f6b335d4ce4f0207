"""Acceptance tests on the verdicts that people gave on this server."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from pathlib import Path
from typing import Self

from sqlalchemy import Engine

from app.diagnosis.acceptance import check_site
from app.inference.model import Model
from app.problems import NoVerdictTest
from app.records.acceptances import Acceptance, Acceptances
from app.records.audit import Actor, AuditTrail
from app.records.site_verdicts import JudgedRun, SiteVerdicts
from app.records.slide_runs import SlideRuns
from app.slides.region_files import regions_of
from app.slides.workplace import Workplace
from model_zoo.acceptance import AcceptanceReport, RegionData, Rule, SiteData, TestedModel
from model_zoo.basis import Basis
from model_zoo.manifest import Manifest
from model_zoo.site_figures import drift_of
from model_zoo.slide_scope import slide_reference
from model_zoo.verdict_acceptance import LIMITS, judge_verdicts, rule_on_verdicts, verdict_scope
from model_zoo.verdict_figures import DrawnAnswer, JudgedRegion, answer_figures, region_figures, site_answers

MAX_DAYS = 1096
DAYS = 365


class VerdictTest:
    """Judges a model by people's verdicts. Methods block.

    Args:
        verdicts: the rows.
        workplace: the files of slide runs.
        acceptances: records the reports.
    """

    def __init__(self, verdicts: SiteVerdicts, workplace: Workplace, acceptances: Acceptances) -> None:
        self._verdicts = verdicts
        self._workplace = workplace
        self._acceptances = acceptances

    @classmethod
    def of(cls, database: Engine, audit: AuditTrail, home: Path) -> Self:
        """The test on the verdicts of a database and the runs' files in a data folder."""
        verdicts = SiteVerdicts(database, SlideRuns(database, audit))
        return cls(verdicts, Workplace(home), Acceptances(database, audit))

    def report(self, manifest: Manifest, model_id: str, days: int, now: datetime, site: str = "") -> AcceptanceReport:
        """The report on the answers and runs of the last days.

        Args:
            manifest: the model's.
            model_id: SHA-256 of its artifact.
            now: aware.
            site: the site's name, for the report.

        Raises:
            ValueError: if nobody has judged a drawn answer or a region, or the model cannot be tested so.
            RecordsUnavailable: if the database fails.
        """
        check_site(site)
        rule_for_verdicts(manifest)
        since = now - timedelta(days=days)
        answers = self._verdicts.drawn(model_id, since)
        runs = self._verdicts.judged_runs(model_id, since)
        if not runs and not any(answer.verdict for answer in answers):
            raise ValueError(
                f"nobody has judged an answer of {manifest.name} {manifest.version} that was drawn at random in the "
                f"last {days} days, or a region of its runs: draw answers on the page Agreement, and judge them"
            )
        period = f"verdicts of this server on answers and slide runs from {since:%Y-%m-%d} to {now:%Y-%m-%d}"
        return _report(manifest, model_id, answers, self._regions(runs), site=site, source=period)

    def run(self, model: Model, days: int, site: str, actor: Actor) -> tuple[Acceptance, AcceptanceReport]:
        """Judge a model now, and record the report.

        Raises:
            NoVerdictTest: as :meth:`report` raises ValueError; nothing is recorded.
            RecordsUnavailable: if the database fails.
        """
        try:
            report = self.report(model.manifest, model.sha256, days, datetime.now(UTC), site)
        except ValueError as error:
            raise NoVerdictTest(f"{str(error)[:1].upper()}{str(error)[1:]}.") from error
        return self._acceptances.add(report, actor), report

    def _regions(self, runs: Sequence[JudgedRun]) -> RegionData:
        kept = [each for each in runs if (each.run.scope or {}).get("verdict") != "out_of_scope"]
        found: list[JudgedRegion] = []
        lines, unread = [], 0
        for each in kept:
            file = self._workplace.product(each.run.id, "regions.geojson")
            try:
                entries = regions_of(file) if file else []
            except ValueError:
                entries = []
            if not entries:
                unread += 1
                continue
            verdicts = {number: state.verdict for number, state in each.standings.items()}
            lines += [f"{each.run.id} {number} {verdict}\n" for number, verdict in sorted(verdicts.items())]
            for number, entry in enumerate(entries, start=1):
                confirmed = {"agree": True, "disagree": False}.get(verdicts.get(number) or "")
                found.append(JudgedRegion(each.run.slide_id, entry.cells, entry.largest, confirmed))
        counts = Counter(region.confirmed for region in found)
        return RegionData(
            slides=len(kept) - unread,
            regions=len(found),
            confirmed=counts[True],
            denied=counts[False],
            open=counts[None],
            out_of_scope=len(runs) - len(kept),
            unread=unread,
            sha256=sha256("".join(sorted(lines)).encode()).hexdigest(),
            figures=region_figures(found),
        )


def rule_for_verdicts(manifest: Manifest, basis: Basis | None = None) -> Rule:
    """The rule for a model on verdicts.

    Raises:
        ValueError: if its manifest states too little.
    """
    rule = rule_on_verdicts(manifest, basis)
    if rule.fault:
        raise ValueError(f"{manifest.name} {manifest.version} cannot be tested on verdicts: {rule.fault}")
    return rule


def _report(
    manifest: Manifest, model_id: str, answers: Sequence[DrawnAnswer], regions: RegionData, *, site: str, source: str
) -> AcceptanceReport:
    basis = _basis(answers, manifest)
    figures = answer_figures(answers, manifest)
    scope = verdict_scope(answers, manifest, slide_reference())
    rule = rule_for_verdicts(manifest, basis)
    outcome, checks = judge_verdicts(rule, answers, figures, scope)
    labels = [answer.label for answer in answers if answer.label is not None]
    decisions = Counter(answer.decision for answer in answers)
    lines = sorted(f"{answer.patch} {answer.decision} {answer.label}\n" for answer in answers)
    return AcceptanceReport(
        site=site,
        model=TestedModel(name=manifest.name, version=manifest.version, sha256=model_id),
        data=SiteData(
            source=source,
            sha256=sha256("".join(lines).encode()).hexdigest(),
            patches=len(answers),
            positive=sum(labels),
            negative=len(labels) - sum(labels),
            not_assessable=decisions["not_assessable"],
            refused=0,
            left=decisions["review"],
            unjudged=sum(answer.decided for answer in answers) - len(labels),
        ),
        basis=basis,
        outcome=outcome,
        rule=rule.texts,
        checks=checks,
        scope=scope,
        figures=figures,
        drift=drift_of(site_answers(answers, basis), manifest, basis),
        kind="verdicts",
        regions=regions,
        limits=LIMITS,
    )


def _basis(answers: Sequence[DrawnAnswer], manifest: Manifest) -> Basis:
    """That of most answers."""
    counts = Counter(answer.basis for answer in answers)
    if not counts:
        return "orbit" if manifest.orbit else "single"
    return "orbit" if counts["orbit"] >= counts["single"] else "single"

"""``rosette acceptances``: the acceptance tests that were recorded."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import typer

from app.commands.database import the_database
from app.commands.errors import readable_errors
from app.records.acceptances import Acceptances
from app.records.audit import AuditTrail
from model_zoo.acceptance import AcceptanceReport, RegionData, SiteFigure
from model_zoo.comparison import TITLES
from model_zoo.listing import AsJson, show, show_json

acceptances = typer.Typer(help="List and show the recorded acceptance tests of models.", no_args_is_help=True)


@acceptances.command("list")
def list_acceptances(as_json: AsJson = False) -> None:
    """List the acceptance tests, newest first, at most 200; times are UTC."""
    with readable_errors():
        found = _acceptances().listing()
    if as_json:
        show_json(found)
        return
    if not found:
        typer.echo("There are no acceptance tests: `rosette acceptance FOLDER` or `--verdicts` runs one.")
        return
    rows = [
        (
            *(each.id[:13], each.outcome.replace("_", " "), each.site, str(each.patches)),
            *(each.model_sha256[:12], each.tested_by, each.tested_at, each.kind),
        )
        for each in found
    ]
    show(("id", "outcome", "site", "patches", "model", "by", "tested", "from"), rows, whole=("model",))


@acceptances.command("show")
def show_acceptance(
    acceptance_id: Annotated[str, typer.Argument(metavar="ID", help="The test's id, or its first characters.")],
    as_json: AsJson = False,
) -> None:
    """Show an acceptance test: the rule, what was found, and the outcome."""
    with readable_errors():
        tests = _acceptances()
        found, report = tests.find(_resolved(tests, acceptance_id))
    if as_json:
        show_json(vars(found) | {"report": report.model_dump(mode="json")})
        return
    typer.echo(f"Acceptance test {found.id}, {found.tested_at:%Y-%m-%d %H:%M} UTC, by {found.tested_by}.")
    if found.site:
        typer.echo(f"Site {found.site}.")
    typer.echo(f"Model {report.model.name} {report.model.version} ({found.model_sha256[:12]}). The rule:")
    for text in report.rule:
        typer.echo(f"  - {text}")
    tell(report)


def tell(report: AcceptanceReport) -> None:
    """Print what was found, each condition, and the outcome."""
    data = report.data
    if report.kind == "verdicts":
        typer.echo(
            f"{data.patches} answers drawn at random: {data.positive} positive and {data.negative} negative by "
            f"people's verdicts, {data.unjudged} not judged, {data.left} left to a person, {data.not_assessable} not "
            f"assessable. Data {data.sha256[:12]}."
        )
    else:
        typer.echo(
            f"{data.patches} patches, {data.positive} positive and {data.negative} negative; {data.not_assessable} not "
            f"assessable, {data.refused} refused. Data {data.sha256[:12]}."
        )
    _tell_figures(report.figures)
    if report.regions is not None:
        _tell_regions(report.regions)
    for each in report.drift:
        psi = "" if each.psi is None else f", PSI {each.psi:.3f}"
        typer.echo(f"  drift of {each.figure.replace('_', ' ')}: {each.verdict.replace('_', ' ')}{psi}")
    for check in report.checks:
        typer.echo(f"  {'met    ' if check.passed else 'NOT MET'}  {check.text}: {check.found}")
    for limit in report.limits:
        typer.echo(f"  Note: {limit}")
    typer.echo(report.verdict)


def _tell_figures(figures: Sequence[SiteFigure]) -> None:
    for figure in figures:
        stated = "" if figure.stated is None else f"; the manifest states {figure.stated:.3f} on {figure.split}"
        interval = f"{figure.value:.3f} [{figure.low:.3f}, {figure.high:.3f}]"
        typer.echo(f"  {TITLES.get(figure.name, figure.name)}: {interval}, n = {figure.n}{stated}")


def _tell_regions(regions: RegionData) -> None:
    typer.echo(
        f"Among the judged regions, not part of the rule: slides: {regions.slides}; regions: {regions.regions}, of "
        f"them confirmed: {regions.confirmed}, denied: {regions.denied}, open: {regions.open}; slides left out: "
        f"{regions.out_of_scope} out of scope, {regions.unread} without files."
    )
    _tell_figures(regions.figures)


def _resolved(tests: Acceptances, beginning: str) -> str:
    """The id of the only listed test that begins so, else what was given."""
    found = [each.id for each in tests.listing() if each.id.startswith(beginning.lower())]
    if len(found) > 1:
        raise ValueError(f"{len(found)} acceptance tests have an id that begins with {beginning!r}: give more of it")
    return found[0] if found else beginning


def _acceptances() -> Acceptances:
    database = the_database()
    return Acceptances(database, AuditTrail(database))

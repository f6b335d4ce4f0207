"""``rosette acceptance``: does a model hold on a site's own labelled patches?"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import track

from app.commands.acceptances import tell
from app.commands.database import shell_actor, the_database
from app.commands.errors import readable_errors
from app.commands.predict import stated_mpp
from app.diagnosis.acceptance import (
    SitePatch,
    acceptance_report,
    acceptance_rule,
    answer_patches,
    check_amount,
    check_site,
)
from app.diagnosis.engine import Engine
from app.diagnosis.labelled import labelled_files
from app.diagnosis.scale import Mpp
from app.records.acceptances import Acceptances
from app.records.audit import AuditTrail
from app.registry import release
from app.registry.registry import Registry
from app.settings import Settings
from app.signatures import TrustedKeys
from app.verdict_test import DAYS, MAX_DAYS, VerdictTest, rule_for_verdicts
from model_zoo.acceptance import AcceptanceReport


def acceptance(
    patches: Annotated[
        Path | None,
        typer.Argument(
            metavar="FOLDER|CSV",
            exists=True,
            help="100 to 500 labelled patches: a folder with one folder for each class, such as normal and tumour, or "
            "a CSV file with the columns file and label.",
        ),
    ] = None,
    verdicts: Annotated[
        bool,
        typer.Option("--verdicts", help="Instead of patches: the verdicts that people gave on this server's answers."),
    ] = False,
    days: Annotated[
        int | None,
        typer.Option(min=1, max=MAX_DAYS, help=f"With --verdicts: of the last days; {DAYS} by default."),
    ] = None,
    model: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE|NAME", help="The artifact, or the name of a shipped one; by default the active model's."
        ),
    ] = None,
    site: Annotated[str, typer.Option(help="The site's name, for the report.")] = "",
    mpp: Annotated[
        str | None,
        typer.Option(metavar="NUMBER|ignore", help="The patches' microns per pixel; or ignore, as in rosette predict."),
    ] = None,
    html: Annotated[Path | None, typer.Option("--html", help="Also write a report to print to this file.")] = None,
    as_json: Annotated[Path | None, typer.Option("--json", help="Also write the report as JSON to this file.")] = None,
    record: Annotated[
        bool, typer.Option("--record/--no-record", help="Record the test in the server's database.")
    ] = True,
) -> None:
    """Test a model on a site's own labelled patches, or on people's verdicts, by a rule that is printed first.

    Exits with 0 if the model passed, with 1 if it failed, is out of scope, has no outcome, or the command failed.
    """
    stated = stated_mpp(mpp)
    if verdicts == (patches is not None) or (verdicts and mpp is not None) or (days is not None and not verdicts):
        raise typer.BadParameter("give either FOLDER or CSV (with --mpp if needed), or --verdicts (with --days)")
    with readable_errors():
        check_site(site)
        engine = _engine(model)
        if patches is None:
            report = _of_verdicts(engine, days or DAYS, site)
        else:
            report = _of_patches(engine, patches, stated, site)
        tell(report)
        if as_json is not None:
            as_json.write_text(report.model_dump_json(indent=2) + "\n", encoding="utf-8")
        if record:
            database = the_database()
            found = Acceptances(database, AuditTrail(database)).add(report, shell_actor())
            typer.echo(f"Recorded as acceptance test {found.id}; the page is /acceptance/{found.id}")
        if html is not None:
            from app.web.acceptance_file import acceptance_file

            html.write_text(acceptance_file(report), encoding="utf-8")
    if report.outcome != "passed":
        raise typer.Exit(1)


def _of_patches(engine: Engine, patches: Path, stated: Mpp, site: str) -> AcceptanceReport:
    rule = acceptance_rule(engine.manifest)
    _tell_rule(engine, rule.texts, "a patch")
    listed = [SitePatch(str(file.path), file.label, file.path.read_bytes) for file in labelled_files(patches)]
    check_amount([patch.label for patch in listed])
    answered = answer_patches(engine, listed, stated, _tracked)
    for each in answered:
        if each.refusal:
            typer.echo(f"Refused: {each.patch.name}: {each.refusal}", err=True)
    return acceptance_report(
        engine.manifest, engine.network.sha256, answered, site=site, source=patches.name, mpp=stated
    )


def _of_verdicts(engine: Engine, days: int, site: str) -> AcceptanceReport:
    _tell_rule(engine, rule_for_verdicts(engine.manifest).texts, "a verdict")
    database = the_database()
    test = VerdictTest.of(database, AuditTrail(database), Settings().home)
    return test.report(engine.manifest, engine.network.sha256, days, datetime.now(UTC), site)


def _tell_rule(engine: Engine, texts: Sequence[str], read: str) -> None:
    typer.echo(f"Model {engine.manifest.name} {engine.manifest.version}. The rule, stated before {read} is read:")
    for text in texts:
        typer.echo(f"  - {text}")


def _engine(model: Path | None) -> Engine:
    """The given artifact, or the database's active model, proved on this machine."""
    if model is not None:
        return Engine.load(model)
    settings, database = Settings(), the_database()
    registry = Registry(database, AuditTrail(database), TrustedKeys.parse(settings.trusted_keys or ""))
    release.recognize(registry, settings.model)
    _, active = registry.listing()
    if active is None:
        raise ValueError("no model is active in this database: start the server once, or name an artifact with --model")
    return Engine.open(registry.checked_data(active.model_id)[1])


def _tracked(patches: Sequence[SitePatch]) -> Iterable[SitePatch]:
    """The patches, with a progress bar on standard error if that is a terminal."""
    quiet = not sys.stderr.isatty()
    return track(patches, "patches", total=len(patches), console=Console(stderr=True), disable=quiet)

"""``rosette serve`` and ``rosette predict``."""

from __future__ import annotations

import json
import os
import shlex
import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Column, Table

from app.commands.errors import readable_errors
from app.diagnosis.engine import Engine, shipped_artifacts
from app.diagnosis.orbit import Rotations
from app.diagnosis.report import Answer
from app.main import create_app
from app.memory import keep_what_is_there
from app.problems import ImageProblem
from app.records.only import only_server
from app.server import make_server, make_supervisor, raise_descriptor_limit
from app.services import Services
from app.settings import Settings


def serve(
    workers: Annotated[
        int | None, typer.Option(min=1, help="Server processes; more than one need PostgreSQL. [env: ROSETTE_WORKERS]")
    ] = None,
) -> None:
    """Serve POST /predict, and everything else, over HTTP."""
    if workers is not None:
        os.environ["ROSETTE_WORKERS"] = str(workers)
    with readable_errors():
        settings = Settings()
        raise_descriptor_limit()
        if settings.workers > 1:
            _serve_many(settings)
            return
        with only_server(settings.sqlalchemy_url()):
            app = create_app(settings)
            services: Services = app.state.services
            server = make_server(app, settings, lambda port: typer.echo(greeting(services, port)))
            services.start()
            keep_what_is_there()
            server.run()


def _serve_many(settings: Settings) -> None:
    services = Services(settings)
    supervisor = make_supervisor(settings, lambda port: typer.echo(greeting(services, port)))
    services.start()  # what the database and the home folder lack is made once, and what is wrong with them said once
    services.stop()
    supervisor.run()


def predict(
    images: Annotated[list[Path], typer.Argument(help="PNG, JPEG or TIFF patches of 96×96 pixels.")],
    rotations: Annotated[Rotations, typer.Option(help="Which turns are measured.")] = Rotations.FULL,
    model: Annotated[Path | None, typer.Option(help="The artifact; by default the shipped one.")] = None,
    as_json: Annotated[
        bool | None, typer.Option("--json/--table", help="JSON Lines, the default unless in a terminal, or a table.")
    ] = None,
) -> None:
    """Classify patches here and now, without a server; nothing is recorded.

    Exits with 1 if any image was refused.
    """
    with readable_errors():
        settings = Settings()
        engine = Engine.load(model or settings.model or shipped_artifacts()[0])
    if as_json is None:
        as_json = not sys.stdout.isatty()
    decision = Column("decision", min_width=len("not_assessable"))
    table = Table(Column("file", overflow="fold"), decision, "probability", "consistent", "deviation", "reasons")
    refused = False
    for image in images:
        try:
            answer = engine.answer(image.read_bytes(), rotations, settings.prevalence)
        except (ImageProblem, OSError) as error:
            refused = True
            typer.echo(f"{image}: {error}", err=True)
            problem = error.body() if isinstance(error, ImageProblem) else {"title": "unreadable", "detail": str(error)}
            if as_json:
                typer.echo(json.dumps({"file": str(image), "problem": problem}))
            table.add_row(str(image), "refused", "", "", "", str(problem["title"]))
            continue
        if as_json:
            typer.echo(json.dumps({"file": str(image)} | json.loads(answer.model_dump_json())))
        table.add_row(str(image), *_cells(answer))
    if not as_json:
        Console().print(table)
        typer.echo(f"Model {engine.manifest.name} {engine.manifest.version}. {Answer.model_fields['notice'].default}")
    if refused:
        raise typer.Exit(1)


def _cells(answer: Answer) -> list[str]:
    consistency = answer.consistency
    return [
        answer.decision,
        "" if answer.probability is None else f"{answer.probability:.3f}",
        {True: "yes", False: "no", None: "not measured"}[consistency.consistent],
        f"{consistency.max_deviation:.3f}",
        "; ".join(answer.reasons),
    ]


def greeting(services: Services, port: int) -> str:
    """What to type next: a request that works as it stands."""
    settings = services.settings
    host = "127.0.0.1" if settings.host in {"0.0.0.0", "::"} else settings.host  # noqa: S104 - compared, not bound
    url = f"http://{f'[{host}]' if ':' in host else host}:{port}"
    if services.model_error:
        return f"Rosette listens at {url}, but cannot answer: {services.model_error}"
    patch = settings.home / "demo-patch.png"
    if not patch.exists():
        cases = services.model.manifest.golden_cases
        patch.write_bytes(next((case for case in cases if case.name.startswith("tumour")), cases[0]).png)
    if settings.admin_key is not None:
        key = "$ROSETTE_ADMIN_KEY"
    else:
        key = f"$(cat {shlex.quote(str(settings.admin_key_file or settings.home / 'admin.key'))})"
    root = url + (settings.root_path or "")
    curl = f'curl -sS -H "Authorization: Bearer {key}" -F file=@{shlex.quote(str(patch))} {root}/predict'
    return f"Rosette listens at {url}, where its pages are; its documentation is at {root}/docs. Try:\n\n  {curl}\n"

"""``rosette serve``."""

from __future__ import annotations

import os
import shlex
from typing import TYPE_CHECKING, Annotated

import typer

from app.commands.errors import readable_errors
from app.memory import keep_what_is_there
from app.records.server_lock import only_server
from app.settings import Settings

if TYPE_CHECKING:
    from app.services import Services


def serve(
    workers: Annotated[
        int | None, typer.Option(min=1, help="Server processes; more than one needs PostgreSQL. [env: ROSETTE_WORKERS]")
    ] = None,
) -> None:
    """Serve the API and the pages over HTTP."""
    if workers is not None:
        os.environ["ROSETTE_WORKERS"] = str(workers)
    with readable_errors():
        settings = Settings()
        if settings.workers > 1:
            _serve_many(settings)
            return
        settings.home.mkdir(mode=0o700, parents=True, exist_ok=True)
        with only_server(settings.sqlalchemy_url()):
            _serve_alone(settings)


def _serve_alone(settings: Settings) -> None:
    # Imported once the settings are known to be right: the application takes two seconds of processor time.
    from app.main import create_app
    from app.server import check_port, make_server, raise_descriptor_limit

    check_port(settings)
    raise_descriptor_limit()
    app = create_app(settings)
    services: Services = app.state.services
    server = make_server(app, settings, lambda port: typer.echo(greeting(services, port)))
    services.start()
    keep_what_is_there()
    server.run()


def _serve_many(settings: Settings) -> None:
    from app.server import check_port, make_supervisor, raise_descriptor_limit
    from app.services import Services

    check_port(settings)
    raise_descriptor_limit()
    services = Services(settings)
    supervisor = make_supervisor(settings, lambda port: typer.echo(greeting(services, port)))
    services.start()  # sets up the database and the home folder once, and reports errors once
    services.stop()
    supervisor.run()


def greeting(services: Services, port: int) -> str:
    """A request that can be run as it is."""
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
        key, place = "$ROSETTE_ADMIN_KEY", "of ROSETTE_ADMIN_KEY"
    else:
        file = settings.admin_key_file or settings.home / "admin.key"
        key, place = f"$(cat {shlex.quote(str(file))})", f"in {file}"
    root = url + (settings.root_path or "")
    curl = f'curl -sS -H "Authorization: Bearer {key}" -F file=@{shlex.quote(str(patch))} {root}/predict'
    return (
        f"Rosette listens at {url} (its documentation is at {root}/docs).\n"
        f"Open {root}/ in a browser and sign in with the key {place}, or try:\n\n  {curl}\n"
    )

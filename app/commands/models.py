"""``rosette models``: artifact files, and the models in the server's registry."""

from __future__ import annotations

import os
from hashlib import sha256
from pathlib import Path
from typing import Annotated, Any

import typer

from app.commands.database import shell_actor, the_database
from app.commands.errors import readable_errors
from app.diagnosis.engine import Engine
from app.problems import ArtifactRefused
from app.records.acceptances import Acceptances
from app.records.audit import AuditTrail
from app.records.models import ModelEntry, summary
from app.registry import release
from app.registry.advice import activation_warnings
from app.registry.registry import Registry, Upload
from app.settings import Settings
from app.signatures import TrustedKeys, new_private_key, public_key, sign
from model_zoo.commands import show_files, verify_files
from model_zoo.listing import AsJson, Cell, show, show_json
from model_zoo.opening import ModelError
from model_zoo.proof import Step

models = typer.Typer(help="Inspect, sign, upload and activate models.", no_args_is_help=True)
models.command("verify")(verify_files)
models.command("show")(show_files)

ModelId = Annotated[str, typer.Argument(help="The model's id, or its first characters.")]
Artifact = Annotated[Path, typer.Argument(exists=True, dir_okay=False, readable=True, metavar="FILE")]


@models.command("list")
def list_models(as_json: AsJson = False) -> None:
    """List the registry's models, newest first."""
    with readable_errors():
        entries, active = _registry().listing()
    found = [summary(entry, active) for entry in entries]
    if as_json:
        show_json(found)
    elif not found:
        typer.echo(
            "There are no models: `rosette serve` registers the shipped ones, `rosette models upload` adds others."
        )
    else:
        show(("id", "name", "version", "state", "signed", "by", "uploaded"), map(_row, found))


@models.command("upload")
def upload_model(
    file: Artifact,
    signature: Annotated[
        Path | None, typer.Option(help="File with the signature; by default FILE.sig, if it exists.", dir_okay=False)
    ] = None,
) -> None:
    """Vet an artifact and store it in the registry; it is not activated."""
    with readable_errors():
        beside = Path(f"{file}.sig")
        signed = signature or (beside if beside.exists() else None)
        with file.open("rb") as opened:
            digest = sha256()
            while piece := opened.read(2**20):
                digest.update(piece)
            text = signed.read_text(encoding="ascii", errors="replace").strip() if signed else None
            upload = Upload(opened, opened.tell(), digest.hexdigest(), text)
            try:
                admission = _registry().admit(upload, shell_actor(), _tell)
            except ArtifactRefused as refused:
                raise ValueError(f"{file} was refused. {refused.detail}") from refused
        was = "stored" if admission.new else "here already"
        typer.echo(f"{_named(admission.entry)} is {was}. Next: rosette models activate {admission.entry.id[:12]}")


@models.command("activate")
def activate_model(model_id: ModelId) -> None:
    """Verify a model on this machine, and activate it on every server of this database."""
    with readable_errors():
        registry = _registry()
        entry = _resolved(registry, model_id)
        _prove(registry, entry, "it was not activated")
        database = the_database()
        warnings = activation_warnings(registry, Acceptances(database, AuditTrail(database)), entry)
        registry.activate(entry.id, shell_actor())
        for warning in warnings:
            typer.secho(f"Warning: {warning}", err=True, fg="yellow")
        typer.echo(f"{_named(entry)} is active.")


@models.command("rollback")
def roll_back() -> None:
    """Activate the previously active model."""
    with readable_errors():
        registry = _registry()
        if earlier := registry.earlier():
            _prove(registry, earlier, "it was not activated")
        activation = registry.roll_back(shell_actor())
        typer.echo(f"{_named(registry.find(activation.model_id))} is active.")


@models.command("retire")
def retire_model(model_id: ModelId) -> None:
    """Retire a model: it can no longer be activated."""
    with readable_errors():
        registry = _registry()
        typer.echo(f"{_named(registry.retire(_resolved(registry, model_id).id, shell_actor()))} is retired.")


@models.command("shadow")
def shadow_model(
    model_id: Annotated[
        str | None, typer.Argument(help="The model's id, or its first characters; without it the shadow is stopped.")
    ] = None,
) -> None:
    """Make a model the shadow: it scores live patches without answering."""
    with readable_errors():
        registry = _registry()
        entry = _resolved(registry, model_id) if model_id else None
        if entry:
            _prove(registry, entry, "it did not become the shadow")
        registry.shadow(entry.id if entry else None, shell_actor())
        typer.echo(f"{_named(entry)} is the shadow." if entry else "There is no shadow.")


@models.command("keygen")
def make_key(
    out: Annotated[Path, typer.Argument(metavar="OUT.pem", help="File for the private key; must not exist.")],
) -> None:
    """Create an Ed25519 key for signing artifacts, and print its public half for ROSETTE_TRUSTED_KEYS."""
    with readable_errors():
        pem = new_private_key()
        with os.fdopen(os.open(out, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="ascii") as file:
            file.write(pem)
        typer.echo(public_key(pem))


@models.command("sign")
def sign_file(
    file: Artifact,
    key: Annotated[Path, typer.Option(help="File with the private key.", exists=True, dir_okay=False, readable=True)],
) -> None:
    """Sign an artifact; writes FILE.sig, and prints the signature."""
    with readable_errors():
        signature = sign(sha256(file.read_bytes()).hexdigest(), key.read_text(encoding="ascii"))
        Path(f"{file}.sig").write_text(signature + "\n", encoding="ascii")
        typer.echo(signature)


def _row(model: dict[str, Any]) -> tuple[Cell, ...]:
    shown = (model["id"][:12], model["name"], model["version"], model["state"], "yes" if model["signed"] else "no")
    return (*shown, model["uploaded_by"], model["uploaded_at"])


def _registry() -> Registry:
    database = the_database()
    return Registry(database, AuditTrail(database), TrustedKeys.parse(Settings().trusted_keys or ""))


def _prove(registry: Registry, entry: ModelEntry, consequence: str) -> None:
    """Check that a model can be loaded on this machine, before servers are told to load it.

    Raises:
        ValueError: if it cannot be loaded.
    """
    release.recognize(registry, Settings().model)
    try:
        Engine.open(registry.checked_data(entry.id)[1])
    except ModelError as error:
        raise ValueError(f"{_named(entry)} cannot be loaded here, so {consequence}: {error}") from error


def _resolved(registry: Registry, beginning: str) -> ModelEntry:
    found = [entry for entry in registry.listing()[0] if entry.id.startswith(beginning.lower())]
    if len(found) != 1:
        raise ValueError(
            f"{len(found)} models have an id that begins with {beginning!r}: `rosette models list` shows them"
        )
    return found[0]


def _named(entry: ModelEntry) -> str:
    return f"{entry.name} {entry.version} ({entry.id[:12]})"


def _tell(step: Step) -> None:
    unsigned = step.name == "signature" and not step.detail.startswith("signed")
    word = "FAILED" if not step.passed else "-" if unsigned else "ok"
    typer.echo(f"  {word:<6}  {step.name:<16}  {step.milliseconds:7.1f} ms  {step.detail}")

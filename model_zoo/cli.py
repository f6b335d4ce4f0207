"""The ``rosette`` command: subcommands are entry points of the group ``rosette.commands``, loaded when called."""

from __future__ import annotations

import ast
import os
import sys
from collections.abc import Callable
from importlib import metadata
from importlib.metadata import EntryPoint, entry_points
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated

import typer

from model_zoo.extras import installing

COMMANDS = "rosette.commands"
PROGRAM, PACKAGE = "rosette", "rosette-pathology"


def main() -> None:
    """Run the subcommand that the arguments name; only that one's module is imported."""
    application(_completing() or sys.argv[1:])(prog_name=PROGRAM)


def application(arguments: list[str]) -> typer.Typer:
    """The command line for these arguments: the command that they name, and the others' names for the help.

    Raises:
        SystemExit: naming what to install, if the command needs a package that is not installed.
    """
    rosette = typer.Typer(no_args_is_help=True, pretty_exceptions_enable=False)

    @rosette.callback()
    def describe(
        _: Annotated[
            bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version, and exit.")
        ] = False,
    ) -> None:
        """Rosette classifies histopathology patches on a clinic's CPU. Research use only."""

    def not_loaded() -> None:
        """Placeholder in the help for a command that is not loaded."""

    wanted = next((argument for argument in arguments if not argument.startswith("-")), None)
    for entry in entry_points(group=COMMANDS):
        target = _load(entry) if entry.name == wanted else None
        if isinstance(target, typer.Typer):
            rosette.add_typer(target, name=entry.name)
        elif target is not None:
            rosette.command(entry.name)(target)
        else:
            rosette.command(entry.name, help=summary(entry) if wanted is None else "")(not_loaded)
    return rosette


def _completing() -> list[str]:
    """The words of a command line that a shell wants completed; empty if none does."""
    if f"_{PROGRAM.upper()}_COMPLETE" not in os.environ:
        return []
    line = os.environ.get("_TYPER_COMPLETE_ARGS") or os.environ.get("COMP_WORDS", "")
    return line.split()[1:]


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"{PROGRAM} {metadata.version(PACKAGE)}")
        raise typer.Exit


def _load(entry: EntryPoint) -> typer.Typer | Callable[..., object]:
    try:
        command: typer.Typer | Callable[..., object] = entry.load()
    except ModuleNotFoundError as error:
        package = entry.module.partition(".")[0]
        extras = (entry.dist and entry.dist.metadata.get_all("Provides-Extra")) or []
        missing = (error.name or "").partition(".")[0]
        if missing == package and find_spec(package):
            raise
        raise SystemExit(
            f"rosette {entry.name} needs the package {missing!r}, which is not installed: "
            f"{installing(package if package in extras else '')}"
        ) from error
    return command


def summary(entry: EntryPoint) -> str:
    """A command's one-line summary, read from its module's source without importing it."""
    package, _, _ = entry.module.partition(".")
    spec = find_spec(entry.module) if find_spec(package) else None
    if spec is None or spec.origin is None:
        return ""
    for node in ast.parse(Path(spec.origin).read_text(encoding="utf-8")).body:
        match node:
            case ast.FunctionDef(name=name) if name == entry.attr:
                return (ast.get_docstring(node) or "").partition("\n")[0]
            case ast.Assign(targets=[ast.Name(id=name)], value=ast.Call(keywords=keywords)) if name == entry.attr:
                return next((str(ast.literal_eval(k.value)) for k in keywords if k.arg == "help"), "")
    return ""

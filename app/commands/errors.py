"""Errors of the commands, as messages for an administrator."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import typer
from pydantic import ValidationError
from sqlalchemy.exc import SQLAlchemyError

from app.problems import Problem
from app.settings import Settings
from app.wording import plain


@contextmanager
def readable_errors() -> Iterator[None]:
    """Turn errors that an administrator can fix into a message without a stack trace."""
    try:
        yield
    except ValidationError as error:
        message = _faults(error)
    except SQLAlchemyError as error:
        message = f"the database cannot be used: {getattr(error, 'orig', None) or error}"
    except Problem as error:
        message = error.detail
    except (ValueError, OSError) as error:
        message = str(error)
    else:
        return
    typer.echo(f"rosette: {message}", err=True)
    raise typer.Exit(1)


def _faults(error: ValidationError) -> str:
    """Each fault with its setting's variable; the values, which may be secret, are not shown."""
    return "; ".join(
        f"{'.'.join(_variable(part) for part in each['loc'])} {plain(each)}".strip()
        for each in error.errors()
        if each["type"] != "default_factory_not_called"  # a default that needs another setting, which is at fault
    )


def _variable(part: int | str) -> str:
    return f"ROSETTE_{part.upper()}" if part in Settings.model_fields else str(part)

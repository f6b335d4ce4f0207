"""Errors of the commands, as messages for an administrator."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import typer
from pydantic import ValidationError
from sqlalchemy.exc import SQLAlchemyError

from app.problems import Problem
from model_zoo.opening import ModelError


@contextmanager
def readable_errors() -> Iterator[None]:
    """Turn errors that an administrator can fix into a message without a stack trace."""
    try:
        yield
    except ValidationError as error:
        found = [f"{'.'.join(str(part) for part in each['loc'])} {each['msg']}".strip() for each in error.errors()]
        message = "; ".join(found)
    except SQLAlchemyError as error:
        message = f"the database cannot be used: {getattr(error, 'orig', None) or error}"
    except Problem as error:
        message = error.detail
    except (ModelError, ValueError, OSError) as error:
        message = str(error)
    else:
        return
    typer.echo(f"rosette: {message}", err=True)
    raise typer.Exit(1)

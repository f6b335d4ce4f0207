"""Errors as an administrator can use them."""

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
    """What an administrator can mend is said in a sentence, not in a stack trace."""
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

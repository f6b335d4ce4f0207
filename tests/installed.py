"""The installed ``rosette`` command, as people run it, and the same command within the test's process."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from typer.testing import CliRunner, Result

from model_zoo.cli import application

PROGRAM = Path(sys.executable).with_name("rosette")


def uncounted() -> dict[str, str]:
    """The environment for a process whose coverage is not counted: on an emulated CPU counting takes long."""
    return {name: value for name, value in os.environ.items() if not name.startswith("COVERAGE_")}


def rosette(*arguments: str | Path, code: int = 0, **settings: str) -> str:
    """What the program prints on stdout and stderr, once it has ended with this code.

    Args:
        arguments: those of the command line.
        settings: environment variables; those of this process that begin with ``ROSETTE_`` hold beside them.
    """
    done = subprocess.run(
        [PROGRAM, *map(str, arguments)],
        env=os.environ | {"COLUMNS": "200"} | settings,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=300,
    )
    assert done.returncode == code, done.stdout
    return done.stdout


def in_process(*arguments: str | Path) -> Result:
    """The same command within this process, for tests that would wait longest for another one's imports."""
    words = [str(argument) for argument in arguments]
    return CliRunner().invoke(application(words), words, terminal_width=200)

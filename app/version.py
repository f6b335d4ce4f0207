"""The version of Rosette."""

from __future__ import annotations

from importlib import metadata


def version() -> str:
    """The installed version; ``0`` in a checkout that is not installed."""
    try:
        return metadata.version("rosette-pathology")
    except metadata.PackageNotFoundError:
        return "0"

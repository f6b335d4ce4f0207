"""How the packages of an extra are installed, for messages that name one."""

from __future__ import annotations


def installing(extras: str) -> str:
    """What to run, from the sources and for a wheel; ``extras`` are names with commas between them, or none."""
    chosen = f"[{extras}]" if extras else ""
    return f"run pip install '.{chosen}' in Rosette's folder (for a wheel: pip install 'FILE.whl{chosen}')"

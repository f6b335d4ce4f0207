"""Environment variables that begin with ``ROSETTE_`` and are not settings."""

from __future__ import annotations

import re
from collections.abc import Iterable
from difflib import SequenceMatcher

PREFIX = "ROSETTE_"
LIKENESS = 0.75

# Names used by compose, the images, training, the tests and Kubernetes' service links.
_OTHERS = {"ADDRESS", "DATA", "HOSTNAME", "HTTPS_PORT", "HTTP_PORT", "REPLICAS", "SHARED", "TLS", "VERSION"} | {
    "APP_CPUS", "APP_MEMORY", "DB_CPUS", "DB_MEMORY", "GRAFANA_PORT", "GZIP", "PROXY_CPUS", "SERVICE_HOST",
    "SERVICE_PORT", "SLIDES_FOLDER",
}  # fmt: skip
_PATTERNS = re.compile(r"TEST_.*|BENCHMARK_.*|SERVICE_PORT_.*|PORT_\d+_(TCP|UDP|SCTP)(_.*)?")


def unknown(environment: Iterable[str], settings: Iterable[str]) -> dict[str, tuple[str, float]]:
    """Unknown variables, each with the setting with the nearest name, and the similarity (0 to 1).

    Args:
        environment: names of variables.
        settings: names of settings, without the prefix.
    """
    known = {name.upper() for name in settings}
    found = {}
    for variable in sorted(environment):
        name = variable.upper().removeprefix(PREFIX)
        if not variable.upper().startswith(PREFIX) or name in known | _OTHERS or _PATTERNS.fullmatch(name):
            continue
        likeness, nearest = max((SequenceMatcher(None, name, each).ratio(), each) for each in known)
        found[variable] = (PREFIX + nearest, likeness)
    return found


def mistyped(environment: Iterable[str], settings: Iterable[str]) -> str:
    """A message if a variable is similar to a setting but is not one; else empty."""
    wrong = {
        variable: nearest
        for variable, (nearest, likeness) in unknown(environment, settings).items()
        if likeness >= LIKENESS
    }
    return "; ".join(
        f"{variable} is not a setting: did you mean {nearest}? Rename it, or remove it from the environment"
        for variable, nearest in wrong.items()
    )

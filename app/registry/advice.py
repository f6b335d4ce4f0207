"""What an administrator should know before a model is put into service."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from app.records.acceptances import Acceptance, Acceptances
from app.records.models import ModelEntry
from app.registry.registry import Registry
from model_zoo.comparison import warnings
from model_zoo.manifest import Metric

NO_TEST = (
    "There is no acceptance test of this model on this site's own patches: run one first, on the page /acceptance or "
    "with `rosette acceptance`."
)
NOT_PASSED = {
    "failed": "It failed its last acceptance test on this site's patches ({when}, {site}). Do not use it here.",
    "out_of_scope": "The patches of its last acceptance test were out of scope ({when}, {site}). Do not use it here.",
}


def metrics_of(manifest: Mapping[str, Any]) -> list[Metric]:
    """The figures in a manifest's JSON."""
    return [Metric.model_validate(metric) for metric in manifest["metrics"]]


def _stated(entry: ModelEntry) -> list[Metric]:
    """The figures of a model; none if its row cannot be read: then it cannot be loaded, and activation says so."""
    try:
        return metrics_of(json.loads(entry.manifest))
    except (KeyError, TypeError, ValueError):
        return []


def activation_warnings(registry: Registry, acceptances: Acceptances, entry: ModelEntry) -> list[str]:
    """Warnings about a model, against the one in service; empty for that one's figures.

    Raises:
        RecordsUnavailable: if the database fails.
    """
    entries, active = registry.listing()
    old = next((each for each in entries if active and each.id == active.model_id and each.id != entry.id), None)
    before = _stated(old) if old else None
    name = f"{old.name} {old.version}" if old else ""
    found = warnings(_stated(entry), before, name)
    return [*found, *acceptance_warnings(acceptances.last(entry.id))]


def acceptance_warnings(last: Acceptance | None) -> list[str]:
    """What a model's last acceptance test means for its use."""
    if last is None:
        return [NO_TEST]
    if last.outcome == "passed":
        return []
    return [NOT_PASSED[last.outcome].format(when=f"{last.tested_at:%Y-%m-%d}", site=last.site or "no site named")]

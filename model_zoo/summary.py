"""An artifact's manifest in Markdown, for model cards and `rosette models show`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from model_zoo.manifest import Manifest, Metric


def facts(manifest: Manifest) -> list[str]:
    """The main facts about an artifact, one per line."""
    low, high = manifest.review_band
    data, calibration, consistency = manifest.training_data, manifest.calibration, manifest.consistency
    recipe = "; ".join(f"{key.replace('_', ' ')} {_short(value)}" for key, value in manifest.quantization.items())
    return [
        f"- {manifest.precision}, group {manifest.group.name}, exact under {manifest.exact_subgroup}.",
        f"- Trained on {data.source} ({data.licence}; {data.encoding}).",
        f"- Temperature {calibration.temperature:.3f}, fitted at a prevalence of {calibration.prevalence:.3f}; "
        f"threshold {manifest.threshold:.3f}; review band {low:.3f} to {high:.3f}.",
        *_orbit_facts(manifest),
        *_dense_facts(manifest),
        f"- Consistency limit {consistency.limit:.3f}; interpolation floor {consistency.interpolation_floor:.3f}.",
        f"- Quantization: {recipe}.",
        f"- {manifest.intended_use}",
    ]


def metrics_table(manifests: Mapping[str, Manifest]) -> list[str]:
    """Markdown table of all figures with 95 % intervals, one column per manifest."""
    rows = ["| split | figure | n | " + " | ".join(manifests) + " |", "|---|---|---|" + "---|" * len(manifests)]
    columns = [{(m.split, m.basis, m.name): m for m in manifest.metrics} for manifest in manifests.values()]
    for key, first in columns[0].items():
        figures = " | ".join(_cell(column.get(key)) for column in columns)
        basis = ", decided by the orbit" if first.basis == "orbit" else ""
        rows.append(f"| {first.split} | {first.name.replace('_', ' ')}{basis} | {first.n} | {figures} |")
    all_metrics = [metric for manifest in manifests.values() for metric in manifest.metrics]
    return [*rows, "", f"Value [95 % interval: {methods(all_metrics)}]."]


def methods(metrics: Iterable[Metric]) -> str:
    """The methods of the intervals, each once."""
    return "; ".join(sorted({metric.method for metric in metrics}))


def _orbit_facts(manifest: Manifest) -> list[str]:
    if manifest.orbit is None:
        return []
    low, high = manifest.orbit.review_band
    return [
        f"- Where the whole orbit is known, the mean of its logits decides: temperature "
        f"{manifest.orbit.calibration.temperature:.3f}; threshold {manifest.orbit.threshold:.3f}; review band "
        f"{low:.3f} to {high:.3f}."
    ]


def _dense_facts(manifest: Manifest) -> list[str]:
    if manifest.dense is None:
        return []
    return [
        f"- Dense: answers a region in one pass, a window every {manifest.dense.stride} px, with the bits of its "
        f"windows; receptive field {manifest.dense.receptive_field} px; the input is not masked."
    ]


def _cell(metric: Metric | None) -> str:
    return "not measured" if metric is None else f"{metric.value:.4f} [{metric.low:.4f}, {metric.high:.4f}]"


def _short(value: object) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)

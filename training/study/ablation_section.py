"""The section on the quantization ablation, in Markdown, from its JSON document."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from training.study.ladder import CALIBRATED_STEP, NARROW, WIDE
from training.study.markdown import cell, table
from training.study.results import Document

MEASURED = ["accuracy", "AUC", "SNR, dB", "different bits", "largest", "30°"]


def section(document: Document) -> list[str]:
    """The 24 rows, the effects of steps, the layers of the tied ladder, and AIMET."""
    d: Any = document
    rows = [
        [
            row["step"],
            "tied" if row["tied"] else "untied",
            f"{row['bound']}",
            *_measured(row, d["probes"]),
            "yes" if row["proven"] else "no",
        ]
        for row in d["rows"]
    ]
    return [
        f"One fitted {d['group']} network on **valid** (n = {d['n']:,}); its float graph has AUC "
        f"{cell(d['float']['auc'])} and accuracy {cell(d['float']['accuracy'])}. Steps are cumulative. *Tied*: "
        "parameters are chosen once per field and copied over its orbit. *Untied*: once per channel of the plain "
        "network, as by a tool that does not know the group, and filters are not projected. Ranges are six "
        "deviations of batch norm's statistics; in the last step they are the minimum and maximum on "
        f"{d['calibration_patches']} training patches, which also give the mean inputs for bias correction. SNR: of "
        f"the logits, relative to the float graph. *Different bits*: the number of {d['probes']} patches with "
        "different bits under an exact turn, then the largest change of a logit under those turns, and under 30°. "
        "*Proof*: whether no x86-64 kernel can saturate.",
        "",
        *table(["step", "filters", "bound", *MEASURED, "proof"], rows),
        "",
        f"**Effect of each step** (tied, |w| ≤ {NARROW}; SNR, and AUC paired over patches). {_what_pays(d)}",
        "",
        f"**Tying.** {_tying(d)}",
        "",
        f"**The bound.** {_bound(d)}",
        "",
        *_layers(d),
        "",
        *_aimet(d),
    ]


def _delta(interval: Any) -> str:
    return cell(interval, "+.4f")


def _measured(row: Any, probes: int) -> list[str]:
    return [
        cell(row["accuracy"]),
        cell(row["auc"]),
        f"{row['logit_snr_db']:.1f}",
        f"{row['differing']} of {probes}",
        f"{row['exact_change']:.2g}",
        f"{row['thirty_degree_change']:.2g}",
    ]


def _gained(gain: Any) -> str:
    return f"{gain['logit_snr_db']:+.1f} dB and AUC {_delta(gain['auc'])}"


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names) if names else "no step"


def _what_pays(d: Any) -> str:
    steps = d["gains"]["steps"]
    changed = {step: gain for step, gain in steps.items() if not gain["same_graph"]}
    told = [f"{step}: {_gained(gain) if step in changed else 'the same graph'}" for step, gain in steps.items()]
    rising = [step for step, gain in changed.items() if gain["auc"]["low"] > 0]
    falling = [step for step, gain in changed.items() if gain["auc"]["high"] < 0]
    absorbed = max(row["absorbed_fields"] for row in d["rows"])
    return (
        f"{'; '.join(told)}. AUC rises significantly with: {_listed(rising)}; it falls with: "
        f"{_listed(falling)}. Absorption found {absorbed or 'no'} fields with a bias to absorb. Against the float "
        f"graph, all data-free steps together have AUC {_delta(d['gains']['rounding']['auc'])}."
    )


def _tying(d: Any) -> str:
    tied = [row for row in d["rows"] if row["tied"]]
    data_free = [row for row in d["rows"] if not row["tied"] and row["step"] != CALIBRATED_STEP]
    calibrated = [row for row in d["rows"] if not row["tied"] and row["step"] == CALIBRATED_STEP]
    exact, kept = (sum(row["differing"] == 0 for row in rows) for rows in (tied, data_free))
    broken = " and ".join(f"{row['differing']} of {d['probes']}" for row in calibrated)
    said = [
        f"{exact} of {len(tied)} tied rows keep all bits under exact turns. Untied and calibrated, {broken} patches "
        f"(|w| ≤ {NARROW} and {WIDE}) change their bits, with logits up to "
        f"{max(row['exact_change'] for row in calibrated):.2g} apart",
        ": the patches are not a symmetric sample, so ranges measured on them differ along an orbit."
        if any(row["differing"] for row in calibrated)
        else ".",
        f" Untied without data, {kept} of {len(data_free)} rows keep all bits",
        ", but this is not guaranteed: batch norm shares its statistics over a field and an exact turn only permutes a "
        "filter's pixels, so the channels of an orbit have equal values, except for the last bit of float32 sums, "
        "which can change a rounding."
        if kept
        else ".",
        f" Tying changes the data-free scheme by {_gained(d['gains']['tying'])}.",
    ]
    return "".join(said)


def _bound(d: Any) -> str:
    wide = [row for row in d["rows"] if row["bound"] == WIDE]
    return (
        f"|w| ≤ {WIDE} instead of {NARROW} changes the data-free scheme by {_gained(d['gains']['wider'])}; "
        f"{sum(row['proven'] for row in wide)} of its {len(wide)} rows pass the proof."
    )


def _layers(d: Any) -> list[str]:
    ladder = [row for row in d["rows"] if row["tied"] and row["bound"] == NARROW]
    rows = [[name, *(f"{row['sqnr_db'][name]:.1f}" for row in ladder)] for name in ladder[0]["sqnr_db"]]
    return [
        f"**SQNR by tensor**, dB: the INT8 graph's tensors relative to the float network's ({d['probes']} patches, "
        f"tied, |w| ≤ {NARROW}). Equalization rescales tensors within a block, so only projections and sums have the "
        "same units in all columns.",
        "",
        *table(["tensor", *(row["step"] for row in ladder)], rows),
    ]


def _aimet(d: Any) -> list[str]:
    aimet = d["aimet"]
    if isinstance(aimet, str):
        return [aimet]
    snr = {(row["equalization"], row["per_channel"]): f"{row['logit_snr_db']:.1f} dB" for row in aimet["rows"]}
    compared = [
        f"with {scales} scales {snr['ours', per_channel]} after ours, {snr['AIMET', per_channel]} after AIMET's, "
        f"{snr['none', per_channel]} after none"
        for scales, per_channel in (("per-tensor", False), ("per-channel", True))
    ]
    rows = [
        [
            row["equalization"],
            "per channel" if row["per_channel"] else "per tensor",
            f"{row['float_change']:.1g}",
            *_measured(row, d["probes"]),
        ]
        for row in aimet["rows"]
    ]
    return [
        f"**An external reference**: AIMET {aimet['version']}'s cross-layer equalization of the same float graph, "
        "which is a plain network for it. Its result, ours and the original graph are all quantized by onnxruntime's "
        f"static quantization ({d['calibration_patches']} training patches, |w| ≤ {NARROW}), not by our pipeline: "
        f"{'; '.join(compared)}. {sum(row['differing'] == 0 for row in aimet['rows'])} of {len(rows)} rows keep all "
        "bits under exact turns. *Float change*: change of a logit by equalization only.",
        "",
        *table(["equalization", "weight scales", "float change", *MEASURED], rows),
    ]

"""Float networks side by side: accuracy, steadiness under small shifts and JPEG, and batch norm estimated again."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import JsonValue
from torch import nn

from model_zoo.turns import Patch
from training.batchnorm import adapt
from training.data import Patches, in_calibrating_half, load
from training.drawing import images_for_norms
from training.metrics import FIGURES, ScoredAnswers, difference, measure_seeds
from training.recipe import Recipe, Run
from training.study.markdown import cell, table
from training.study.results import Document, provenance
from training.study.stability import JPEG_QUALITY, Floats, Perturb, mean_interval, perturbations
from training.teachers import logit_difference
from training.weights import usable_network

MOVED = {"flipped": "shift 1 px", "jpeg": f"JPEG quality {JPEG_QUALITY}, shifted grid"}
MEASURED = {name: FIGURES[name] for name in ("auc", "accuracy")}
COLUMNS = {  # title, format and factor of each figure
    "auc": ("AUC", ".3f", 1),
    "accuracy": ("accuracy, %", ".1f", 100),
    "flipped": ("labels changed by 1 px, %", ".1f", 100),
    "jpeg": ("mean change of p by JPEG", ".4f", 1),
}


def run(files: Sequence[Path], data: Path, norm_patches: int) -> Document:
    """Measure float networks on valid, and their answers to moved patches of its choosing half.

    Args:
        files: run folders, float32 artifacts, or expanded P4M-DenseNets; the first is compared with the others.
        norm_patches: training patches on which batch norm is estimated again for a second row, unless
            the fit did so; 0 for none.

    Raises:
        DataError: if a split is missing.
        ValueError: if two networks have one name, or a file is no float network with finite weights.
        FileNotFoundError: if a folder is not a run folder.
    """
    if len({file.name for file in files}) < len(files):
        raise ValueError("two networks have the same name: rename a folder or file")
    train, valid = load(data, "train"), load(data, "valid")
    chosen = ~in_calibrating_half(valid)
    moved = {figure: _moved(valid.images[chosen], perturbations()[name]) for figure, name in MOVED.items()}
    answers: dict[str, tuple[Document, ScoredAnswers, dict[str, Floats]]] = {}
    for name, about, network in _networks(files, train, norm_patches):
        scored = ScoredAnswers(_probability(network, valid.images), 0.5)
        answers[name] = (about, scored, _changes(network, scored.probability[chosen], moved))
    _, first, changes = next(iter(answers.values()))
    rows: list[JsonValue] = [
        {
            "name": name,
            **about,
            "figures": _figures(own, own_changes, valid),
            "to_first": {
                **{k: asdict(v) for k, v in difference([own], [first], valid.labels, MEASURED).items()},
                **{k: mean_interval(own_changes[k] - changes[k]) for k in MOVED},
            },
        }
        for name, (about, own, own_changes) in answers.items()
    ]
    return {
        **provenance({"train": train.sha256, "valid": valid.sha256}),
        "n": {"valid": len(valid), "choosing": int(chosen.sum())},
        "rows": rows,
    }


def _networks(files: Sequence[Path], train: Patches, norm_patches: int) -> Iterator[tuple[str, Document, nn.Module]]:
    """Name, description and network of every row."""
    for file in files:
        network, digest = usable_network(file, train)
        fit = _fit(file)
        about: Document = {"sha256": digest, "fit": fit, "norm_patches": 0}
        yield file.name, about, network
        if norm_patches and not (fit and fit["norm_patches"]):
            drawn = images_for_norms(train, Recipe(norm_patches=norm_patches))
            yield f"{file.name}, batch norm", {**about, "norm_patches": len(drawn)}, adapt(network, drawn)


def _fit(file: Path) -> Document | None:
    """The settings of a run that matter here; None for an artifact."""
    if not file.is_dir():
        return None
    fitted = Run.read(file)
    return {
        "epochs": fitted.recipe.epochs,
        "consistency": fitted.recipe.consistency,
        "norm_patches": fitted.recipe.norm_patches,
        "average": asdict(fitted.average) if fitted.average else None,
    }


def _moved(images: Patch, several: Sequence[Perturb]) -> list[Patch]:
    return [np.stack([perturb(image) for image in images]) for perturb in several]


def _probability(network: nn.Module, images: Patch) -> Floats:
    """Uncalibrated probabilities, [N]."""
    probability: Floats = np.exp(-np.logaddexp(0.0, -logit_difference(network, images).astype(np.float64)))
    return probability


def _changes(network: nn.Module, before: Floats, moved: dict[str, list[Patch]]) -> dict[str, Floats]:
    """By patch, [N]: the share of shifts that change the label, and the mean change of p by re-encoding."""
    after = {name: np.stack([_probability(network, each) for each in several]) for name, several in moved.items()}
    return {
        "flipped": ((after["flipped"] >= 0.5) != (before >= 0.5)).mean(0),
        "jpeg": np.abs(after["jpeg"] - before).mean(0),
    }


def _figures(scored: ScoredAnswers, changes: dict[str, Floats], patches: Patches) -> Document:
    measured = measure_seeds([scored], patches.labels, MEASURED)
    return {**{k: asdict(v) for k, v in measured.items()}, **{k: mean_interval(changes[k]) for k in MOVED}}


def section(d: Any) -> list[str]:
    """Markdown: a row for each network, and its paired differences to the first."""

    def cells(row: Any, key: str, sign: str = "") -> list[str]:
        return [cell(row[key][name], sign + form, factor) for name, (_, form, factor) in COLUMNS.items()]

    rows = [[row["name"], _told(row), *cells(row, "figures")] for row in d["rows"]]
    differences = [[row["name"], *cells(row, "to_first", "+")] for row in d["rows"][1:]]
    header = [title for title, _, _ in COLUMNS.values()]
    lines = [
        "Float networks, the patch as given, uncalibrated, threshold 0.5. AUC and accuracy: valid "
        f"(n = {d['n']['valid']:,}); shifts by 1 px, the mean over four directions, and JPEG (quality {JPEG_QUALITY}, "
        f"shifted block grid): its choosing half (n = {d['n']['choosing']:,}), which also chose the epoch. Brackets: "
        "95 % by bootstrap over patches.",
        "",
        *table(["network", "fit", *header], rows),
    ]
    if differences:
        first = d["rows"][0]["name"]
        lines += [
            "",
            f"**Differences** to {first}, paired over patches.",
            "",
            *table(["network", *header], differences),
        ]
    return lines


def _told(row: Any) -> str:
    """How a network was made."""
    fit, parts = row["fit"], []
    if fit is None:
        parts.append("as released")
    else:
        parts.append(f"{fit['epochs']} epochs, consistency {fit['consistency']:g}")
        if fit["average"]:
            parts.append(f"averaged, {fit['average']['weight']:g} of {fit['average']['other']}")
        if fit["norm_patches"] and not row["norm_patches"]:
            parts.append(f"batch norm of {fit['norm_patches']:,} patches")
    if row["norm_patches"]:
        parts.append(f"batch norm estimated again on {row['norm_patches']:,} patches")
    return "; ".join(parts)

"""The effect of encodings, brightness, stain and blur on answers: changes of probability and of labels."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image, ImageFilter
from pydantic import JsonValue

from model_zoo.network import Network
from model_zoo.turns import Patch
from training.augment import jitter_stain
from training.data import SplitName, load
from training.metrics import RESAMPLES, Interval
from training.score import score
from training.study import stability
from training.study.jpeg import encode_again
from training.study.markdown import cell, table
from training.study.results import Document, provenance
from training.study.twins import SPLITS, NoTwinsError, Twins, twins

SAMPLE = 512
TWIN_QUALITY = 75
JPEG_QUALITIES = (50, 60, 70, 75, 80, 90, 95)
BRIGHTNESSES = (0.8, 0.9, 1.1, 1.2)
STAIN_STRENGTHS = (0.05, 0.1, 0.2)
BLUR_SIGMAS_PX = (0.5, 1.0, 2.0)

Floats = npt.NDArray[np.float64]
Labels = npt.NDArray[np.int64]
Answers = dict[str, Floats]


def brighten(image: Patch, factor: float) -> Patch:
    """Scale all grey levels."""
    return np.rint(image * factor).clip(0, 255).astype(np.uint8)


def restain(image: Patch, strength: float, generator: torch.Generator) -> Patch:
    """Jitter one patch's stain as in training."""
    pixels = torch.from_numpy(np.array(image)).permute(2, 0, 1)[None].float() / 255
    jittered = jitter_stain(pixels, strength, generator)[0].permute(1, 2, 0) * 255
    return jittered.round().to(torch.uint8).numpy()


def blur(image: Patch, sigma_px: float) -> Patch:
    """Gaussian blur with Pillow, which approximates it with box filters."""
    return np.asarray(Image.fromarray(image).filter(ImageFilter.GaussianBlur(sigma_px)))


def perturbations() -> dict[str, Callable[[Patch], Patch]]:
    """Functions of one patch, uint8 [96, 96, 3], by name. Stain jitter uses seed 0 for each strength."""
    stains = [(strength, torch.Generator().manual_seed(0)) for strength in STAIN_STRENGTHS]
    return {
        **{f"JPEG quality {quality}": partial(encode_again, quality=quality) for quality in JPEG_QUALITIES},
        **{f"brightness × {factor:g}": partial(brighten, factor=factor) for factor in BRIGHTNESSES},
        **{f"stain ± {s:g}": partial(restain, strength=s, generator=generator) for s, generator in stains},
        **{f"blur σ {sigma:g} px": partial(blur, sigma_px=sigma) for sigma in BLUR_SIGMAS_PX},
    }


def run(
    networks: Mapping[str, Network],
    data: Path,
    sample: int = SAMPLE,
    *,
    split: SplitName = "valid",
    slide: Path | None = None,
) -> Document:
    """Compare answers for validation patches and their perturbations, and for JPEG patches and their lossless twins.

    Args:
        networks: by name, such as ``"INT8"`` and ``"float32"``; the first is compared with every other.
        data: folder as :func:`training.data.load` takes it; twins need ``lossless.parquet`` in it.
        sample: number of validation patches, drawn with seed 0.
        split: split whose patches are shifted, turned, scaled and encoded on another grid.
        slide: of other tissue, see :func:`training.study.stability.on_slide`.

    Raises:
        DataError: if a split is missing.
    """
    valid = load(data, "valid")
    drawn = valid[np.sort(np.random.default_rng(0).permutation(len(valid))[:sample])]
    before = _answers(networks, drawn.images)
    rows: list[JsonValue] = []
    for name, perturb in perturbations().items():
        perturbed = np.stack([perturb(image) for image in drawn.images])
        rows.append(_row(networks, name, drawn.labels, before, _answers(networks, perturbed)))
    moved = valid if split == "valid" else load(data, split)
    hashes: dict[str, str] = {"valid": valid.sha256, split: moved.sha256}
    try:
        pairs = twins(data)
        hashes["twins"] = pairs.jpeg.sha256
        measured: JsonValue = _measure_twins(networks, pairs)
    except NoTwinsError as error:
        measured = f"not run: {error}"
    return {
        **provenance(hashes),
        "artifacts": {name: network.sha256 for name, network in networks.items()},
        "thresholds": {name: network.manifest.threshold for name, network in networks.items()},
        "source": valid.source,
        "n": len(drawn),
        "positive": int(drawn.labels.sum()),
        "rows": rows,
        "stability": stability.run(networks, moved, split, slide),
        "twins": measured,
    }


def _measure_twins(networks: Mapping[str, Network], pairs: Twins) -> Document:
    before, after = _answers(networks, pairs.jpeg.images), _answers(networks, pairs.lossless)
    rows: list[JsonValue] = []
    kinds: dict[str, JsonValue] = {}
    for split in SPLITS:
        chosen = pairs.split == split
        if chosen.any():
            subset = [{name: p[chosen] for name, p in answers.items()} for answers in (before, after)]
            rows.append(_row(networks, split, pairs.jpeg.labels[chosen], *subset))
            names, counts = np.unique(pairs.encoding[chosen], return_counts=True)
            kinds[split] = dict(zip(names.tolist(), counts.tolist(), strict=True))
    encoded = np.stack([encode_again(image, TWIN_QUALITY) for image in pairs.lossless])
    grey_levels: Document = {
        name: float(np.abs(pairs.jpeg.images.astype(np.int16) - images).mean())
        for name, images in (("lossless", pairs.lossless), ("encoded", encoded))
    }
    return {"rows": rows, "encodings": kinds, "grey_levels": grey_levels}


def _answers(networks: Mapping[str, Network], patches: Patch) -> Answers:
    """Every network's calibrated probabilities, [N]."""
    return {name: network.probabilities(score(network.logits, patches)) for name, network in networks.items()}


def _row(networks: Mapping[str, Network], name: str, labels: Labels, before: Answers, after: Answers) -> Document:
    """Figures of every network, and the difference of the first's change of probability to the others'."""
    change = {network: np.abs(after[network] - before[network]) for network in networks}
    figures: Document = {
        network: _figures(before[network], after[network], labels, opened.manifest.threshold)
        for network, opened in networks.items()
    }
    first, *others = networks
    excess: Document = {other: asdict(_bootstrap(_mean, change[first] - change[other])) for other in others}
    return {"name": name, "n": len(labels), "figures": figures, "excess": excess}


def _figures(before: Floats, after: Floats, labels: Labels, threshold: float) -> Document:
    change = np.abs(after - before)
    flipped = (before >= threshold) != (after >= threshold)
    right_before, right_after = (((p >= threshold) == (labels == 1)).astype(np.float64) for p in (before, after))
    return {
        "mean": asdict(_bootstrap(_mean, change)),
        "p95": asdict(_bootstrap(_percentile_95, change)),
        "flipped": asdict(_bootstrap(_mean, flipped.astype(np.float64))),
        "accuracy_before": asdict(_bootstrap(_mean, right_before)),
        "accuracy_after": asdict(_bootstrap(_mean, right_after)),
        "accuracy_change": asdict(_bootstrap(_mean, right_after - right_before)),
    }


_mean = partial(np.mean, axis=-1)
_percentile_95 = partial(np.percentile, q=95, axis=-1)


def _bootstrap(figure: Callable[[Floats], Any], values: Floats) -> Interval:
    """A figure of values, [N], with its percentile interval; every call uses the same resampled patches."""
    chosen = np.random.default_rng(0).integers(len(values), size=(RESAMPLES, len(values)))
    low, high = np.percentile(figure(values[chosen]), [2.5, 97.5]).tolist()
    return Interval(float(figure(values)), low, high)


def section(document: Document) -> list[str]:
    """Markdown: perturbed validation patches, lossless twins, and a summary."""
    d: Any = document
    moved = [*stability.section(d["stability"]), ""] if "stability" in d else []
    return [*_perturbed_section(d), "", *moved, *_twins_section(d["twins"])]


def _perturbed_section(d: Any) -> list[str]:
    thresholds = ", ".join(f"{name} {threshold:.3f}" for name, threshold in d["thresholds"].items())
    return [
        f"**Perturbations** of {d['n']:,} validation patches, {d['positive']:,} of them positive, drawn at random from "
        f"`{d['source']}`; each is classified unperturbed and perturbed. In PCam's Parquet shards patches are JPEG at "
        "quality 75 already, so JPEG here is a second encoding (Pillow, 4:2:0). Stain: haematoxylin, eosin and "
        "DAB are scaled and shifted at random by up to this strength, as the augmentation does. *Flipped*: labels that "
        f"change at the manifest's threshold ({thresholds}), which was chosen on unperturbed validation patches. "
        "Brackets: 95 % by bootstrap over patches. Patches of one slide are not independent, and the slides are not "
        "known, so the intervals are too narrow.",
        "",
        *_table(d["rows"], "perturbation"),
        "",
        *_findings(d["rows"]),
    ]


def _twins_section(t: Any) -> list[str]:
    if isinstance(t, str):
        return [f"**Lossless twins**: {t}."]
    kinds = "; ".join(
        f"{split}: {', '.join(f'{count:,} {kind}' for kind, count in counts.items())}"
        for split, counts in t["encodings"].items()
    )
    return [
        "**Lossless twins**: patches that exist as JPEG and, with the same id, lossless; changes from JPEG to "
        f"lossless. Encodings of the JPEGs: {kinds} (*jpeg-original*: as found, *jpeg-q75-from-lossless*: encoded "
        f"here). They differ from the lossless pixels by {t['grey_levels']['lossless']:.2f} grey levels on average, "
        f"and by {t['grey_levels']['encoded']:.2f} from Pillow's encoding at quality {TWIN_QUALITY}. Networks were "
        "trained on the JPEGs of the train twins; only the valid twins are new to them. Test twins are not read.",
        "",
        *_table(t["rows"], "twins"),
        "",
        *_findings(t["rows"]),
    ]


def _table(rows: list[Any], title: str) -> list[str]:
    columns = ("n", "network", "mean change of p", "95th percentile", "flipped, %", "accuracy, %", "its change, points")
    cells = [
        [
            row["name"],
            f"{row['n']:,}",
            network,
            cell(f["mean"], ".4f"),
            cell(f["p95"]),
            cell(f["flipped"], ".1f", 100),
            f"{100 * f['accuracy_before']['value']:.1f} → {100 * f['accuracy_after']['value']:.1f}",
            cell(f["accuracy_change"], "+.1f", 100),
        ]
        for row in rows
        for network, f in row["figures"].items()
    ]
    return table((title, *columns), cells)


def _findings(rows: list[Any]) -> list[str]:
    first, *others = rows[0]["figures"]
    return [
        *(_finding(network, {row["name"]: row["figures"][network] for row in rows}) for network in (first, *others)),
        *(_comparison(first, other, {row["name"]: row["excess"][other] for row in rows}) for other in others),
    ]


def _finding(network: str, figures: dict[str, Any]) -> str:
    flips = {name: f["flipped"]["value"] for name, f in figures.items()}
    extremes = (min(flips, key=flips.__getitem__), max(flips, key=flips.__getitem__))
    least, most = (f"{name} ({100 * flips[name]:.1f} %)" for name in extremes)
    worse = [name for name, f in figures.items() if f["accuracy_change"]["high"] < 0]
    better = [name for name, f in figures.items() if f["accuracy_change"]["low"] > 0]
    return (
        f"- {network}: the fewest labels flip with {least}, the most with {most}. Accuracy falls significantly in "
        f"{_counted(worse, figures)} and rises in {_counted(better, figures)}."
    )


def _comparison(first: str, other: str, excess: dict[str, Any]) -> str:
    more = [name for name, interval in excess.items() if interval["low"] > 0]
    less = [name for name, interval in excess.items() if interval["high"] < 0]
    largest = max(excess.values(), key=lambda interval: abs(interval["value"]))
    return (
        f"- {first} against {other}, paired: the mean change of p is significantly larger in "
        f"{_counted(more, excess)} and smaller in {_counted(less, excess)}; the largest difference is "
        f"{cell(largest, '+.4f')}."
    )


def _counted(names: list[str], rows: dict[str, Any]) -> str:
    listed = f" ({', '.join(names)})" if names else ""
    return f"{len(names)} of {len(rows)} rows{listed}"

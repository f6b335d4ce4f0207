"""Robustness on synthetic patches: the shipped artifact and its float twin, perturbations and lossless twins."""

from __future__ import annotations

from hashlib import sha1
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from model_zoo.network import Network
from model_zoo.turns import Patch
from tests.training.tiny import encoded, synthetic_patches, write_parquet
from training.study import robustness
from training.study.jpeg import encode_again
from training.study.robustness import _bootstrap, perturbations, run, section
from training.study.twins import NoTwinsError, twins

TRAIN, VALID = synthetic_patches(6).images, synthetic_patches(6, 6).images
Row = dict[str, Any]


def identity(image: Patch) -> str:
    return sha1(image.tobytes(), usedforsecurity=False).hexdigest()


def row(image: bytes, label: int, id_: str, encoding: str) -> Row:
    return {"image": {"bytes": image, "path": None}, "label": label, "id": id_, "encoding": encoding}


def jpegs(images: Patch) -> list[Row]:
    """Rows of a split: JPEG, their ids those of the lossless pixels."""
    return [row(encoded(x, "JPEG"), i % 2, identity(x), f"kind-{i % 3}") for i, x in enumerate(images)]


def write(file: Path, rows: list[Row]) -> None:
    pq.write_table(pa.Table.from_pylist(rows), file)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Splits in JPEG, and in another order four lossless twins, one of them of test, whose bytes are no image."""
    write(tmp_path / "train.parquet", jpegs(TRAIN))
    write(tmp_path / "valid.parquet", jpegs(VALID))
    write(tmp_path / "test.parquet", [row(b"not to be read", 0, "of test", "kind-0")])
    lossless = [
        row(encoded(VALID[1]), 1, identity(VALID[1]), "valid"),
        row(b"not to be read", 0, "of test", "test"),
        row(encoded(TRAIN[4]), 0, identity(TRAIN[4]), "train"),
        row(encoded(TRAIN[2]), 0, identity(TRAIN[2]), "train"),
    ]
    write(tmp_path / "lossless.parquet", lossless)
    return tmp_path


@pytest.fixture(scope="module")
def networks(artifact_path: Path, float_artifact_path: Path) -> dict[str, Network]:
    return {"INT8": Network(artifact_path.read_bytes()), "float32": Network(float_artifact_path.read_bytes())}


def test_figures_are_those_of_the_networks_answers(folder: Path, networks: dict[str, Network]) -> None:
    document: Any = run(networks, folder, sample=5)
    assert [r["name"] for r in document["rows"]] == list(perturbations())
    assert document["n"] == 5
    worst = next(r for r in document["rows"] if r["name"] == "JPEG quality 50")
    images = np.stack(
        [encode_again(image, 75) for image in VALID]
    )  # what valid.parquet holds, as Pillow's default is 75
    drawn = np.sort(np.random.default_rng(0).permutation(6)[:5])
    labels = np.arange(6)[drawn] % 2
    for name, network in networks.items():
        perturbed = np.stack([encode_again(image, 50) for image in images[drawn]])
        before, after = (network.probabilities(network.logits(x)) for x in (images[drawn], perturbed))
        figures, threshold = worst["figures"][name], network.manifest.threshold
        assert figures["mean"]["value"] == pytest.approx(np.abs(after - before).mean(), abs=1e-6)
        assert figures["flipped"]["value"] == ((before >= threshold) != (after >= threshold)).mean()
        assert figures["accuracy_after"]["value"] == ((after >= threshold) == labels).mean()
        assert figures["mean"]["low"] <= figures["mean"]["value"] <= figures["mean"]["high"]
    changes = [worst["figures"][name]["mean"]["value"] for name in networks]
    assert worst["excess"]["float32"]["value"] == pytest.approx(changes[0] - changes[1])
    text = "\n".join(section(document))
    assert "5 validation patches" in text
    assert "train: 1 kind-1, 1 kind-2; valid: 1 kind-1" in text
    assert text.count("| JPEG quality 50 |") == len(networks)
    assert "Patches of one slide are not independent" in text


def test_twins_are_matched_by_id_and_test_is_not_read(folder: Path) -> None:
    found = twins(folder)
    assert found.split.tolist() == ["train", "train", "valid"]
    assert found.encoding.tolist() == ["kind-2", "kind-1", "kind-1"]
    assert found.jpeg.labels.tolist() == [0, 0, 1]
    assert np.array_equal(found.lossless, np.stack([TRAIN[2], TRAIN[4], VALID[1]]))
    assert np.array_equal(found.jpeg.images, np.stack([encode_again(image, 75) for image in found.lossless]))


@pytest.mark.parametrize(
    ("twin", "fault"),
    [
        (row(encoded(TRAIN[0]), 0, "another", "train"), "not the SHA-1"),
        (row(encoded(TRAIN[0]), 1, identity(TRAIN[0]), "train"), "0 of 1 rows"),
        (row(encoded(TRAIN[0]), 0, identity(TRAIN[0]), "valid"), "0 of 1 rows"),
        (row(encoded(TRAIN[0]), 0, identity(TRAIN[0]), "test"), "no rows whose encoding is train or valid"),
        ({"image": {"bytes": b"", "path": None}, "label": 0}, "no column encoding, id"),
    ],
    ids=["foreign id", "other label", "other split", "only test", "no ids"],
)
def test_twins_that_do_not_match_are_refused(folder: Path, twin: Row, fault: str) -> None:
    write(folder / "lossless.parquet", [twin])
    with pytest.raises(NoTwinsError, match=fault):
        twins(folder)


def test_a_folder_without_twins_says_so(tmp_path: Path, networks: dict[str, Network]) -> None:
    write_parquet(tmp_path / "valid.parquet", synthetic_patches(4))
    document = run(networks, tmp_path, sample=2)
    assert document["twins"] == "not run: the data folder has no lossless.parquet"
    assert "**Lossless twins**: not run" in "\n".join(section(document))


def test_perturbations_do_what_they_are_called() -> None:
    image = TRAIN[1]
    perturbed = {name: perturb(image) for name, perturb in perturbations().items()}
    assert all(x.shape == image.shape and x.dtype == np.uint8 for x in perturbed.values())
    again = {name: perturb(image) for name, perturb in perturbations().items()}
    assert all(np.array_equal(perturbed[name], again[name]) for name in perturbed)

    def distance(name: str) -> float:
        return float(np.abs(perturbed[name].astype(int) - image).mean())

    assert distance("JPEG quality 50") > distance("JPEG quality 75") > distance("JPEG quality 95") > 0
    assert distance("stain ± 0.2") > distance("stain ± 0.05") > 0
    assert distance("blur σ 2 px") > distance("blur σ 0.5 px") > 0
    assert perturbed["brightness × 0.8"].mean() == pytest.approx(0.8 * image.mean(), abs=0.5)
    assert perturbed["brightness × 1.2"].max() == 255


def test_intervals_cover_the_mean() -> None:
    """Of 200 samples of 60 from a uniform distribution, about 95 % of the intervals hold its mean."""
    rng = np.random.default_rng(1)
    intervals = [_bootstrap(robustness._mean, rng.random(60)) for _ in range(200)]
    assert 180 <= sum(i.low <= 0.5 <= i.high for i in intervals) <= 200


def test_findings_name_what_changed() -> None:
    def interval(value: float) -> dict[str, float]:
        return {"value": value, "low": value - 0.05, "high": value + 0.05}

    def made(name: str, flipped: float, gained: float, excess: float) -> Row:
        kinds = ("mean", "p95", "accuracy_before", "accuracy_after")
        figures = {k: interval(0.5) for k in kinds} | {
            "flipped": interval(flipped),
            "accuracy_change": interval(gained),
        }
        return {
            "name": name,
            "n": 9,
            "figures": {"INT8": figures, "float32": figures},
            "excess": {"float32": interval(excess)},
        }

    text = "\n".join(robustness._findings([made("dark", 0.3, -0.2, 0.1), made("bright", 0.1, 0.0, 0.0)]))
    assert "the fewest labels flip with bright (10.0 %), the most with dark (30.0 %)" in text
    assert "falls significantly in 1 of 2 rows (dark) and rises in 0 of 2 rows." in text
    assert "significantly larger in 1 of 2 rows (dark) and smaller in 0 of 2 rows" in text

"""Schedules for segments, the choice of precision, and a start from an artifact."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from model_zoo.turns import Patch
from tests.conftest import shipped_artifact
from tests.training.test_fit import QUIET, RECIPE, TOPOLOGY
from tests.training.tiny import LIGHTNING_WARNINGS
from training.augment import augmented
from training.batchnorm import adapt
from training.fit import Classifier, Material, divergence, fit, learning_rates
from training.precision import SHORT_RUN, choose_precision
from training.recipe import Recipe, Run
from training.weights import starting_network

pytestmark = LIGHTNING_WARNINGS


def rates(recipe: Recipe, steps: int) -> list[float]:
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], recipe.learning_rate)
    schedule = learning_rates(optimizer, recipe, steps)
    found = []
    for _ in range(steps):
        found.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        schedule.step()
    return found


def test_a_constant_segment_warms_up_and_stays() -> None:
    found = rates(Recipe(learning_rate=0.5, schedule="constant"), 2000)
    assert found[0] == pytest.approx(0.005)
    assert found[100:] == [0.5] * 1900


def test_a_decay_segment_ends_at_nothing() -> None:
    found = rates(Recipe(learning_rate=0.5, schedule="decay"), 2000)
    assert max(found) == pytest.approx(0.5 * 0.95, rel=0.01)
    assert found[100:] == sorted(found[100:], reverse=True)
    assert found[-1] < 0.001


def test_the_choice_of_precision_leaves_no_trace() -> None:
    torch.manual_seed(0)
    classifier = Classifier(TOPOLOGY, RECIPE)
    before = {name: tensor.clone() for name, tensor in classifier.state_dict().items()}
    state = torch.random.get_rng_state()
    assert choose_precision("auto", classifier, 4, SHORT_RUN) in {"bf16-mixed", "32-true"}
    assert torch.equal(torch.random.get_rng_state(), state)
    assert all(torch.equal(tensor, before[name]) for name, tensor in classifier.state_dict().items())
    assert all(parameter.grad is None for parameter in classifier.parameters())


def test_a_short_run_is_not_timed() -> None:
    classifier = Classifier(TOPOLOGY, RECIPE)
    calls: list[object] = []
    classifier.network.register_forward_hook(lambda *call: calls.append(call))
    found = choose_precision("auto", classifier, 4, SHORT_RUN - 1)
    assert found == ("bf16-mixed" if torch.cuda.is_available() else "32-true")
    assert calls == []
    choose_precision("auto", classifier, 4, SHORT_RUN)
    assert torch.cuda.is_available() or len(calls) == 6


def test_what_is_asked_for_is_taken() -> None:
    assert choose_precision("32-true", Classifier(TOPOLOGY, RECIPE), 4, 1000) == "32-true"


def test_a_run_starts_from_a_float32_artifact(data: Path, tmp_path: Path) -> None:
    material, start = Material.load(data), shipped_artifact("fp32", "fast")
    network, digest = starting_network(start, material.train)
    recipe = replace(RECIPE, epochs=1, shift_px=8, zoom=0.05, jpeg=0.5, schedule="decay", learning_rate=1e-5)
    fit(material, tmp_path / "run", network.topology, recipe, start, **QUIET)
    assert Run.read(tmp_path / "run").recipe.start_sha256 == digest
    with pytest.raises(ValueError, match="another topology"):
        fit(material, tmp_path / "other", TOPOLOGY, recipe, start, **QUIET)


def test_the_divergence_is_that_of_two_bernoulli_distributions() -> None:
    logits = torch.tensor([[-1.0, 0.5, 3.0], [0.0, 0.5, 2.0]], dtype=torch.float64)
    p, q = (torch.distributions.Bernoulli(logits=each) for each in logits)
    both = torch.distributions.kl_divergence(p, q) + torch.distributions.kl_divergence(q, p)
    assert divergence(*logits).item() == pytest.approx(both.mean().item())


def test_the_loss_adds_the_weighted_divergence_of_twins(images: Patch) -> None:
    torch.manual_seed(1)
    network = Classifier(TOPOLOGY, RECIPE).network.eval()
    batch = torch.from_numpy(images), torch.arange(len(images)) % 2, torch.full((len(images),), torch.nan)
    losses = []
    for weight in (1.0, 3.0):
        recipe = replace(RECIPE, augment=True, consistency=weight)
        classifier = Classifier(TOPOLOGY, recipe)
        classifier.network = network
        torch.manual_seed(0)
        losses.append(classifier.loss(batch, augment=True)[0].item())
    torch.manual_seed(0)
    logits = network(augmented(batch[0], recipe))
    expected = divergence(*(logits[:, 1] - logits[:, 0]).chunk(2)).item()
    assert expected > 0
    assert losses[1] - losses[0] == pytest.approx(2 * expected, rel=0.01)


def test_consistency_without_augmentation_is_refused(data: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="needs augmentation"):
        fit(Material.load(data), tmp_path / "run", TOPOLOGY, replace(RECIPE, augment=False, consistency=1.0), **QUIET)
    assert not (tmp_path / "run").exists()


def test_norms_are_estimated_on_patches_as_they_are_and_repeating_changes_nothing(data: Path, tmp_path: Path) -> None:
    material = Material.load(data)
    recipe = replace(RECIPE, augment=True, epochs=1, norm_patches=8)
    stored = []
    for _ in range(2):
        best = fit(material, tmp_path / "run", TOPOLOGY, recipe, **QUIET)
        stored.append(torch.load(best, weights_only=True)["state_dict"])
    assert all(torch.equal(tensor, stored[1][name]) for name, tensor in stored[0].items())
    kept = fit(material, tmp_path / "kept", TOPOLOGY, replace(recipe, norm_patches=0), **QUIET)
    running = torch.load(kept, weights_only=True)["state_dict"]
    differing = {
        name.rpartition(".")[2] for name, tensor in running.items() if not torch.equal(tensor, stored[0][name])
    }
    assert {"running_mean", "running_var"} <= differing <= {"running_mean", "running_var", "num_batches_tracked"}
    classifier = Classifier(TOPOLOGY, recipe)
    classifier.load_state_dict(running)
    chosen = np.random.default_rng(recipe.seed).permutation(len(material.train))[:8]
    adapted = adapt(classifier.network, material.train.images[chosen]).state_dict()
    for name, tensor in adapted.items():
        torch.testing.assert_close(stored[0][f"network.{name}"], tensor)

"""Views are reproducible, teachers run once, and a student learns from them."""

from __future__ import annotations

import csv
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from model_zoo.turns import Patch
from tests.training.test_fit import QUIET, TOPOLOGY
from tests.training.tiny import LIGHTNING_WARNINGS
from training.densenet import P4MDenseNet
from training.distill import Distillation, learn_from
from training.fit import Material, fit
from training.recipe import Recipe, Run
from training.teachers import labelled, logit_difference, open_teacher
from training.views import view

pytestmark = LIGHTNING_WARNINGS
RECIPE = Recipe(epochs=1, batch_size=8, precision="32-true", distillation=Distillation(views=(0, 1), weight=1.0))


def test_view_0_is_the_patch_and_others_repeat_themselves(images: Patch) -> None:
    assert view(images, 0) is images
    first = view(images, 1)
    assert first.shape == images.shape
    assert first.dtype == np.uint8
    assert np.array_equal(first, view(images, 1))
    assert not np.array_equal(first, view(images, 2))
    assert not np.array_equal(first, images)


def test_a_longer_list_begins_with_the_same_views(images: Patch) -> None:
    assert np.array_equal(view(images[:1], 3), view(images[:1], 3, seed=0))


def test_a_teacher_is_asked_once_and_how_long_it_takes_is_said(
    artifact_path: Path, images: Patch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    teacher = open_teacher(artifact_path, images)
    asked: list[int] = []

    def counted(patches: Patch) -> Any:
        asked.append(len(patches))
        return teacher.difference(patches)

    counting = replace(teacher, difference=counted)
    first = labelled(counting, images, 1, 0, tmp_path, "data")
    assert np.array_equal(first, teacher.difference(view(images, 1)))
    assert np.array_equal(labelled(counting, images, 1, 0, tmp_path, "data"), first)
    assert sum(asked) == len(images)
    assert f"{teacher.name} labels {len(images)} patches, view 1: about " in capsys.readouterr().err


def test_an_artifact_answers_every_exact_turn_of_a_patch_alike(artifact_path: Path, images: Patch) -> None:
    teacher = open_teacher(artifact_path, images)
    given, turned = (teacher.difference(np.ascontiguousarray(x)) for x in (images, np.rot90(images, axes=(1, 2))))
    assert np.array_equal(given, turned)


def test_teachers_are_calibrated_on_the_choosing_half(artifact_path: Path, data: Path, tmp_path: Path) -> None:
    material = Material.load(data)
    lessons, distillation = learn_from([artifact_path], None, material.train, material.choosing, tmp_path)
    assert lessons.logits.shape == (2, len(material.train))
    assert np.isfinite(lessons.logits).all()
    assert [name for name, _ in distillation.teachers] == [artifact_path.stem]


def test_the_teachers_weight_takes_the_labels_place() -> None:
    logits, soft = torch.tensor([[0.0, 2.0], [1.0, 0.0]]), torch.tensor([2.0, -1.0])
    label_loss = torch.tensor(5.0)
    entropy = torch.nn.functional.binary_cross_entropy_with_logits(soft, soft.sigmoid())
    assert torch.isclose(Distillation(weight=1.0).mixed(label_loss, logits, soft), entropy)
    assert Distillation(weight=0.0).mixed(label_loss, logits, soft) == label_loss


def test_a_student_is_fitted_and_the_run_names_its_teachers(artifact_path: Path, data: Path, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    fit(Material.load(data), folder, TOPOLOGY, RECIPE, None, [artifact_path], **QUIET)
    distillation = Run.read(folder).recipe.distillation
    assert distillation is not None
    assert distillation.teachers[0][0] == artifact_path.stem
    with (folder / "metrics.csv").open() as lines:
        assert any(row["train_loss"] for row in csv.DictReader(lines))
    with pytest.raises(ValueError, match="other settings"):
        fit(Material.load(data), folder, TOPOLOGY, RECIPE, **QUIET)


def test_a_view_can_be_shifted_further(artifact_path: Path, data: Path, tmp_path: Path) -> None:
    best = {}
    for shift_px in (0, 4):
        recipe = replace(RECIPE, augment=True, shift_px=shift_px)
        best[shift_px] = torch.load(
            fit(Material.load(data), tmp_path / f"{shift_px}", TOPOLOGY, recipe, None, [artifact_path], **QUIET),
            weights_only=True,
        )["state_dict"]
    assert any(not torch.equal(tensor, best[4][name]) for name, tensor in best[0].items())


def test_asking_a_network_leaves_small_numbers_as_they_are(images: Patch) -> None:
    logit_difference(P4MDenseNet().eval(), images[:1])
    smallest = 5e-324
    assert smallest * 1.0 > 0

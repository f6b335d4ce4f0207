"""The fixed geometric views of training patches, for teachers and student.

Source: Beyer et al. 2021, *Knowledge distillation: A good teacher is patient and consistent*: teacher and student see
the same view.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from PIL import Image

from model_zoo.symmetry import Group
from model_zoo.turns import SIDE, turn

MAX_SHIFT_PX = 8
MAX_ZOOM = 0.05
TURNS = Group.parse("C12")

Images = npt.NDArray[np.uint8]


def view(images: Images, number: int, seed: int = 0) -> Images:
    """One view of each patch: shifted by up to 8 px, scaled by up to 5 % and turned by 0°, 30° or 60°.

    View 0 is the patch itself. Edges are reflected. Quarter turns and reflections are applied only for the student,
    because a teacher with exact D4 gives equal answers for all eight. The same number and seed give the same view of
    the patch at the same index.

    Args:
        images: uint8 [N, 96, 96, 3].
        number: 0 for the patches as they are, or any positive number.

    Returns:
        uint8 [N, 96, 96, 3].
    """
    if not number:
        return images
    random = np.random.default_rng([seed, number])
    shifts = random.integers(-MAX_SHIFT_PX, MAX_SHIFT_PX + 1, (len(images), 2))
    sides = random.uniform(SIDE * (1 - MAX_ZOOM), SIDE * (1 + MAX_ZOOM), len(images))
    elements = random.integers(0, len(TURNS.coset_representatives), len(images))
    return np.stack([_view(*each) for each in zip(images, shifts, sides, elements, strict=True)])


def _view(image: Images, shift: npt.NDArray[np.int64], side: float, element: int) -> Images:
    margin = MAX_SHIFT_PX + int(SIDE * MAX_ZOOM)
    padded = Image.fromarray(np.pad(image, ((margin, margin), (margin, margin), (0, 0)), "reflect"))
    left, top = margin + shift + (SIDE - side) / 2
    moved = padded.resize((SIDE, SIDE), Image.Resampling.BICUBIC, box=(left, top, left + side, top + side))
    return turn(np.array(moved), TURNS, TURNS.coset_representatives[element])

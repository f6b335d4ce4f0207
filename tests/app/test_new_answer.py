"""What the server encodes without pydantic is what pydantic would have written, byte for byte."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from itertools import cycle, product

import msgspec
import numpy as np
import pytest

from app.diagnosis.engine import Engine
from app.diagnosis.report import Answer, NewAnswer
from model_zoo.occlusion import Occlusion
from model_zoo.orbit import Rotations
from model_zoo.shifts import Shifts
from model_zoo.synthetic import synthetic_patch
from tests.app.conftest import encoded
from tests.app.earlier import artifact
from tests.app.test_basis import DECISION
from tests.model_zoo.resealing import with_manifest

PATCHES = {
    "assessable": encoded(synthetic_patch("tumour", 7)),
    "another": encoded(synthetic_patch("normal", 5)),
    "with a scale": encoded(synthetic_patch("tumour", 2), dpi=(25400 / 0.97,) * 2),
    "not assessable": encoded(np.random.default_rng(1).integers(244, 248, (96, 96, 3)).astype(np.uint8)),
}
NOON = datetime(2026, 11, 29, 12, tzinfo=UTC)


def by_pydantic(text: bytes) -> bytes:
    return Answer.model_validate_json(text).model_dump_json().encode()


@pytest.fixture(scope="module")
def engine() -> Engine:
    """Decides by orbits, and finds a turn inconsistent sooner."""
    limits = {"limit": 0.001, "interpolation_floor": 0.0005}
    return Engine.open(with_manifest(artifact("fast"), schema_version=2, orbit=DECISION, consistency=limits))


def test_an_answer_has_the_fields_that_are_documented() -> None:
    assert [field.name for field in msgspec.structs.fields(NewAnswer)] == list(Answer.model_fields)


def test_every_form_of_an_answer_is_encoded_as_pydantic_does(engine: Engine) -> None:
    seen: set[object] = set()
    options = cycle(product((None, 0.1), Shifts, Occlusion, (None, "case-é")))
    for patch, rotations in product(PATCHES, Rotations):
        prevalence, shifts, occlusion, case_id = next(options)
        answer = engine.answer(PATCHES[patch], rotations, prevalence, shifts=shifts, mpp="ignore", occlusion=occlusion)
        answer.case_id = case_id
        assert answer.to_json() == by_pydantic(answer.to_json())
        seen |= {answer.decision, answer.basis, answer.shifts is None, answer.occlusion is None, answer.prevalence}
        seen |= {reason.code for reason in answer.reasons} | set(answer.consistency.source)
    assert {"review", "not_assessable", "single", "orbit", True, False, None, 0.1} <= seen
    assert {"turning", "measured", "implied", "not_measured"} <= seen


def test_patches_that_share_a_call_are_encoded_as_pydantic_does(engine: Engine) -> None:
    for answer in engine.answer_as_given(list(PATCHES.values()), 0.3, ["ignore"] * len(PATCHES)):
        assert isinstance(answer, NewAnswer)
        assert answer.to_json() == by_pydantic(answer.to_json())


def test_numbers_and_times_are_written_as_pydantic_does(engine: Engine) -> None:
    answer = engine.answer(PATCHES["assessable"], Rotations.NONE)
    draw = np.random.default_rng(11)
    for millisecond, exponent in enumerate(np.linspace(-323, 15.9, 500)):
        moment = NOON + timedelta(days=millisecond, milliseconds=millisecond)
        number = float(draw.uniform(-1, 1) * 10**exponent)
        answer = msgspec.structs.replace(answer, created_at=moment, logits=(number, round(number, 9)))
        assert answer.to_json() == by_pydantic(answer.to_json())
    for large in (1e16, -1.5e300):  # pydantic writes 1e+16
        answer = msgspec.structs.replace(answer, logits=(large, large))
        assert json.loads(answer.to_json()) == json.loads(by_pydantic(answer.to_json()))


def test_what_json_cannot_hold_is_no_answer(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    for value in (np.nan, np.inf, -np.inf):
        with monkeypatch.context() as patched:
            patched.setattr(engine.network, "logits", lambda x, v=value: np.full((len(x), 2), v, np.float32))
            with np.errstate(all="ignore"), pytest.raises(ValueError, match="no finite number"):
                engine.answer(PATCHES["assessable"], Rotations.NONE)

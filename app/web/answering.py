"""A patch from a page: answered and recorded as ``POST /predict`` does."""

from __future__ import annotations

from app.diagnosis.orbit import Rotations
from app.services import Services


async def answer(
    services: Services, data: bytes, rotations: Rotations, key_id: str, case_id: str | None, slide_id: str | None
) -> str:
    """Answer an image file; gives the JSON text that was recorded.

    Raises:
        ImageProblem, NoModel, Busy, RecordsUnavailable: as ``POST /predict``.
    """
    engine = services.engine

    def answer_and_record() -> str:
        answer = engine.answer(data, rotations).model_copy(update={"case_id": case_id, "slide_id": slide_id})
        recorded = services.predictions.record(answer, rotations, key_id)
        services.shadow.offer(data, answer)
        return recorded.text

    return await services.workers.run(answer_and_record)

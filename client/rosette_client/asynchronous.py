"""The client for asynchronous programs."""

from __future__ import annotations

from asyncio import sleep
from collections.abc import AsyncIterator, Sequence
from types import TracebackType
from typing import Any, Literal, Self, TypeVar

import httpx

from rosette_client.answers import Answer, Page
from rosette_client.flows import Flow, Outcome
from rosette_client.images import Image
from rosette_client.requests import Occlusion, Progress, Requests, Result, Rotations, Shifts, Verdict, bearer

T = TypeVar("T")


class AsyncClient:
    """Asks a Rosette server; the methods are those of :class:`rosette_client.Client`.

    Args:
        url: the server's base URL.
        key: an API key.
        timeout_s: seconds that one try may take.
        patience_s: seconds for which a request is repeated while the server cannot be reached or is busy.
        verify: whether the server's certificate is checked, or a context that does.
    """

    def __init__(
        self, url: str, key: str, *, timeout_s: float = 60, patience_s: float = 60, verify: Any = True
    ) -> None:
        headers = bearer(key)
        self._http = httpx.AsyncClient(base_url=url, headers=headers, timeout=timeout_s, verify=verify)
        self._requests = Requests(self._http, patience_s)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the connections."""
        await self._http.aclose()

    async def predict(
        self,
        image: Image,
        *,
        rotations: Rotations = "full",
        shifts: Shifts = "none",
        occlusion: Occlusion = "none",
        case_id: str | None = None,
        slide_id: str | None = None,
        mpp: float | Literal["ignore"] | None = None,
        idempotency_key: str | None = None,
    ) -> Answer:
        """Classify one patch."""
        return await self._run(
            self._requests.predict(
                image,
                idempotency_key,
                rotations=rotations,
                shifts=shifts,
                occlusion=occlusion,
                case_id=case_id,
                slide_id=slide_id,
                mpp=mpp,
            )
        )

    async def predict_batch(
        self,
        images: Sequence[Image],
        *,
        batch: int = 64,
        progress: Progress | None = None,
        rotations: Rotations = "full",
        shifts: Shifts = "none",
        occlusion: Occlusion = "none",
        case_id: str | None = None,
        slide_id: str | None = None,
        mpp: float | Literal["ignore"] | None = None,
    ) -> list[Result]:
        """Classify patches; one that is refused gets its problem in the place of its answer."""
        return await self._run(
            self._requests.predict_batch(
                images,
                batch,
                progress,
                rotations=rotations,
                shifts=shifts,
                occlusion=occlusion,
                case_id=case_id,
                slide_id=slide_id,
                mpp=mpp,
            )
        )

    async def prediction(self, prediction_id: str) -> Answer:
        """A recorded answer."""
        return await self._run(self._requests.prediction(prediction_id))

    async def patch(self, prediction_id: str) -> bytes:
        """The image file of an answer, if the server stores patches."""
        return await self._run(self._requests.patch(prediction_id))

    async def page(self, limit: int = 50, cursor: str | None = None, **filters: Any) -> Page:
        """A page of recorded answers, newest first; filters are those of ``GET /predictions``."""
        return await self._run(self._requests.page(limit, cursor, **filters))

    async def predictions(self, **filters: Any) -> AsyncIterator[Answer]:
        """All recorded answers that fit the filters, newest first."""
        cursor: str | None = None
        while True:
            page = await self.page(200, cursor, **filters)
            for answer in page.answers:
                yield answer
            cursor = page.next
            if cursor is None:
                return

    async def review(self, prediction_id: str, verdict: Verdict, note: str | None = None) -> dict[str, Any]:
        """Store a person's verdict beside an answer."""
        return await self._run(self._requests.review(prediction_id, verdict, note))

    async def _run(self, flow: Flow[T]) -> T:
        outcome: Outcome = None
        while True:
            try:
                step = flow.send(outcome)
            except StopIteration as end:
                result: T = end.value
                return result
            outcome = None
            if isinstance(step, float):
                await sleep(step)
                continue
            try:
                outcome = await self._http.send(step)
            except httpx.TransportError as error:
                outcome = error

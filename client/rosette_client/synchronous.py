"""The client for ordinary programs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from time import sleep
from types import TracebackType
from typing import Any, Literal, Self, TypeVar

import httpx

from rosette_client.answers import Answer, Page
from rosette_client.flows import Flow, Outcome
from rosette_client.images import Image
from rosette_client.requests import Occlusion, Progress, Requests, Result, Rotations, Shifts, Verdict, bearer

T = TypeVar("T")


class Client:
    """Asks a Rosette server.

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
        self._http = httpx.Client(base_url=url, headers=headers, timeout=timeout_s, verify=verify)
        self._requests = Requests(self._http, patience_s)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def predict(
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
        """Classify one patch.

        Args:
            image: a path, an image file's bytes, a PIL image or a uint8 array [96, 96, 3] in RGB.
            rotations: which turns are measured.
            shifts: ``"report"``: the patch is also answered at offsets around it.
            occlusion: ``"report"``: also with each of 36 squares covered; see the answer's ``raw``.
            case_id, slide_id: pseudonyms.
            mpp: the patch's microns per pixel.
            idempotency_key: by default a new one.

        Raises:
            ProblemError: if the server refuses the patch.
            Unreachable: if no answer comes in time.
        """
        return self._run(
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

    def predict_batch(
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
        """Classify patches; one that is refused gets its problem in the place of its answer.

        Args:
            images: as :meth:`predict` takes them; files are read when their turn comes.
            batch: patches in a request, at most 256.
            progress: is called after each request with the patches that are done, and all.
            rotations, shifts, occlusion, case_id, slide_id, mpp: as for :meth:`predict`, for all patches.

        Raises:
            ProblemError: if the server refuses a request.
            Unreachable: if no answer comes in time.
        """
        return self._run(
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

    def prediction(self, prediction_id: str) -> Answer:
        """A recorded answer."""
        return self._run(self._requests.prediction(prediction_id))

    def patch(self, prediction_id: str) -> bytes:
        """The image file of an answer, if the server stores patches."""
        return self._run(self._requests.patch(prediction_id))

    def page(self, limit: int = 50, cursor: str | None = None, **filters: Any) -> Page:
        """A page of recorded answers, newest first; filters are those of ``GET /predictions``."""
        return self._run(self._requests.page(limit, cursor, **filters))

    def predictions(self, **filters: Any) -> Iterator[Answer]:
        """All recorded answers that fit the filters, newest first."""
        cursor: str | None = None
        while True:
            page = self.page(200, cursor, **filters)
            yield from page.answers
            cursor = page.next
            if cursor is None:
                return

    def review(self, prediction_id: str, verdict: Verdict, note: str | None = None) -> dict[str, Any]:
        """Store a person's verdict beside an answer."""
        return self._run(self._requests.review(prediction_id, verdict, note))

    def _run(self, flow: Flow[T]) -> T:
        outcome: Outcome = None
        while True:
            try:
                step = flow.send(outcome)
            except StopIteration as end:
                result: T = end.value
                return result
            outcome = None
            if isinstance(step, float):
                sleep(step)
                continue
            try:
                outcome = self._http.send(step)
            except httpx.TransportError as error:
                outcome = error

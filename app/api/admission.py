"""How patches get in, the same for every route that answers them: what costs least is judged first."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from fastapi import Request

from app.access.caller import Caller
from app.api.body import ContentType
from app.diagnosis.scale import Mpp
from app.problems import Busy, InvalidForm
from app.services import Services


class Reader(Protocol):
    """Judges headers, and reads patches and what a form says of their scale."""

    def check_headers(self, request: Request) -> ContentType: ...

    async def read_patches(self, request: Request, kind: ContentType) -> tuple[list[bytes], Mpp]: ...


class Slots:
    """Requests that may be in flight at once, beside the queue."""

    def __init__(self, number: int) -> None:
        self._number = number
        self._taken: set[Request] = set()

    def take(self, request: Request) -> None:
        """Let a request in.

        Raises:
            Busy: if there are too many.
        """
        if len(self._taken) >= self._number:
            raise Busy("Too many batches are in flight: try again in a second.")
        self._taken.add(request)

    def give_back(self, request: Request) -> None:
        """A request has ended; it may have been refused before it was let in."""
        self._taken.discard(request)


async def admit(
    request: Request, services: Services, reader: Reader, caller: Caller, mpp: Mpp, slots: Slots | None = None
) -> tuple[list[bytes], Mpp]:
    """A request's patches, and what its query or its form says of their scale.

    In this order: whether anything can be answered now and there is room, the headers, the key's rate, a slot; then the
    body is read, and its patches are counted.

    Raises:
        NoModel, Busy, RecordsUnavailable, RateExceeded: as their names say.
        InvalidForm: if both query and form state a scale.
        Problem: as the reader does.
    """
    services.answering.check_ready()
    kind = reader.check_headers(request)
    rates = services.key_rates
    if rates.limited:
        rates.check(caller.key_id)
    if slots is not None:
        slots.take(request)
    images, stated = await reader.read_patches(request, kind)
    if mpp is not None and stated is not None:
        raise InvalidForm("mpp stands in the query and in the form: give it once.")
    if rates.limited:
        rates.count(caller.key_id, len(images))
    return images, stated if mpp is None else mpp


def client_gone(request: Request) -> Callable[[], bool]:
    """Whether the client has closed its connection; the server leaves this in the request's state."""
    gone: Callable[[], bool] = request.scope.get("state", {}).get("gone", lambda: False)
    return gone

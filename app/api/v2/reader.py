"""Reads the body of an inference request."""

from __future__ import annotations

from functools import partial

from fastapi import Request

from app.api.body import BoundedReader, ContentType
from app.api.predict import Parameters
from app.api.query import parsed
from app.api.v2.tensors import HEAD_LENGTH, MAX_JSON, Asked, head_length, parse_binary, parse_json, split
from app.diagnosis.decode import is_gray
from app.diagnosis.raw import RawPixels
from app.diagnosis.refusals import gray
from app.diagnosis.scale import Mpp
from app.problems import BodyIncomplete, EmptyBody
from app.settings import Settings
from app.threads import Threads

# tritonclient sends no content type.
_TYPES = ("application/octet-stream", "application/json", "")


class InferenceReader(BoundedReader):
    """Reads one request.

    Args:
        io: threads, one of which parses JSON.

    Attributes:
        asked: what it asked, once it is read.
        parameters: those of ``POST /predict``.
    """

    asked: Asked
    parameters: Parameters

    def __init__(self, settings: Settings, io: Threads) -> None:
        super().__init__(settings.max_batch_bytes, settings.body_timeout_s, _TYPES, "send fewer patches")
        self._io = io
        self._lengths: tuple[int, int] | None = None

    def check_headers(self, request: Request) -> ContentType:
        """Judge content type, encoding and lengths.

        Raises:
            UnsupportedContentType, BodyTooLarge, InvalidInference: as their names say.
        """
        lengths = request.headers.getlist(HEAD_LENGTH)
        if not lengths:
            self._max_bytes = min(self._max_bytes, MAX_JSON)
        found = super().check_headers(request)
        if lengths:
            self._lengths = head_length(", ".join(lengths), request.headers.get("content-length", ""))
        return found

    async def read_patches(self, request: Request, kind: ContentType) -> tuple[list[bytes], Mpp]:
        """The patches, and what the request says of their scale.

        Raises:
            BodyTooLarge, BodyTooSlow, BodyIncomplete, EmptyBody, InvalidInference, InvalidParameter, WrongMode: as
                their names say.
        """
        if self._lengths is None:
            body = await self.read(request)
            if not body:
                raise EmptyBody("The body is empty: send an inference request.")
            self.asked, patches = await self._io.run(partial(parse_json, body))
        else:
            patches = await self._binary(request, *self._lengths)
        self.parameters = parsed(Parameters, self.asked.parameters)
        for index, patch in enumerate(patches):
            if is_gray(patch):
                problem = gray()
                problem.detail = f"Patch {index}: {problem.detail}"
                raise problem
        return list(patches), self.parameters.mpp

    async def _binary(self, request: Request, head: int, rest: int) -> list[RawPixels]:
        text, pixels = bytearray(), bytearray()

        def take(chunk: bytes) -> None:
            missing = head - len(text)
            if missing > 0:
                text.extend(chunk[:missing])
                if len(text) < head:
                    return
                self.asked = parse_binary(bytes(text), rest)
                chunk = chunk[missing:]
            pixels.extend(chunk)

        await self.pour(request, take)
        if len(text) + len(pixels) != head + rest:
            raise BodyIncomplete("The body is shorter than its Content-Length.")
        return split(memoryview(pixels))

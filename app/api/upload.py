"""Receive an artifact: streamed to the disk, hashed on the way, bounded in bytes and in time."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from hashlib import sha256
from pathlib import Path
from tempfile import TemporaryFile
from typing import BinaryIO, cast

from anyio import to_thread
from starlette.requests import Request

from app.api.body import FIELD, MULTIPART, BoundedReader, content_type
from app.api.form import Form
from app.problems import EmptyBody, InvalidForm
from app.registry.registry import Upload
from model_zoo.manifest import MAX_BYTES

RAW = "application/octet-stream"
SIGNATURE = "signature"
SIGNATURE_HEADER = "X-Rosette-Signature"
MAX_SIGNATURE = 512
_PIECE = 2**20


class ArtifactReader(BoundedReader):
    """Receives artifacts of at most 64 MiB that arrive within ``timeout_s`` seconds.

    Args:
        folder: where they lie until they have been vetted, in files without a name.
    """

    def __init__(self, folder: Path, timeout_s: float) -> None:
        super().__init__(MAX_BYTES, timeout_s, (MULTIPART, RAW), "send one artifact")
        self._folder = folder

    @asynccontextmanager
    async def receive(self, request: Request) -> AsyncIterator[Upload]:
        """The artifact, until the block ends.

        Raises:
            BodyTooLarge, BodyTooSlow, BodyIncomplete, EmptyBody, InvalidForm: as their names say.
        """
        with TemporaryFile(dir=self._folder) as file:
            arriving = _Arriving(cast(BinaryIO, file))
            media_type, boundary = content_type(request)
            if media_type == MULTIPART:
                sinks = {FIELD: arriving.take, SIGNATURE: arriving.take_signature}
                form = Form(boundary, sinks)
                await self.pour(request, lambda chunk: arriving.pass_on(form.feed, chunk))
                form.finish(FIELD)
            else:
                arriving.take_signature(request.headers.get(SIGNATURE_HEADER, "").encode("latin-1"))
                await self.pour(request, lambda chunk: arriving.pass_on(arriving.take, chunk))
            yield await arriving.whole()


class _Arriving:
    """What has arrived of an artifact and of its signature."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._digest = sha256()
        self._size = 0
        self._piece = bytearray()
        self._signature = bytearray()

    def take(self, chunk: bytes) -> None:
        self._digest.update(chunk)
        self._size += len(chunk)
        self._piece.extend(chunk)

    def take_signature(self, chunk: bytes) -> None:
        self._signature.extend(chunk)
        if len(self._signature) > MAX_SIGNATURE:
            raise InvalidForm(f"The signature has over {MAX_SIGNATURE} bytes, expected 88 of base64.")

    async def pass_on(self, sink: Callable[[bytes], None], chunk: bytes) -> None:
        """Give a chunk to ``sink``; what has gathered goes to the disk in large pieces, off the event loop."""
        sink(chunk)
        if len(self._piece) >= _PIECE:
            await self._flush()

    async def whole(self) -> Upload:
        await self._flush()
        if self._size == 0:
            raise EmptyBody("The artifact is empty: send an .onnx file.")
        signature = self._signature.decode("latin-1").strip()
        return Upload(self._file, self._size, self._digest.hexdigest(), signature or None)

    async def _flush(self) -> None:
        piece = bytes(self._piece)
        self._piece.clear()
        await to_thread.run_sync(self._write, piece)

    def _write(self, piece: bytes) -> None:
        self._file.write(piece)
        self._file.flush()

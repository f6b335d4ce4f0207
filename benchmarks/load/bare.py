"""Rosette's engine behind uvicorn only: no keys, no database, no checks of the request.

    ARTIFACT=model_zoo/NAME.int8.onnx uvicorn benchmarks.load.bare:app

The difference to Rosette is the cost of admission, limits and records.
"""

from __future__ import annotations

import asyncio
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from app.diagnosis.engine import Engine
from model_zoo.orbit import Rotations

_engine = Engine.load(Path(os.environ["ARTIFACT"]))
_threads = ThreadPoolExecutor(int(os.environ.get("CORES", os.cpu_count() or 1)))
_HEADERS = [(b"content-type", b"application/json")]


def _answer(data: bytes, rotations: Rotations) -> bytes:
    return _engine.answer(data, rotations).to_json()


async def app(scope: Any, receive: Any, send: Any) -> None:
    """Answer a raw body as ``POST /predict`` would; the query is ``rotations=…`` or empty."""
    assert scope["type"] == "http"
    body, more = b"", True
    while more:
        message = await receive()
        body += message.get("body", b"")
        more = message.get("more_body", False)
    rotations = Rotations(scope["query_string"].decode().removeprefix("rotations=") or "full")
    text = await asyncio.get_running_loop().run_in_executor(_threads, _answer, body, rotations)
    await send({"type": "http.response.start", "status": 200, "headers": _HEADERS})
    await send({"type": "http.response.body", "body": text})

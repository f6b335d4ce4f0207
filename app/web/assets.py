"""Style sheet, scripts and pictures, with their version in the address."""

from __future__ import annotations

import gzip
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Annotated

from fastapi import APIRouter, Depends, HTTPException, Request
from starlette.responses import Response

from app.api.query import KnownParameters
from app.web.paths import STATIC

FOLDER = Path(__file__).with_name("static")
LARGE_BYTES = 100_000
_TYPES = {".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml", ".txt": "text/plain"}

router = APIRouter(include_in_schema=False)


@dataclass(frozen=True)
class Asset:
    """A static file; ``version`` is part of its SHA-256. Large files have a compressed copy in ``zipped``."""

    data: bytes
    media_type: str
    version: str
    zipped: bytes | None


def _asset(path: Path) -> Asset:
    data = path.read_bytes()
    zipped = gzip.compress(data, 9, mtime=0) if len(data) > LARGE_BYTES else None
    return Asset(data, _TYPES[path.suffix], sha256(data).hexdigest()[:16], zipped)


ASSETS = {path.name: _asset(path) for path in sorted(FOLDER.iterdir()) if path.suffix in _TYPES}


def url(name: str) -> str:
    """The address of a file; it changes with the content, so browsers may cache it without limit."""
    return f"{STATIC}{name}?v={ASSETS[name].version}"


@router.get(STATIC + "{name}")
async def asset(
    request: Request, name: str, _: Annotated[None, Depends(KnownParameters("v"))], v: str = ""
) -> Response:
    found = ASSETS.get(name)
    if found is None:
        raise HTTPException(404, f"There is no {name} here")
    headers = {"Cache-Control": "public, max-age=31536000, immutable" if v == found.version else "no-cache"}
    if found.zipped is None:
        return Response(found.data, media_type=found.media_type, headers=headers)
    headers["Vary"] = "Accept-Encoding"
    if not accepts_gzip(request):
        return Response(found.data, media_type=found.media_type, headers=headers)
    return Response(found.zipped, media_type=found.media_type, headers=headers | {"Content-Encoding": "gzip"})


def accepts_gzip(request: Request) -> bool:
    """Whether a client reads gzip; one that says how much it likes it (``gzip;q=0``) gets the file as it is."""
    return "gzip" in (each.strip() for each in request.headers.get("accept-encoding", "").split(","))

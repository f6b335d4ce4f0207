"""Style sheet, scripts and pictures, with their version in the address."""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Annotated

from fastapi import APIRouter, Depends, HTTPException
from starlette.responses import Response

from app.api.query import KnownParameters
from app.web.paths import STATIC

FOLDER = Path(__file__).with_name("static")
_TYPES = {".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}

router = APIRouter(include_in_schema=False)


@dataclass(frozen=True)
class Asset:
    """A static file; ``version`` is part of its SHA-256."""

    data: bytes
    media_type: str
    version: str


def _assets() -> dict[str, Asset]:
    files = sorted(path for path in FOLDER.iterdir() if path.suffix in _TYPES)
    read = ((path, path.read_bytes()) for path in files)
    return {path.name: Asset(data, _TYPES[path.suffix], sha256(data).hexdigest()[:16]) for path, data in read}


ASSETS = _assets()


def url(name: str) -> str:
    """The address of a file; it changes with the content, so browsers may cache it without limit."""
    return f"{STATIC}{name}?v={ASSETS[name].version}"


@router.get(STATIC + "{name}")
async def asset(name: str, _: Annotated[None, Depends(KnownParameters("v"))], v: str = "") -> Response:
    found = ASSETS.get(name)
    if found is None:
        raise HTTPException(404, f"There is no {name} here")
    kept = "public, max-age=31536000, immutable" if v == found.version else "no-cache"
    return Response(found.data, media_type=found.media_type, headers={"Cache-Control": kept})

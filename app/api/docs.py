"""``/docs`` with Swagger UI from this server, and the OpenAPI description behind it."""

from __future__ import annotations

from base64 import b64encode
from hashlib import sha256
from importlib.resources import files
from pathlib import Path
from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import FileResponse, HTMLResponse, JSONResponse, Response

from app.problems import ProblemBody

DOCS, OPENAPI, ASSETS = "/docs", "/openapi.json", "/docs/assets/"
OPEN_PATHS = (DOCS, OPENAPI, ASSETS)

_READ = ["GET", "HEAD"]
_FILES = {"swagger-ui-bundle.js": "text/javascript", "swagger-ui.css": "text/css"}
_START = """SwaggerUIBundle({{
  url: "{root}{openapi}", dom_id: "#ui", deepLinking: true, validatorUrl: null,
  presets: [SwaggerUIBundle.presets.apis], layout: "BaseLayout",
}});"""
_PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Rosette API</title>
<link rel="icon" href="data:,">
<link rel="stylesheet" href="{root}{assets}swagger-ui.css">
</head>
<body>
<div id="ui"></div>
<script src="{root}{assets}swagger-ui-bundle.js"></script>
<script>{start}</script>
</body>
</html>
"""
_POLICY = (
    "default-src 'none'; script-src 'self' 'sha256-{digest}'; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data:; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)


def install(app: FastAPI, root: str = "") -> None:
    """Serve the documentation, without a key and without any other host; ``root`` is the proxy's prefix."""
    folder = Path(str(files("fastapi_offline"))) / "static"
    start = _START.format(root=root, openapi=OPENAPI)
    html = _PAGE.format(root=root, assets=ASSETS, start=start)
    policy = _POLICY.format(digest=b64encode(sha256(start.encode()).digest()).decode())

    async def page(_: Request) -> Response:
        return HTMLResponse(html, headers={"Content-Security-Policy": policy})

    async def description(_: Request) -> Response:
        return JSONResponse(app.openapi())

    async def asset(request: Request) -> Response:
        name = request.path_params["name"]
        if name not in _FILES:
            raise HTTPException(404, f"There is no {name} here")
        return FileResponse(folder / name, media_type=_FILES[name], headers={"Cache-Control": "max-age=86400"})

    app.add_api_route(DOCS, page, methods=_READ, include_in_schema=False)
    app.add_api_route(OPENAPI, description, methods=_READ, include_in_schema=False)
    app.add_api_route(ASSETS + "{name}", asset, methods=_READ, include_in_schema=False)


def describe(app: FastAPI, root: str = "") -> dict[str, Any]:
    """The OpenAPI description, with the problem schema that every route's errors share."""
    if app.openapi_schema is None:
        schema = get_openapi(
            title=app.title,
            version=app.version,
            description=app.description,
            routes=app.routes,
            tags=app.openapi_tags,
            servers=[{"url": root}] if root else None,
        )
        schema["components"]["schemas"]["Problem"] = ProblemBody.model_json_schema()
        app.openapi_schema = schema
    return app.openapi_schema

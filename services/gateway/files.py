"""The page at `/`: the files of one folder, under a policy that lets them load nothing from elsewhere."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from fastapi import APIRouter
from starlette.responses import FileResponse, Response

FOLDER = Path(__file__).parent / "page"

HEADERS: Mapping[str, str] = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-cache",
}


def page_router(folder: Path = FOLDER) -> APIRouter:
    """A route for each file of ``folder`` by its path there, and `/` for its ``index.html``."""
    api = APIRouter(include_in_schema=False)
    for file in sorted(path for path in folder.rglob("*") if path.is_file() and not path.name.startswith(".")):
        name = file.relative_to(folder).as_posix()
        _serve(api, "/" if name == "index.html" else f"/{name}", file)
    return api


def _serve(api: APIRouter, path: str, file: Path) -> None:
    async def page_file() -> Response:
        return FileResponse(file, headers=dict(HEADERS))

    api.add_api_route(path, page_file, methods=["GET", "HEAD"])

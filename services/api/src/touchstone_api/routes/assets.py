"""/assets: style sheets, scripts and pictures of the pages."""

import mimetypes
from typing import Annotated

from fastapi import APIRouter, Header, Response
from fastapi.responses import FileResponse

from touchstone_api.dashboard.assets import assets_folder, compressed_asset, find_asset

router = APIRouter(include_in_schema=False)

FOR_EVER = "public, max-age=31536000, immutable"
FOR_MINUTES = "public, max-age=300"
"""Under a path that does not say which version it is, or says one that is not this gateway's."""


@router.get("/assets/{name}")
@router.get("/assets/{version}/{name}")
def get_asset(name: str, version: str = "", accept_encoding: Annotated[str, Header()] = "") -> Response:
    kept = FOR_EVER if f"/assets/{version}" == assets_folder() else FOR_MINUTES
    headers = {"Cache-Control": kept, "Vary": "Accept-Encoding"}
    media_type = mimetypes.guess_type(name)[0] or "application/octet-stream"
    if "gzip" in accept_encoding.lower():
        headers["Content-Encoding"] = "gzip"
        return Response(compressed_asset(name), media_type=media_type, headers=headers)
    return FileResponse(find_asset(name), media_type=media_type, headers=headers)

"""/assets: the files that pages need. All of them come from here: a page works without the internet."""

import mimetypes
from functools import cache
from importlib.util import find_spec
from pathlib import Path

from fastapi import APIRouter
from fastapi.responses import FileResponse
from touchstone_contracts.problems import NotFound

from touchstone_api.dashboard.rendering import HERE

router = APIRouter(include_in_schema=False)

OWN = frozenset(path.name for path in (HERE / "static").iterdir())
INSTALLED = {
    "plotly.min.js": ("plotly", "package_data"),
    "swagger-ui-bundle.js": ("fastapi_offline", "static"),
    "swagger-ui.css": ("fastapi_offline", "static"),
}
"""Name -> the installed Python package that ships it, and the folder in it."""
CACHE = "public, max-age=300"


@router.get("/assets/{name}")
def get_asset(name: str) -> FileResponse:
    media_type = mimetypes.guess_type(name)[0] or "application/octet-stream"
    return FileResponse(_asset(name), media_type=media_type, headers={"Cache-Control": CACHE})


def _asset(name: str) -> Path:
    if name in OWN:
        return HERE / "static" / name
    if name in INSTALLED:
        package, folder = INSTALLED[name]
        return _home_of(package) / folder / name
    raise NotFound(f"no asset {name!r}")


@cache
def _home_of(package: str) -> Path:
    """Found without importing the package, which may be large."""
    found = find_spec(package)
    if found is None or not found.submodule_search_locations:
        raise NotFound(f"{package} is not installed")
    return Path(found.submodule_search_locations[0])

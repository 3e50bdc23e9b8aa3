"""The files that pages need. All of them come from here: a page works without the internet."""

import gzip
import hashlib
from functools import cache
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

from touchstone_contracts.problems import NotFound

STATIC = Path(__file__).parent / "static"
OWN = frozenset(path.name for path in STATIC.iterdir())
INSTALLED = {
    "swagger-ui-bundle.js": ("fastapi_offline", "static"),
    "swagger-ui.css": ("fastapi_offline", "static"),
}
"""Name -> the installed Python package that ships it, and the folder in it."""


@cache
def assets_folder() -> str:
    """ "/assets/<version>": another path whenever any of the files is another, so that browsers may keep them for ever.
    One version for all of them, because scripts import each other by relative paths."""
    known = hashlib.sha256()
    for name in sorted(OWN):
        known.update(name.encode() + b"\0" + hashlib.sha256((STATIC / name).read_bytes()).digest())
    for package in sorted({package for package, _ in INSTALLED.values()}):
        known.update(f"{package} {version(package)}\n".encode())
    return f"/assets/{known.hexdigest()[:16]}"


def find_asset(name: str) -> Path:
    """Raises NotFound for any other file."""
    if name in OWN:
        return STATIC / name
    if name in INSTALLED:
        package, folder = INSTALLED[name]
        return _home_of(package) / folder / name
    raise NotFound(f"no asset {name!r}")


@cache
def compressed_asset(name: str) -> bytes:
    """Compressed once and kept: 2 MB for all of them. Raises NotFound for any other file."""
    return gzip.compress(find_asset(name).read_bytes(), mtime=0)


@cache
def _home_of(package: str) -> Path:
    """Found without importing the package, which may be large."""
    found = find_spec(package)
    if found is None or not found.submodule_search_locations:
        raise NotFound(f"{package} is not installed")
    return Path(found.submodule_search_locations[0])

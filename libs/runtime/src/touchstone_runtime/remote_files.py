"""Files that are not on this machine: found by the location of a folder or file, fetched to be read."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path, PurePosixPath
from typing import Protocol

from touchstone_contracts.problems import Invalid

FETCHED_AT_ONCE = 16
Needed = Callable[[PurePosixPath], bool]
"""Whether a file is needed, by its path in the folder."""


class RemoteFiles(Protocol):
    """Each verb raises SourceNotAllowed before anybody is asked, Invalid where nothing usable is there, and Transient
    where the server cannot be reached."""

    def fetch(self, location: str, path: Path) -> None:
        """Writes the file to `path`."""

    def fetch_folder(self, location: str, folder: Path, needed: Needed) -> None:
        """Writes the files below `location` that are `needed`, by their path below it, and makes the folders of all."""

    def below(self, location: str) -> list[str]:
        """The location itself where it is a file, else those of all files below it, sorted."""


def fetch_each_below(files: RemoteFiles, prefix: str, found: list[str], folder: Path, needed: Needed) -> None:
    """`found`: locations that begin with `prefix`. Raises Invalid where there is none or one is no path."""
    # Consoles mark a folder by an object of its name.
    keys = [location.removeprefix(prefix) for location in found if location != prefix]
    if not keys:
        raise Invalid(f"nothing is below {prefix}; check the name", code="place_missing")
    for key in keys:
        _require_path(key, prefix)
        (folder / key.rpartition("/")[0]).mkdir(parents=True, exist_ok=True)
    fetched = [key for key in keys if not key.endswith("/") and needed(PurePosixPath(key))]
    with ThreadPoolExecutor(FETCHED_AT_ONCE) as fetchers:
        for _ in fetchers.map(lambda key: files.fetch(prefix + key, folder / key), fetched):
            pass  # raises what a fetch raised


def _require_path(key: str, prefix: str) -> None:
    """Keys are any text: one with `..` would be written elsewhere, one with an empty part over its neighbour. A key
    that ends in "/" stands for a folder."""
    if {"", ".", ".."} & set(key.removesuffix("/").split("/")):
        raise Invalid(f"{prefix}{key} cannot be a file in a folder; rename the object", code="unusable_key")

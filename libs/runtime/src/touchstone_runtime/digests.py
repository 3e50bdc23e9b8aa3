"""Digests of files and model folders."""

import hashlib
from collections.abc import Iterable
from pathlib import Path

from touchstone_contracts.problems import Invalid

from touchstone_runtime.beneath import opened_beneath


def file_digest(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def folder_digest(folder: Path, within: Path | None = None) -> str:
    """listing_digest of every file except README.md."""
    files = (path for path in folder.rglob("*") if path.is_file() and path.name != "README.md")
    return listing_digest(folder, files, within)


def listing_digest(folder: Path, files: Iterable[Path], within: Path | None = None) -> str:
    """sha256 over the sorted lines "<posix path relative to folder> <sha256>" of the files.

    Raises LeadsOut where one is a link that leads out of the folder, or out of `within`, a folder around it."""
    lines = "".join(
        f"{path.relative_to(folder).as_posix()} {_digest(path, within or folder)}\n" for path in sorted(files)
    )
    return hashlib.sha256(lines.encode("utf-8", "surrogateescape")).hexdigest()


def _digest(path: Path, root: Path) -> str:
    with opened_beneath(root, path.relative_to(root)) as found:
        return file_digest(found)


def require_digest(location: str, registered: str, found: str) -> None:
    """Raises Invalid when what lies at `location` is not what was registered. The error does not say what is there:
    whoever registers a location need not be allowed to read it."""
    if found != registered:
        raise Invalid(
            f"{location} does not have the registered digest {registered}: describe it again if it has changed",
            code="digest_mismatch",
        )

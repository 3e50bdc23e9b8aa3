"""Digests of files and model folders."""

import hashlib
from collections.abc import Iterable
from pathlib import Path

from touchstone_contracts.problems import Invalid


def file_digest(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def folder_digest(folder: Path) -> str:
    """listing_digest of every file except README.md."""
    return listing_digest(folder, (path for path in folder.rglob("*") if path.is_file() and path.name != "README.md"))


def listing_digest(folder: Path, files: Iterable[Path]) -> str:
    """sha256 over the sorted lines "<posix path relative to folder> <sha256>" of the files."""
    lines = "".join(f"{path.relative_to(folder).as_posix()} {file_digest(path)}\n" for path in sorted(files))
    return hashlib.sha256(lines.encode()).hexdigest()


def require_digest(place: str, registered: str, found: str) -> None:
    """Raises Invalid when what lies at `place` is not what was registered."""
    if found != registered:
        raise Invalid(f"{place} has digest {found}, registered was {registered}", code="digest_mismatch")

"""Digests of files and model folders."""

import hashlib
from pathlib import Path


def file_digest(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def folder_digest(folder: Path) -> str:
    """sha256 over the sorted lines "<relative posix path> <sha256>" of every file except README.md."""
    files = sorted(p for p in folder.rglob("*") if p.is_file() and p.name != "README.md")
    lines = "".join(f"{path.relative_to(folder).as_posix()} {file_digest(path)}\n" for path in files)
    return hashlib.sha256(lines.encode()).hexdigest()

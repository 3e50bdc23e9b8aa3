"""Files and folders that are there as a whole or not at all."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from touchstone.errors import NotExported


@contextmanager
def unfinished(file: Path) -> Iterator[BinaryIO]:
    """To write into; `file` itself appears when the block ends well."""
    part = file.with_name(f"{file.name}.part")
    try:
        with part.open("wb") as written:
            yield written
        part.replace(file)
    finally:
        part.unlink(missing_ok=True)


@contextmanager
def whole_folder(folder: Path) -> Iterator[Path]:
    """A folder to write into; `folder`, which is new or empty, appears when the block ends well. Raises NotExported."""
    _require_new(folder)
    part = folder.with_name(f"{folder.name}.part")
    if part.exists():
        raise NotExported(f"{part} is left of an export that was ended, or another is writing it: remove it first")
    part.mkdir()
    try:
        yield part
        if folder.exists():
            folder.rmdir()
        part.rename(folder)
    finally:
        shutil.rmtree(part, ignore_errors=True)


def _require_new(folder: Path) -> None:
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        found = "it is not empty" if folder.is_dir() else "it is a file"
        raise NotExported(f"{folder} cannot be written: {found}; name a new folder")
    if not folder.parent.is_dir():
        raise NotExported(f"{folder} cannot be written: there is no folder {folder.parent}")

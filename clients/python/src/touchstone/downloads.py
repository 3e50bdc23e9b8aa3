"""Files that are there as a whole or not at all."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO


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

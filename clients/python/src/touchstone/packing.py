"""A file or folder of this machine as a zip archive that is made while it is sent: no copy of it is written."""

import re
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from touchstone.errors import TouchstoneError

CHUNK = 2**20
_NO_PATTERN = re.compile(r"[?[]")
"""What Python's patterns mean something by and ours do not."""
NEEDS_ZIP64 = 2**31
"""Bytes of a file from which on its size takes more room."""

Sent = Callable[[int, int], None]
"""Told (bytes sent, bytes in all), of the files."""


def tell_nobody(sent: int, total: int) -> None:
    """For callers who show no progress."""


class NothingToPack(TouchstoneError):
    """Says which path was looked at."""


@dataclass(frozen=True)
class Packed:
    """Iterating yields the archive; it may be iterated again, as for another try."""

    files: tuple[tuple[Path, str], ...]
    """Each file, and its path in the archive."""
    sent: Sent = tell_nobody
    size: int = field(init=False)
    """Bytes of the files."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "size", sum(path.stat().st_size for path, _ in self.files))

    def __iter__(self) -> Iterator[bytes]:
        sink, sent = _Sink(), 0
        # Images are compressed already.
        with zipfile.ZipFile(sink, "w", zipfile.ZIP_STORED) as archive:  # type: ignore[call-overload]  # writing is enough
            for path, name in self.files:
                large = path.stat().st_size >= NEEDS_ZIP64
                with path.open("rb") as file, archive.open(zipfile.ZipInfo(name), "w", force_zip64=large) as member:
                    while data := file.read(CHUNK):
                        member.write(data)
                        sent += len(data)
                        self.sent(sent, self.size)
                        yield from sink.taken()
        yield from sink.taken()


class _Sink:
    """What a ZipFile writes to where it cannot go back."""

    def __init__(self) -> None:
        self._waiting: list[bytes] = []

    def write(self, data: bytes) -> int:
        self._waiting.append(bytes(data))
        return len(data)

    def flush(self) -> None:
        """Nothing is held back."""

    def taken(self) -> Iterator[bytes]:
        waiting, self._waiting = self._waiting, []
        if waiting:
            yield b"".join(waiting)


def packed(path: Path, tell: Sent = tell_nobody) -> Packed:
    """A file, a folder or files by a pattern (`*` for any characters but `/`, `**` for any folders), without hidden
    files; links to files are followed. Raises NothingToPack where nothing is there."""
    where = path.expanduser().absolute()
    if "*" in where.as_posix() and not where.exists():
        return _matching(where, tell)
    if where.is_file():
        return Packed(((where, _plain(where.name)),), tell)
    if not where.is_dir():
        raise NothingToPack(f"there is no file or folder at {where}")
    return _below(where, "**/*", f"no file is below {where}", tell)


def _matching(pattern: Path, tell: Sent) -> Packed:
    """By their paths below the last folder that has no pattern in it."""
    first = next(number for number, part in enumerate(pattern.parts) if "*" in part)
    rest = _NO_PATTERN.sub(r"[\g<0>]", "/".join(pattern.parts[first:]))
    return _below(Path(*pattern.parts[:first]), rest, f"no file matches {pattern}", tell)


def _below(folder: Path, pattern: str, nothing: str, tell: Sent) -> Packed:
    """Raises NothingToPack, which says `nothing`."""
    found = [each for each in sorted(folder.glob(pattern)) if each.is_file()]
    shown = [each for each in found if not any(_is_hidden(part) for part in each.relative_to(folder).parts)]
    if not shown:
        hidden = f", only {len(found)} hidden ones" if found else ""
        raise NothingToPack(f"{nothing}{hidden}")
    return Packed(tuple((each, _plain(each.relative_to(folder).as_posix())) for each in shown), tell)


def _is_hidden(part: str) -> bool:
    return part.startswith(".") or part == "__MACOSX"


def _plain(name: str) -> str:
    """Raises NothingToPack for a name that no archive can hold."""
    try:
        name.encode()
    except UnicodeEncodeError:
        raise NothingToPack(f"the name {name!r} is not UTF-8: rename the file") from None
    return name

"""Files below a folder that other people may write to: no path and no link leads out of it, whenever it is made.

Each part of a path is opened in the folder that was opened before it, and links are followed by hand, so replacing a
part meanwhile changes nothing. A link may lead to another path below the same folder."""

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePath, PurePosixPath

from touchstone_contracts.problems import Invalid

MOST_LINKS = 40
"""As Linux follows."""
_DESCRIPTORS = Path("/proc/self/fd")
# A pipe that nobody writes to would otherwise be waited for.
_FLAGS = os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK


class LeadsOut(Invalid):
    code = "link_leads_out"
    title = "Leads out of its folder"


@contextmanager
def opened_beneath(root: Path, path: PurePath, *, folder: bool = False, named: str = "") -> Iterator[Path]:
    """Where to read the file (or, with `folder`, to list the folder) at `path` below `root`. On Linux it stays the same
    one until the block ends, whatever is renamed meanwhile; the path is of this process, and children may use it.
    `named`: what errors call it, by default the path.

    Raises LeadsOut, or Invalid (code `place_missing`) where no such thing is."""
    descriptor = _open(root, path, folder, named or str(path))
    try:
        yield Path(f"/proc/{os.getpid()}/fd/{descriptor}") if _DESCRIPTORS.is_dir() else root / path
    finally:
        os.close(descriptor)


def read_beneath(root: Path, path: PurePath, most: int = -1) -> bytes:
    """The file's bytes, the first `most` of them. Raises as opened_beneath."""
    with os.fdopen(_open(root, path, folder=False, named=str(path)), "rb") as stream:
        return stream.read(most)


def _open(root: Path, path: PurePath, folder: bool, named: str) -> int:
    trail = [os.open(root, os.O_RDONLY | os.O_CLOEXEC | os.O_DIRECTORY)]
    try:
        _descend(trail, path, named)
        found = os.fstat(trail[-1]).st_mode
        if not (stat.S_ISDIR if folder else stat.S_ISREG)(found):
            raise Invalid(f"{named} is not a {'folder' if folder else 'file'}", code="place_missing")
        return trail.pop()
    except (FileNotFoundError, NotADirectoryError):
        raise Invalid(f"{named} is not there", code="place_missing") from None
    finally:
        for descriptor in trail:
            os.close(descriptor)


def _descend(trail: list[int], path: PurePath, named: str) -> None:
    """Appends the descriptor of each part of `path` to `trail`, whose first is the root."""
    to_do, links = [*reversed(path.parts)], 0
    while to_do:
        part = to_do.pop()
        if part == "..":
            if len(trail) == 1:
                raise _leads_out(named)
            os.close(trail.pop())
            continue
        try:
            trail.append(os.open(part, _FLAGS, dir_fd=trail[-1]))
        except OSError as error:
            if error.errno != errno.ELOOP:
                raise
            links += 1
            if links > MOST_LINKS:
                raise _leads_out(named) from None
            to_do.extend(reversed(_target(part, trail[-1], named)))


def _target(link: str, folder: int, named: str) -> tuple[str, ...]:
    try:
        target = PurePosixPath(os.readlink(link, dir_fd=folder))
    except OSError as error:
        if error.errno != errno.EINVAL:
            raise
        return (link,)  # no link any more: opened once more
    if target.is_absolute():
        raise _leads_out(named)
    return target.parts


def _leads_out(named: str) -> LeadsOut:
    return LeadsOut(f"{named} leads out of its folder: put the file itself there instead of the link")

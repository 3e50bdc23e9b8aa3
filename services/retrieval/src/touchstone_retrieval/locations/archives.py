"""Archives of files that nobody vouches for: what they hold, and unpacking a part of them into a folder.

Nothing is written beside that folder, links are not followed and not made, and no more bytes are written than are
allowed, whatever an archive says of itself."""

import json
import zipfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from touchstone_contracts.problems import Invalid
from touchstone_runtime.confined import ConfinedProcess, Died, Limits

from touchstone_retrieval.ingest.source import clean_key
from touchstone_retrieval.ingest.tar_members import MOST_MEMBERS, Member, tar_members
from touchstone_retrieval.ingest.tar_samples import is_hidden
from touchstone_retrieval.locations.archive_process import DATA, END, ERROR, MEMBERS

NO_FILES = ("folder", "trailing_bytes", "no_end_marker")
COPIED_AT_ONCE = 4 * 2**20
READER = "touchstone_retrieval.locations.archive_process:answers"
LIMITS = Limits(memory_bytes=2**30)
"""Of the process that reads a zip archive."""


class UnusableArchive(Invalid):
    code = "unusable_archive"
    title = "Unusable archive"


@dataclass(frozen=True)
class ArchivedFile:
    name: str
    """Its path: plain segments with "/" between."""
    size: int
    number: int
    """Among the members of the archive."""
    start: int = 0
    """In a tar: where its bytes are."""


@dataclass(frozen=True)
class Archive:
    path: Path
    """On this machine."""
    location: str
    is_zip: bool
    files: tuple[ArchivedFile, ...]
    """Without hidden ones."""

    def unpack(self, files: Sequence[ArchivedFile], target: Callable[[ArchivedFile], Path], most_bytes: int) -> None:
        """Writes each file to its target. Raises UnusableArchive."""
        if sum(file.size for file in files) > most_bytes:
            raise _too_large(self.location, most_bytes)
        read = self._of_zip if self.is_zip else self._of_tar
        left = most_bytes
        for file, chunks in read(files):
            path = target(file)
            path.parent.mkdir(parents=True, exist_ok=True)
            with path.open("xb") as written:
                for chunk in chunks:
                    left -= len(chunk)
                    if left < 0:
                        raise _too_large(self.location, most_bytes)
                    written.write(chunk)

    def _of_tar(self, files: Sequence[ArchivedFile]) -> Iterator[tuple[ArchivedFile, Iterator[bytes]]]:
        with self.path.open("rb") as archive:
            for file in files:

                def chunks(file: ArchivedFile = file) -> Iterator[bytes]:
                    archive.seek(file.start)
                    left = file.size
                    while left and (data := archive.read(min(left, COPIED_AT_ONCE))):
                        left -= len(data)
                        yield data

                yield file, chunks()

    def _of_zip(self, files: Sequence[ArchivedFile]) -> Iterator[tuple[ArchivedFile, Iterator[bytes]]]:
        asked = {"path": str(self.path), "members": [file.number for file in files]}
        with _asked(asked, self.location) as answers:
            for file in files:

                def chunks() -> Iterator[bytes]:
                    for answer in answers:
                        if answer[:1] == END:
                            return
                        yield _payload(answer, DATA, self.location)

                yield file, chunks()


def open_archive(path: Path, location: str) -> Archive:
    """Raises UnusableArchive where it is no zip or tar archive, or where it holds a member that cannot be unpacked into
    a folder, which the error names."""
    is_zip = zipfile.is_zipfile(path)
    found = _zip_members(path, location) if is_zip else _tar_members(path, location)
    files = tuple(file for file in found if not _is_hidden(file.name))
    _require_one_folder(files, location)
    return Archive(path, location, is_zip, files)


def _tar_members(path: Path, location: str) -> Iterator[ArchivedFile]:
    earlier: dict[str, Member] = {}
    for number, member in enumerate(tar_members(path, location)):
        _require_below(member.name, location)
        if member.same_as and member.same_as in earlier:  # a hard link has the bytes of the member it names
            member = Member(member.name, earlier[member.same_as].start, earlier[member.same_as].size)
        if member.reason in NO_FILES:
            continue
        _require_file(member.name, "broken_link" if member.same_as else member.reason, location)
        earlier[member.name] = member
        yield ArchivedFile(_plain(member.name), member.size, number, member.start)


def _zip_members(path: Path, location: str) -> Iterator[ArchivedFile]:
    number = 0
    with _asked({"path": str(path)}, location) as answers:
        for answer in answers:
            for name, size, reason in json.loads(_payload(answer, MEMBERS, location)):
                _require_below(name, location)
                if reason not in NO_FILES:
                    _require_file(name, reason, location)
                    yield ArchivedFile(_plain(name), size, number)
                number += 1
                if number > MOST_MEMBERS:
                    raise UnusableArchive(f"{location} has more than {MOST_MEMBERS:,} members")


def _require_below(name: str, location: str) -> None:
    parts = name.replace("\\", "/").split("/")
    if name.startswith(("/", "\\")) or ".." in parts or (len(parts[0]) == 2 and parts[0][1] == ":"):
        raise UnusableArchive(f"{location} holds {_shown(name)}, which leads out of its folder")


def _require_file(name: str, reason: str, location: str) -> None:
    if reason and not _is_hidden(_plain(name)):
        detail = f"{location} holds {_shown(name)}, which is no file that can be read ({reason.replace('_', ' ')})"
        raise UnusableArchive(f"{detail}: pack the files themselves, without links and passwords")


def _require_one_folder(files: Sequence[ArchivedFile], location: str) -> None:
    names = {file.name for file in files}
    if len(names) < len(files):
        seen = set[str]()
        twice = next(file.name for file in files if file.name in seen or seen.add(file.name))  # type: ignore[func-returns-value]
        raise UnusableArchive(f"{location} holds {_shown(twice)} twice")
    for file in files:
        for folder in PurePosixPath(file.name).parents:
            if str(folder) in names:
                raise UnusableArchive(f"{location} holds {_shown(str(folder))} as a file and as a folder")
    if not files:
        raise UnusableArchive(f"{location} holds no file")


def _is_hidden(name: str) -> bool:
    return is_hidden(name) or any(part.startswith(".") for part in name.split("/"))


def _plain(name: str) -> str:
    """Without `./` and the like; bytes that are no UTF-8 are escaped."""
    return str(PurePosixPath(clean_key(name)))


def _shown(name: str) -> str:
    return repr(clean_key(name)[:200])


def _payload(answer: bytearray, kind: bytes, location: str) -> bytes:
    if answer[:1] == ERROR:
        raise UnusableArchive(f"{location} cannot be read as a zip archive: {answer[1:].decode('utf-8', 'replace')}")
    assert answer[:1] == kind
    return bytes(answer[1:])


@contextmanager
def _asked(request: object, location: str) -> Iterator[Iterator[bytearray]]:
    """By a process of its own, which ends with the block. Raises UnusableArchive where it ends before."""
    try:
        with closing(ConfinedProcess(READER, LIMITS)) as process:
            yield process.ask(json.dumps(request).encode())
    except Died as death:
        raise UnusableArchive(f"{location} cannot be read as a zip archive: {death.how.replace('_', ' ')}") from None


def _too_large(location: str, most_bytes: int) -> UnusableArchive:
    return UnusableArchive(
        f"{location} unpacks to more than {most_bytes:,} bytes (TOUCHSTONE_FETCHED_BYTES on the retrieval workers)",
        code="too_many_bytes",
    )

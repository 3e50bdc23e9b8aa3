"""Reads the files at locations that sources name: in the library, on S3 and on other servers."""

import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath

from touchstone_contracts.problems import Invalid
from touchstone_runtime.digests import file_digest, require_digest
from touchstone_runtime.library import Library
from touchstone_runtime.remote_files import RemoteFiles
from touchstone_runtime.s3_files import S3Files


@dataclass(frozen=True)
class LocationReader:
    library: Library
    s3: S3Files | None
    others: Mapping[str, RemoteFiles] = field(default_factory=dict)
    """By scheme, such as `https`."""
    held: Mapping[str, Path] = field(default_factory=dict)
    """Files that are on this machine already, by their locations."""

    @contextmanager
    def file(self, location: str) -> Iterator[Path]:
        """A file that is not in the library exists for as long as the context is open."""
        if location in self.held:
            yield self.held[location]
            return
        if is_in_library(location):
            with self.library.opened(location) as path:
                yield path
            return
        with tempfile.TemporaryDirectory(prefix="touchstone-") as folder:
            path = Path(folder) / "object"
            self.remote(location).fetch(location, path)
            yield path

    @contextmanager
    def holding(self, location: str) -> Iterator["LocationReader"]:
        """A reader that does not fetch this file again for as long as the context is open."""
        with self.file(location) as path:
            yield replace(self, held={**self.held, location: path})

    def remote(self, location: str) -> RemoteFiles:
        """Raises Invalid where this worker reads nothing of that scheme."""
        scheme = location.partition("://")[0]
        found = self.s3 if scheme == "s3" else self.others.get(scheme)
        if found is None:
            raise Invalid(f"{scheme}:// locations need a server, and this worker has none", code="place_missing")
        return found

    def below(self, location: str) -> list[str]:
        """The location itself if it is a file, else the locations of the files below it, sorted."""
        if not is_in_library(location):
            return self.remote(location).below(location)
        path, root = self.library.path(location), self.library.root
        files = [path] if path.is_file() else sorted(file for file in path.rglob("*") if file.is_file())
        return [f"library:{file.relative_to(root).as_posix()}" for file in files]

    @contextmanager
    def folder(self, location: str, needed: Callable[[PurePosixPath], bool]) -> Iterator[Path]:
        """A folder of the library as it is. Of any other folder the `needed` files are fetched; they exist for as long
        as the context is open."""
        if is_in_library(location):
            with self.library.opened(location, folder=True) as found:
                yield found
            return
        with tempfile.TemporaryDirectory(prefix="touchstone-") as folder:
            self.remote(location).fetch_folder(location, Path(folder), needed)
            yield Path(folder)

    @contextmanager
    def verified_file(self, location: str, digest: str) -> Iterator[Path]:
        """Raises Invalid when the file is missing or has other bytes, Transient when its server cannot be reached."""
        with self.file(location) as path:
            require_digest(location, digest, file_digest(path))
            yield path


def is_in_library(location: str) -> bool:
    return location.startswith("library:")

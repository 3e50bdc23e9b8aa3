"""From the place a source names to a file on this machine whose bytes are those that were registered."""

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
class Places:
    library: Library
    s3: S3Files | None
    others: Mapping[str, RemoteFiles] = field(default_factory=dict)
    """By scheme, such as `https`."""
    held: Mapping[str, Path] = field(default_factory=dict)
    """What is here already, by its place."""

    @contextmanager
    def file(self, place: str) -> Iterator[Path]:
        """What is not in the library is there for as long as the context is open."""
        if place in self.held:
            yield self.held[place]
            return
        if is_in_library(place):
            with self.library.opened(place) as path:
                yield path
            return
        with tempfile.TemporaryDirectory(prefix="touchstone-") as folder:
            path = Path(folder) / "object"
            self.remote(place).fetch(place, path)
            yield path

    @contextmanager
    def holding(self, place: str) -> Iterator["Places"]:
        """The same places, which fetch this file no more for as long as the context is open."""
        with self.file(place) as path:
            yield replace(self, held={**self.held, place: path})

    def remote(self, place: str) -> RemoteFiles:
        """Raises Invalid where this worker reads nothing of that scheme."""
        scheme = place.partition("://")[0]
        found = self.s3 if scheme == "s3" else self.others.get(scheme)
        if found is None:
            raise Invalid(f"{scheme}:// places need a server, and this worker has none", code="place_missing")
        return found

    def below(self, place: str) -> list[str]:
        """The place itself if it is a file, else the files below it, sorted."""
        if not is_in_library(place):
            return self.remote(place).below(place)
        path, root = self.library.path(place), self.library.root
        files = [path] if path.is_file() else sorted(file for file in path.rglob("*") if file.is_file())
        return [f"library:{file.relative_to(root).as_posix()}" for file in files]

    @contextmanager
    def folder(self, place: str, needed: Callable[[PurePosixPath], bool]) -> Iterator[Path]:
        """A folder of the library as it is; of another place, those files that are `needed` for as long as the context
        is open."""
        if is_in_library(place):
            with self.library.opened(place, folder=True) as found:
                yield found
            return
        with tempfile.TemporaryDirectory(prefix="touchstone-") as folder:
            self.remote(place).fetch_folder(place, Path(folder), needed)
            yield Path(folder)

    @contextmanager
    def verified_file(self, place: str, digest: str) -> Iterator[Path]:
        """Raises Invalid when it is not there or has other bytes, Transient when its server cannot be reached."""
        with self.file(place) as path:
            require_digest(place, digest, file_digest(path))
            yield path


def is_in_library(place: str) -> bool:
    return place.startswith("library:")

"""The library: a read-only folder of models and data. Locations that begin with `library:` are below it."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath

from touchstone_contracts.sources import AllowedSources

from touchstone_runtime.beneath import LeadsOut, opened_beneath
from touchstone_runtime.digests import file_digest, folder_digest, require_digest

LIBRARY_ALONE = AllowedSources()


class Library:
    def __init__(self, root: Path, allowed: AllowedSources = LIBRARY_ALONE) -> None:
        """`allowed`: also of the locations elsewhere that this worker may read."""
        self.root, self.allowed = root.resolve(), allowed

    def path(self, location: str) -> Path:
        """Whatever lies there, if anything, for listing; who reads a file of it opens it by its own location. Raises
        SourceNotAllowed or LeadsOut."""
        self.allowed.require(location)
        path = self.root / _path_of(location)
        if not path.resolve().is_relative_to(self.root):
            raise LeadsOut(f"{location} leads out of the library")
        return path

    @contextmanager
    def opened(self, location: str, *, folder: bool = False) -> Iterator[Path]:
        """Where to read the file, or the folder, until the block ends. Raises SourceNotAllowed, LeadsOut, or Invalid
        where no such thing is."""
        self.allowed.require(location)
        with opened_beneath(self.root, _path_of(location), folder=folder, named=location) as path:
            yield path

    @contextmanager
    def verified_file(self, location: str, digest: str) -> Iterator[Path]:
        """As `opened`. Raises Invalid when the file's bytes are not those that were registered."""
        with self.opened(location) as path:
            require_digest(location, digest, file_digest(path))
            yield path

    def verified_folder(self, location: str, digest: str) -> Path:
        """For libraries that open files by themselves. Raises as verified_file."""
        with self.opened(location, folder=True) as folder:
            require_digest(location, digest, folder_digest(folder))
        return self.root / _path_of(location)


def _path_of(location: str) -> PurePosixPath:
    return PurePosixPath(location.removeprefix("library:"))

"""From the place a source names to a file on this machine whose bytes are those that were registered."""

import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from touchstone_contracts.problems import Invalid
from touchstone_runtime.digests import file_digest, require_digest
from touchstone_runtime.library import Library
from touchstone_runtime.s3_files import SCHEME, S3Files


@dataclass(frozen=True)
class Places:
    library: Library
    s3: S3Files | None

    @contextmanager
    def file(self, place: str) -> Iterator[Path]:
        """An S3 object is there for as long as the context is open."""
        if not place.startswith(SCHEME):
            with self.library.opened(place) as path:
                yield path
            return
        with tempfile.TemporaryDirectory(prefix="touchstone-") as folder:
            path = Path(folder) / "object"
            self.remote().fetch(place, path)
            yield path

    def remote(self) -> S3Files:
        """Raises Invalid where there is no S3 server."""
        if self.s3 is None:
            raise Invalid("s3:// places need an S3 server, and there is none", code="place_missing")
        return self.s3

    @contextmanager
    def folder(self, place: str, needed: Callable[[PurePosixPath], bool]) -> Iterator[Path]:
        """A folder of the library as it is; of S3, those files that are `needed` for as long as the context is open."""
        if not place.startswith(SCHEME):
            with self.library.opened(place, folder=True) as found:
                yield found
            return
        with tempfile.TemporaryDirectory(prefix="touchstone-") as folder:
            self.remote().fetch_folder(place, Path(folder), needed)
            yield Path(folder)

    @contextmanager
    def verified_file(self, place: str, digest: str) -> Iterator[Path]:
        """Raises Invalid when it is not there or has other bytes, Transient when the S3 server cannot be reached."""
        with self.file(place) as path:
            require_digest(place, digest, file_digest(path))
            yield path

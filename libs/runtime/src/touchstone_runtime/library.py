"""The library: a read-only folder of models and data that `library:` places are below."""

from pathlib import Path

from touchstone_contracts.problems import Invalid

from touchstone_runtime.digests import file_digest, folder_digest, require_digest


class Library:
    def __init__(self, root: Path) -> None:
        self.root = root.resolve()

    def path(self, place: str) -> Path:
        """Raises Invalid when the place leads out of the library or nothing is there."""
        path = (self.root / place.removeprefix("library:")).resolve()
        if not path.is_relative_to(self.root):
            raise Invalid(f"{place} leads out of the library", code="place_outside_library")
        if not path.exists():
            raise Invalid(f"{place} is not in this worker's library ({self.root})", code="place_missing")
        return path

    def verified_file(self, place: str, digest: str) -> Path:
        """Raises Invalid when the file's bytes are not those that were registered."""
        path = self.path(place)
        if not path.is_file():
            raise Invalid(f"{place} is not a file", code="place_missing")
        require_digest(place, digest, file_digest(path))
        return path

    def verified_folder(self, place: str, digest: str) -> Path:
        path = self.path(place)
        if not path.is_dir():
            raise Invalid(f"{place} is not a folder", code="place_missing")
        require_digest(place, digest, folder_digest(path))
        return path

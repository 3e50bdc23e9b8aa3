"""Files in uploaded archives (`upload://`).

The archive that was read last stays on the disk of the worker: the parts of a source are described and ingested one
after the other."""

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from touchstone_contracts.problems import Invalid
from touchstone_runtime.remote_files import Needed
from touchstone_runtime.uploads import Uploads

from touchstone_retrieval.ingest.tar_samples import COMPANIONS, IMAGE_ENDINGS, TEXT_ENDINGS
from touchstone_retrieval.locations.archives import Archive, ArchivedFile, open_archive

SHARD = "shard.tar"
"""What the archive itself is called where it is a shard of labelled or described samples, and no folder."""
_OF_SHARDS = tuple(f".{ending}" for ending in COMPANIONS if ending not in TEXT_ENDINGS)


@dataclass(frozen=True)
class _Kept:
    upload: str
    archive: Archive
    folder: tempfile.TemporaryDirectory[str]


class UploadedFiles:
    """A RemoteFiles. Not for two threads at once."""

    def __init__(self, uploads: Uploads, most_bytes: int) -> None:
        """`most_bytes`: of the files that are unpacked at once."""
        self._uploads, self._most_bytes = uploads, most_bytes
        self._kept: _Kept | None = None

    def fetch(self, location: str, path: Path) -> None:
        upload, name = _parts(location)
        archive = self._archive(upload)
        if name == SHARD and _is_shard(archive):
            path.hardlink_to(archive.path)
            return
        files = [file for file in archive.files if file.name == name]
        if not files:
            raise Invalid(f"{location} is not in the archive", code="place_missing")
        archive.unpack(files, lambda _: path, self._most_bytes)

    def fetch_folder(self, location: str, folder: Path, needed: Needed) -> None:
        upload, name = _parts(location)
        archive, prefix = self._archive(upload), f"{name}/" if name else ""
        found = [file for file in archive.files if file.name.startswith(prefix)]
        if not found:
            raise Invalid(f"{location} is not in the archive", code="place_missing")

        def target(file: ArchivedFile) -> Path:
            return folder / file.name.removeprefix(prefix)

        for parent in {target(file).parent for file in found}:
            parent.mkdir(parents=True, exist_ok=True)
        wanted = [file for file in found if needed(PurePosixPath(file.name.removeprefix(prefix)))]
        archive.unpack(wanted, target, self._most_bytes)

    def below(self, location: str) -> list[str]:
        upload, name = _parts(location)
        archive = self._archive(upload)
        if _is_shard(archive):
            return [f"upload://{upload}/{SHARD}"] if name in ("", SHARD) else []
        found = [file.name for file in archive.files if not name or f"{file.name}/".startswith(f"{name}/")]
        return sorted(f"upload://{upload}/{each}" for each in found)

    def _archive(self, upload: str) -> Archive:
        if self._kept is None or self._kept.upload != upload:
            self._forget()
            folder = tempfile.TemporaryDirectory(prefix="touchstone-")
            path = Path(folder.name) / "archive"
            self._uploads.fetch(upload, path)
            self._kept = _Kept(upload, open_archive(path, f"upload://{upload}"), folder)
        return self._kept.archive

    def _forget(self) -> None:
        if self._kept is not None:
            self._kept.folder.cleanup()
            self._kept = None


def _parts(location: str) -> tuple[str, str]:
    """The upload and the path in it."""
    upload, _, name = location.removeprefix("upload://").partition("/")
    return upload, name.rstrip("/")


def _is_shard(archive: Archive) -> bool:
    """Whether images of a tar have a class or a JSON description beside them, which no folder of images has."""
    return not archive.is_zip and _has_described_samples(archive.files)


def _has_described_samples(files: Sequence[ArchivedFile]) -> bool:
    images = {file.name.rpartition(".")[0] for file in files if file.name.lower().endswith(IMAGE_ENDINGS)}
    return any(file.name.rpartition(".")[0] in images for file in files if file.name.lower().endswith(_OF_SHARDS))

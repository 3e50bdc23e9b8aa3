"""What a backup is: a folder with the objects of the bucket under their keys, and dated copies of the database.

The database is copied before the bucket and restored after it, so that it never names what is not there. Manifests are
copied before blobs and restored after them, for the same reason."""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from touchstone_contracts.identity import sha256
from touchstone_contracts.keys import BLOBS, STEPS, TAKEDOWNS, UPLOADS
from touchstone_contracts.problems import Invalid
from touchstone_runtime.objects import StoredObject
from touchstone_runtime.whole_files import PART, whole_file

COPIED = (STEPS, BLOBS, TAKEDOWNS, UPLOADS)
"""In the order in which they are copied. Savepoints are not: a step that is at work begins anew."""
DUMP = ".jsonl.gz"
SAME_SECONDS = 0.001
"""Between two times that are one: file systems round them."""


class NoBackup(Invalid):
    code = "no_backup"
    title = "There is no backup"


@dataclass(frozen=True)
class BackupFolder:
    path: Path

    @property
    def objects(self) -> Path:
        return self.path / "objects"

    def new_dump(self, now: datetime) -> Path:
        return self.path / "database" / f"{now:%Y-%m-%dT%H%M%SZ}{DUMP}"

    def newest_dump(self) -> Path:
        """Raises NoBackup."""
        found = sorted((self.path / "database").glob(f"*{DUMP}"))
        if not found:
            raise NoBackup(f"{self.path} holds no copy of a database; `backup` makes one")
        return found[-1]

    def has(self, stored: StoredObject) -> bool:
        """As it was written last."""
        try:
            found = (self.objects / stored.key).stat()
        except FileNotFoundError:
            return False
        return found.st_size == stored.size and abs(found.st_mtime - stored.modified.timestamp()) < SAME_SECONDS

    def write(self, stored: StoredObject, data: bytes) -> None:
        with whole_file(self.objects / stored.key) as part:
            part.write_bytes(data)
            os.utime(part, (stored.modified.timestamp(),) * 2)

    def keys(self, prefix: str) -> Iterator[str]:
        """Of the objects that it holds, in their order."""
        files = (path for path in (self.objects / prefix).rglob("*") if path.is_file() and path.suffix != PART)
        yield from sorted(path.relative_to(self.objects).as_posix() for path in files)

    def read(self, key: str) -> bytes:
        return (self.objects / key).read_bytes()

    def size(self, key: str) -> int:
        return (self.objects / key).stat().st_size

    def remove(self, key: str) -> None:
        (self.objects / key).unlink()


def is_as_named(key: str, data: bytes) -> bool:
    """Whether a blob has the bytes that its key says; a manifest has its checksum within."""
    return not key.startswith(BLOBS) or sha256(data) == key.rpartition("/")[2]

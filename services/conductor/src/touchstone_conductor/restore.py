"""`python -m touchstone_conductor.restore FOLDER [--database FILE] [--replace]`: brings a backup back.

The objects come first, then the database, whose rows are replaced in one transaction. It may be killed at any point and
run again. Objects that the bucket has already stay there."""

import argparse
import sys
from dataclasses import dataclass, field
from pathlib import Path

from touchstone_contracts.keys import BLOBS
from touchstone_contracts.problems import Failure
from touchstone_runtime.objects import ObjectStore
from touchstone_store.database import Store
from touchstone_store.dump import read_dump, require_room

from touchstone_conductor.backup_folder import COPIED, BackupFolder, is_as_named
from touchstone_conductor.commands import opened


@dataclass
class Restored:
    """What a restore did."""

    dump: Path
    rows: int = 0
    copied: int = 0
    copied_size: int = 0
    """Bytes."""
    there: int = 0
    """Blobs that the bucket had."""
    damaged: list[str] = field(default_factory=list)
    """Keys of blobs that the backup has with other bytes than their names say. They are computed again when they are
    missed."""

    @property
    def line(self) -> str:
        return (
            f"{self.copied} objects of {self.copied_size / 2**20:.1f} MiB copied, {self.there} were there, "
            f"{len(self.damaged)} damaged; {self.rows} rows of {self.dump.name}"
        )


@dataclass(frozen=True)
class Restore:
    store: Store
    objects: ObjectStore
    folder: BackupFolder
    dump: Path | None = None
    """None: the newest."""
    replace: bool = False
    """Whether experiments that the database holds may be lost."""

    def run(self) -> Restored:
        """Raises NoBackup, HoldsExperiments, UnusableDump, or Transient where a server is away."""
        found = Restored(self.dump or self.folder.newest_dump())
        require_room(self.store, replace=self.replace)
        for prefix in reversed(COPIED):
            for key in self.folder.keys(prefix):
                self._copy(key, found)
        found.rows = read_dump(self.store, found.dump, replace=self.replace)
        return found

    def _copy(self, key: str, found: Restored) -> None:
        if key.startswith(BLOBS) and self.objects.size(key) == self.folder.size(key):
            found.there += 1
            return
        data = self.folder.read(key)
        if not is_as_named(key, data):
            found.damaged.append(key)
            return
        self.objects.put(key, data)
        found.copied += 1
        found.copied_size += len(data)


def main() -> int:
    """Exit code 1: nothing was restored, and why."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, help="where the backup is")
    parser.add_argument("--database", type=Path, help="one of its copies of the database (default: the newest)")
    parser.add_argument("--replace", action="store_true", help="also where that loses experiments")
    options = parser.parse_args()
    folder = BackupFolder(options.folder)
    try:
        with opened() as ours:
            ours.objects.create_bucket()
            found = Restore(ours.store, ours.objects, folder, options.database, options.replace).run()
    except (Failure, OSError) as error:
        print(error, file=sys.stderr)
        return 1
    for key in found.damaged:
        print(f"damaged, not restored; it is computed again when it is missed: {key}")
    print(found.line)
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""`python -m touchstone_conductor.backup FOLDER [--prune]`: copies the database, then every new object of the bucket.

It may run beside anything. Killed half-way it leaves a folder that the next one completes; what was copied before is
whole. What a collection removed from the bucket stays in the folder until a backup is made with `--prune`."""

import argparse
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from touchstone_contracts.problems import Failure
from touchstone_runtime.objects import MissingObject, ObjectStore, StoredObject
from touchstone_store.database import Store
from touchstone_store.dump import write_dump

from touchstone_conductor.backup_folder import COPIED, BackupFolder, is_as_named
from touchstone_conductor.commands import opened
from touchstone_conductor.conductor import utc_now


@dataclass
class BackedUp:
    """What a backup did."""

    rows: int = 0
    """Of the database."""
    copied: int = 0
    copied_size: int = 0
    """Bytes."""
    there: int = 0
    """Objects that an earlier backup had copied."""
    pruned: int = 0
    damaged: list[str] = field(default_factory=list)
    """Keys of blobs that have other bytes than their names say. They were not copied."""

    @property
    def line(self) -> str:
        return (
            f"{self.rows} rows of the database; {self.copied} objects of {self.copied_size / 2**20:.1f} MiB copied, "
            f"{self.there} were there; {self.pruned} removed; {len(self.damaged)} damaged"
        )


@dataclass(frozen=True)
class Backup:
    store: Store
    objects: ObjectStore
    folder: BackupFolder
    prune: bool = False
    now: Callable[[], datetime] = utc_now

    def run(self) -> BackedUp:
        """Raises Transient where a server is away, OSError where the folder cannot be written."""
        found, seen = BackedUp(), set[str]()
        found.rows = write_dump(self.store, self.folder.new_dump(self.now()))
        for prefix in COPIED:
            for stored in self.objects.listed(prefix):
                seen.add(stored.key)
                if self.folder.has(stored):
                    found.there += 1
                else:
                    self._copy(stored, found)
        if self.prune:
            self._prune(seen, found)
        return found

    def _copy(self, stored: StoredObject, found: BackedUp) -> None:
        try:
            data = self.objects.get(stored.key)
        except MissingObject:  # collected meanwhile
            return
        if not is_as_named(stored.key, data):
            found.damaged.append(stored.key)
            return
        self.folder.write(stored, data)
        found.copied += 1
        found.copied_size += len(data)

    def _prune(self, seen: set[str], found: BackedUp) -> None:
        for key in [key for prefix in COPIED for key in self.folder.keys(prefix) if key not in seen]:
            self.folder.remove(key)
            found.pruned += 1


def main() -> int:
    """Exit code 1: some blobs are damaged, which a scrub has computed again; 2: the backup is not complete, and why."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, help="where the backup is, or is to be")
    parser.add_argument("--prune", action="store_true", help="remove from it what the bucket does not have any more")
    options = parser.parse_args()
    try:
        with opened() as ours:
            found = Backup(ours.store, ours.objects, BackupFolder(options.folder), options.prune).run()
    except (Failure, OSError) as error:
        print(error, file=sys.stderr)
        return 2
    for key in found.damaged:
        print(f"damaged, not copied; `scrub` has it computed again: {key}")
    print(found.line)
    return 1 if found.damaged else 0


if __name__ == "__main__":
    sys.exit(main())

"""`python images/shared_lock.py LOCK...`: prints the entries that two or more of these locks have, with hashes."""

import sys
from collections import Counter
from pathlib import Path


def entries(lock: Path) -> list[str]:
    """A requirement and its hashes each, as they stand in the file."""
    found: list[str] = []
    for line in lock.read_text().splitlines(keepends=True):
        if line[0].isspace():
            found[-1] += line
        else:
            found.append(line)
    return found


def main(locks: list[Path]) -> None:
    counts = Counter(entry for lock in locks for entry in entries(lock))
    sys.stdout.writelines(sorted(entry for entry, count in counts.items() if count > 1))


if __name__ == "__main__":
    main([Path(argument) for argument in sys.argv[1:]])

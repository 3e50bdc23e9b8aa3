"""The committed locks, read."""

from pathlib import Path

from support.deployment import ROOT


def entries(lock: Path) -> dict[str, frozenset[str]]:
    """`name==version ; marker` -> its hashes."""
    joined = (ROOT / lock).read_text().replace("\\\n", " ")
    found: dict[str, frozenset[str]] = {}
    for line in joined.splitlines():
        requirement, *hashes = (part.strip() for part in line.split("--hash="))
        found[requirement] = frozenset(hashes)
    return found

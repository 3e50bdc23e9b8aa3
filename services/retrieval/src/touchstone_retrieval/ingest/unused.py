"""What lies in a source and belongs to none of its rows: nothing is left out in silence."""

from collections import Counter
from dataclasses import dataclass, field

from touchstone_retrieval.ingest.source import clean_key

MOST_NAMES = 100
"""That are kept for each reason."""


@dataclass(frozen=True)
class Unused:
    counts: Counter[str] = field(default_factory=Counter)
    """Reason -> how many."""
    names: dict[str, list[str]] = field(default_factory=dict)
    """Reason -> the names of the first ones."""

    def add(self, reason: str, name: str) -> None:
        self.counts[reason] += 1
        names = self.names.setdefault(reason, [])
        if len(names) < MOST_NAMES:
            names.append(clean_key(name))

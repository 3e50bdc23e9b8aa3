"""What a reason holds for: how many items of a source, and what the first of them are called."""

from collections import Counter
from dataclasses import dataclass, field

from touchstone_contracts.account import MOST_NAMES, Named, NamedByReason, shown_name


@dataclass(frozen=True)
class Reasons:
    counts: Counter[str] = field(default_factory=Counter)
    """Reason -> how many."""
    names: dict[str, list[str]] = field(default_factory=dict)
    """Reason -> the names of the first ones, as they are shown."""

    def add(self, reason: str, name: str) -> None:
        self.counts[reason] += 1
        names = self.names.setdefault(reason, [])
        if len(names) < MOST_NAMES:
            names.append(shown_name(name))

    def take(self, others: "Reasons", before: str) -> None:
        """All of `others`, with `before` in front of each name."""
        for reason, names in others.names.items():
            for name in names:
                self.add(reason, f"{before}{name}")
            self.counts[reason] += others.counts[reason] - len(names)

    def named(self) -> NamedByReason:
        return {
            reason: Named(count=count, names=tuple(self.names[reason])) for reason, count in sorted(self.counts.items())
        }

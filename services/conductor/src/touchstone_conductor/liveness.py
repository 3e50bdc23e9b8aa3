"""Whether the conductor still goes round. A loop that hangs answers scrapes for ever, so /healthz asks here."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field


@dataclass
class LastCycle:
    patience_seconds: float
    clock: Callable[[], float] = time.monotonic
    _ended_at: float = field(init=False)

    def __post_init__(self) -> None:
        self.note()

    def note(self) -> None:
        """A cycle ended, whichever servers answered: one that is away is no reason to restart the conductor."""
        self._ended_at = self.clock()

    def is_recent(self) -> bool:
        return self.clock() - self._ended_at <= self.patience_seconds

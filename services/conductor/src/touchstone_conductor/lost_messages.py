"""Tells messages that a broker has lost from those that a worker has just taken. Pure.

A lease that ran out before its step started: does its message still wait, behind busy workers, or is it lost? Messages
are counted against leases that have not started. Fewer messages than leases is no proof: a worker that took one asks
the object store first, and its report has to be received, so for a moment the step is in neither count. Among forty
workers some step always is. So the gap must show at every look for a while, and what it never fell below is lost."""

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Literal

Fate = Literal["waits", "lost", "unknown"]


@dataclass(frozen=True)
class Gap:
    since: datetime
    smallest: int
    """Messages missing at least, at any look since."""


@dataclass
class LostMessages:
    patience: timedelta
    _gaps: dict[str, Gap] = field(default_factory=dict)
    """By queue; those of the last round and of this one."""
    _looked_at: set[str] = field(default_factory=set)

    def begin_round(self) -> None:
        """A gap that nobody looked at in the round before may have been closed meanwhile."""
        self._gaps = {queue: gap for queue, gap in self._gaps.items() if queue in self._looked_at}
        self._looked_at = set()

    def fate(self, queue: str, *, unstarted: int, waiting: int, now: datetime) -> Fate:
        """Of the message of one lease in `queue` that ran out. The caller gives up a lease that is told to be lost."""
        self._looked_at.add(queue)
        missing = unstarted - waiting
        if missing <= 0:
            self._gaps.pop(queue, None)
            return "waits"
        known = self._gaps.get(queue, Gap(now, missing))
        smallest = min(known.smallest, missing)
        if now - known.since < self.patience:
            self._gaps[queue] = Gap(known.since, smallest)
            return "unknown"
        if smallest == 0:  # as many as were lost are given up; the rest must prove itself again
            self._gaps[queue] = Gap(now, missing)
            return "unknown"
        self._gaps[queue] = Gap(known.since, smallest - 1)
        return "lost"

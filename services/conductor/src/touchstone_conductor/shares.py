"""How many steps may be handed out: each is counted towards the share of a live worker that serves it. Pure.

Workers of two releases may live side by side and serve different versions. One limit for a whole queue would let steps
that only some of them serve keep the others idle; limits per channel alone would add up to too many. So a step may be
handed out if all that is handed out can be divided among the workers, to none more than its share."""

from collections import Counter, defaultdict
from collections.abc import Collection, Mapping
from copy import copy
from dataclasses import dataclass

from touchstone_contracts.messages import LiveWorker


@dataclass(frozen=True)
class Crew:
    """Workers that serve the same channels, all of one release."""

    queue: str
    channels: frozenset[str]


class Shares:
    """Channels of a queue that no live worker serves have the share of one worker, which is about to start."""

    def __init__(self, workers: Collection[LiveWorker], per_worker: int) -> None:
        self._per_worker = per_worker
        self._sizes = Counter(Crew(worker.queue, frozenset(worker.channels)) for worker in workers)
        self._held: defaultdict[Crew, Counter[str]] = defaultdict(Counter)
        """Steps that are counted towards each crew, by channel."""

    def take(self, queue: str, channel: str) -> bool:
        """Counts one more step of `channel`. False if there is no room for it; then nothing is counted."""
        return self._assign(queue, channel, set())

    def with_room(self, queue_of: Mapping[str, str]) -> set[str]:
        """Those channels of which one more step may be handed out. `queue_of`: the queue of each channel."""
        return {channel for channel, queue in queue_of.items() if self._copy().take(queue, channel)}

    def _copy(self) -> "Shares":
        other = copy(self)
        other._held = defaultdict(Counter, {crew: Counter(held) for crew, held in self._held.items()})
        return other

    def _assign(self, queue: str, channel: str, tried: set[Crew]) -> bool:
        """Looks for a crew with room, then for one where another step can be counted elsewhere (Kuhn's algorithm)."""
        for crew in self._crews(queue, channel):
            if crew in tried:
                continue
            tried.add(crew)
            if self._held[crew].total() < self._limit(crew) or self._moves_one(crew, tried):
                self._held[crew][channel] += 1
                return True
        return False

    def _moves_one(self, crew: Crew, tried: set[Crew]) -> bool:
        for channel in [channel for channel, count in self._held[crew].items() if count]:
            if self._assign(crew.queue, channel, tried):
                self._held[crew][channel] -= 1
                return True
        return False

    def _crews(self, queue: str, channel: str) -> list[Crew]:
        live = [crew for crew in self._sizes if channel in crew.channels]
        return live or [Crew(queue, frozenset())]

    def _limit(self, crew: Crew) -> int:
        return self._per_worker * (self._sizes[crew] or 1)

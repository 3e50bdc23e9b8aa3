"""One look at the database serves every open event stream: a task asks for what is new of all experiments that somebody
listens to, and wakes their listeners."""

import asyncio
import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field

from fastapi.concurrency import run_in_threadpool
from touchstone_contracts.problems import Transient
from touchstone_contracts.values import StepId
from touchstone_contracts.views import Event
from touchstone_runtime.logs import get_logger
from touchstone_store.database import Store
from touchstone_store.events import events_after, events_of_plans, unfinished_plans
from touchstone_store.steps import Progress, progress_of

from touchstone_api.busy import Busy

log = get_logger(__name__)

PROGRESS_SECONDS = 2.0
"""Progress is told at most this often."""
REMEMBERED = 500
"""Events of an experiment that are kept for its listeners; who is further behind reads the database."""

Told = Event | Progress


@dataclass(frozen=True)
class News:
    """Of the experiments that somebody listens to."""

    events: Mapping[str, list[Event]]
    unfinished: frozenset[str]
    """Those that had not ended before the events were read."""
    progress: Mapping[str, list[Progress]] | None
    """None: not looked at this time."""


@dataclass
class Channel:
    """What is known of one experiment while somebody listens to it."""

    position: int
    """The last event's id."""
    remembered_after: int
    """Every event after this id and up to `position` is remembered."""
    events: deque[Event] = field(default_factory=lambda: deque(maxlen=REMEMBERED))
    progress: list[Progress] = field(default_factory=list)
    finished: bool = False
    listeners: int = 0
    changed: asyncio.Event = field(default_factory=asyncio.Event)

    def take(self, events: Iterable[Event], finished: bool, progress: list[Progress] | None) -> None:
        for event in events:
            if len(self.events) == REMEMBERED:
                self.remembered_after = self.events[0].id
            self.events.append(event)
            self.position = event.id
        self.finished = finished
        self.progress = self.progress if progress is None else progress

    def wake(self) -> None:
        """Whoever waits looks again."""
        self.changed.set()
        self.changed = asyncio.Event()


@dataclass
class ProgressTeller:
    """What one stream has told of the steps at work: only what is new is told."""

    _told: dict[StepId, tuple[int, int, int | None]] = field(default_factory=dict)

    def news(self, found: list[Progress]) -> Iterator[Progress]:
        before, self._told = self._told, {each.step: (each.attempt, each.done, each.total) for each in found}
        for each in found:
            # A step that has just begun has nothing to tell beyond that.
            if before.get(each.step, (each.attempt, 0, None)) != self._told[each.step]:
                yield each


class EventHub:
    """`listen` gives what happens; all that listen share one task, which ends when nobody does."""

    def __init__(
        self, store: Store, poll_seconds: float, most_listeners: int, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._store, self._poll_seconds, self._most, self._clock = store, poll_seconds, most_listeners, clock
        self._channels: dict[str, Channel] = {}
        self._poller: asyncio.Task[None] | None = None
        self._joined = asyncio.Event()
        self._progress_at = float("-inf")
        self.looks = 0
        """At the database, for all listeners together."""

    @property
    def listeners(self) -> int:
        return sum(channel.listeners for channel in self._channels.values())

    def require_room(self) -> None:
        """Raises Busy."""
        if self.listeners >= self._most:
            raise Busy(f"{self.listeners} event streams are open already; close some, or poll the experiment")

    async def listen(self, experiment: str, after: int) -> AsyncIterator[tuple[Told, int]]:
        """The history after an id, then what is added to it, until the experiment ends; progress in between. Each with
        the id of the last event, where a reader resumes. Raises Busy."""
        self.require_room()
        teller = ProgressTeller()
        with self._channel(experiment, after) as channel:
            while True:
                changed, finished = channel.changed, channel.finished
                events = await self._events(channel, experiment, after)
                for event in events:
                    after = event.id
                    yield event, after
                for progress in () if finished else teller.news(channel.progress):
                    yield progress, after
                if events:
                    continue
                if finished:
                    return
                await changed.wait()

    @contextmanager
    def _channel(self, experiment: str, after: int) -> Iterator[Channel]:
        channel = self._channels.setdefault(experiment, Channel(after, after))
        channel.listeners += 1
        self._joined.set()
        if self._poller is None or self._poller.done():
            self._poller = asyncio.create_task(self._poll())
            self._poller.add_done_callback(_log_bug)
        try:
            yield channel
        finally:
            channel.listeners -= 1
            if not channel.listeners:
                del self._channels[experiment]
            if not self._channels and self._poller is not None:
                self._poller.cancel()
                self._poller = None

    async def _events(self, channel: Channel, experiment: str, after: int) -> list[Event]:
        if after < channel.remembered_after:
            return await run_in_threadpool(self._read, experiment, after)
        return [event for event in channel.events if event.id > after]

    def _read(self, experiment: str, after: int) -> list[Event]:
        with self._store.read() as session:
            return events_after(session, experiment, after)

    async def _poll(self) -> None:
        try:
            while self._channels:
                try:
                    await self._look()
                except Transient as outage:
                    log.warning("events.unreachable", error=str(outage))
                await self._pause()
        finally:
            # Nobody waits for ever, whatever ended it; those who came after it was told to end have another one.
            if self._poller is asyncio.current_task():
                for channel in self._channels.values():
                    channel.finished = True
                    channel.wake()

    async def _pause(self) -> None:
        """Until the next look, or until somebody comes who does not know yet whether there is anything to wait for."""
        with suppress(TimeoutError):
            async with asyncio.timeout(self._poll_seconds):
                await self._joined.wait()

    async def _look(self) -> None:
        self.looks += 1
        self._joined.clear()
        positions = {experiment: channel.position for experiment, channel in self._channels.items()}
        due = self._clock() - self._progress_at >= PROGRESS_SECONDS
        if due:
            self._progress_at = self._clock()
        news = await run_in_threadpool(self._news, positions, due)
        for experiment, position in positions.items():
            channel = self._channels.get(experiment)
            if channel is None or channel.position != position:  # nobody listens any more, or others do
                continue
            progress = None if news.progress is None else news.progress.get(experiment, [])
            events = news.events.get(experiment, [])
            channel.take(events, experiment not in news.unfinished and not events, progress)
            channel.wake()

    def _news(self, positions: Mapping[str, int], due: bool) -> News:
        with self._store.read() as session:
            unfinished = unfinished_plans(session, positions)
            progress = {plan: progress_of(session, plan) for plan in unfinished} if due else None
            return News(events_of_plans(session, positions, REMEMBERED), frozenset(unfinished), progress)


def _log_bug(poller: asyncio.Task[None]) -> None:
    if not poller.cancelled() and (error := poller.exception()):
        log.error("events.bug", error=str(error), exc_info=error)

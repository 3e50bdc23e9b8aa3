"""Limits how many requests do one kind of work at once. A few more wait for a slot; all others are refused."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import Request
from touchstone_contracts.problems import Transient

MOST_WAITING = 16
PATIENCE_SECONDS = 20.0


class Busy(Transient):
    """Answered with Retry-After; clients of ours try again by themselves."""

    code = "busy"
    title = "Too many requests at once"


class Slots:
    """At most `at_once` holders at a time. Waiting takes no thread."""

    def __init__(self, at_once: int, waiting: int = MOST_WAITING, patience: float = PATIENCE_SECONDS) -> None:
        self._free, self._most_waiting, self._patience = asyncio.Semaphore(at_once), waiting, patience
        self.waiting = 0

    @asynccontextmanager
    async def one(self) -> AsyncIterator[None]:
        """Raises Busy if too many wait already, or if no slot becomes free in time."""
        if self._free.locked() and self.waiting >= self._most_waiting:
            raise Busy(f"{self.waiting} requests like this one are waiting already; try again")
        self.waiting += 1
        try:
            async with asyncio.timeout(self._patience):
                await self._free.acquire()
        except TimeoutError:
            raise Busy(f"others like this one have taken {self._patience:.0f} s; try again") from None
        finally:
            self.waiting -= 1
        try:
            yield
        finally:
            self._free.release()


async def planning_slot(request: Request) -> AsyncIterator[None]:
    """A dependency of every route that plans: few plans are made at once, and none on the event loop."""
    slots: Slots = request.app.state.planning
    async with slots.one():
        yield

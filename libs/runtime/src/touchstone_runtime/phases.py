"""Where a step's time goes: loading, storing, and computing, which is everything else.

What loads or stores says so itself (`with phase("load"): ...`); outside a measured step that costs next to nothing."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Literal

Phase = Literal["load", "store"]
PHASES = ("load", "compute", "store")
"""Of a worker's step. The time in the queue before them is the conductor's to measure."""


@dataclass
class PhaseClock:
    """Wall clock of one step, in seconds."""

    began: float = field(default_factory=lambda: time.perf_counter())
    ended: float | None = None
    inside: bool = False
    loading: float = 0.0
    storing: float = 0.0

    def elapsed(self) -> float:
        return (time.perf_counter() if self.ended is None else self.ended) - self.began

    def by_phase(self) -> dict[str, float]:
        """Seconds of each of PHASES so far; together they are `elapsed`."""
        computing = max(0.0, self.elapsed() - self.loading - self.storing)
        return {"load": self.loading, "compute": computing, "store": self.storing}


# Threads that a step starts begin without a clock: their loading overlaps with the step's own time and is not added.
_clock: ContextVar[PhaseClock | None] = ContextVar("phase clock", default=None)


@contextmanager
def measured() -> Iterator[PhaseClock]:
    """Measures the block and every `phase` inside it."""
    clock = PhaseClock()
    token = _clock.set(clock)
    try:
        yield clock
    finally:
        clock.ended = time.perf_counter()
        _clock.reset(token)


@contextmanager
def phase(name: Phase) -> Iterator[None]:
    """Counts the block as loading or storing. Also a decorator. A phase inside another belongs to the outer one."""
    clock = _clock.get()
    if clock is None or clock.inside:
        yield
        return
    clock.inside, began = True, time.perf_counter()
    try:
        yield
    finally:
        seconds = time.perf_counter() - began
        clock.inside = False
        if name == "load":
            clock.loading += seconds
        else:
            clock.storing += seconds

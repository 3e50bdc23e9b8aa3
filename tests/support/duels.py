"""A duel: our code against a peer's public code on the same work in the same run, in CPU seconds."""

import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Generic, NotRequired, TypedDict, TypeVar

OursT = TypeVar("OursT")
PeerT = TypeVar("PeerT")
ResultT = TypeVar("ResultT")


@dataclass(frozen=True)
class Duel(Generic[OursT, PeerT]):
    """Both sides take no arguments: what they need was loaded before, so that only the work itself is timed."""

    ours: Callable[[], OursT]
    peer: Callable[[], PeerT]
    quality: Callable[[OursT, PeerT], bool]
    """The quality clause: whether our result is as good as the peer's. Asked after every repetition, not timed."""
    repetitions: int = 5


@dataclass(frozen=True)
class Elsewhere(Generic[ResultT]):
    """What a side found in a process of its own, whose time and memory are then its own too."""

    result: ResultT
    cpu_s: float
    peak_mb: float


@dataclass(frozen=True)
class Repetition:
    ours_cpu_s: float
    peer_cpu_s: float
    quality_ok: bool
    ours_peak_mb: float | None = None
    peer_peak_mb: float | None = None
    """Of sides that ran elsewhere."""

    @property
    def ratio(self) -> float:
        """How many times less CPU time ours took."""
        return self.peer_cpu_s / self.ours_cpu_s


class RequestTimes(TypedDict):
    """Of one kind of request: milliseconds from sending it to its whole answer."""

    ours_p50_ms: float
    ours_p99_ms: float
    peer_p50_ms: float
    peer_p99_ms: float


class PeakMemory(TypedDict):
    """Of one kind of worker: the most that its process held on the miniverse's number of images and on ten times it."""

    miniverse_mb: float
    tenfold_mb: float
    ratio: float


class Entry(TypedDict):
    """One benchmark in bench.json."""

    name: str
    ratio: float
    spread: tuple[float, float]
    quality_ok: bool
    ours_cpu_s: float
    peer_cpu_s: float
    ours_peak_mb: NotRequired[float]
    peer_peak_mb: NotRequired[float]
    requests: NotRequired[dict[str, RequestTimes]]
    """Where a benchmark times requests to processes of their own."""
    workers: NotRequired[dict[str, PeakMemory]]
    """Of a benchmark of memory, whose two sides are both ours: on ten times as many images and on as many."""


def repeat(duel: Duel[OursT, PeerT]) -> Iterator[Repetition]:
    """Interleaved: ours, peer, ours, peer ... so that a busy machine disturbs both alike."""
    for _ in range(duel.repetitions):
        ours, ours_cpu_s, ours_peak_mb = _measured(duel.ours)
        peer, peer_cpu_s, peer_peak_mb = _measured(duel.peer)
        yield Repetition(ours_cpu_s, peer_cpu_s, duel.quality(ours, peer), ours_peak_mb, peer_peak_mb)


def _measured(work: Callable[[], ResultT]) -> tuple[ResultT, float, float | None]:
    """CPU seconds of the whole process, all threads together; and the peak of memory where the work ran elsewhere."""
    start = time.process_time()
    result = work()
    if isinstance(result, Elsewhere):
        return result, result.cpu_s, result.peak_mb
    return result, time.process_time() - start, None


def summarise(name: str, repetitions: list[Repetition]) -> Entry:
    """Medians over repetitions; the spread is the smallest and the largest ratio, memory the largest."""
    ratios = [repetition.ratio for repetition in repetitions]
    entry = Entry(
        name=name,
        ratio=statistics.median(ratios),
        spread=(min(ratios), max(ratios)),
        quality_ok=all(repetition.quality_ok for repetition in repetitions),
        ours_cpu_s=statistics.median(repetition.ours_cpu_s for repetition in repetitions),
        peer_cpu_s=statistics.median(repetition.peer_cpu_s for repetition in repetitions),
    )
    ours = [repetition.ours_peak_mb for repetition in repetitions if repetition.ours_peak_mb is not None]
    peer = [repetition.peer_peak_mb for repetition in repetitions if repetition.peer_peak_mb is not None]
    if ours and peer:
        entry |= {"ours_peak_mb": max(ours), "peer_peak_mb": max(peer)}
    return entry

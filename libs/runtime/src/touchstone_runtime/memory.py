"""Memory that ran out: a failure that may pass, on a worker that goes on; and how much of it there is."""

import gc
import os
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from touchstone_contracts.messages import HostMemory
from touchstone_contracts.problems import Transient

REMEDY = (
    "take a smaller batch (batch_size or micro_batch_size of a recipe, batch_size of a sampler) or let fewer workers "
    "share one device"
)
UNTYPED = (
    "DefaultCPUAllocator: ",
    "CUDA error: out of memory",
    "CUBLAS_STATUS_ALLOC_FAILED",
    "CUDNN_STATUS_ALLOC_FAILED",
    "DataLoader worker (pid",
)
"""Parts of the messages of libraries that have no exception of their own for it. A process that loads images is ended
by the system alone: where memory, or memory that processes share, ran out."""
UNITS = {"bytes": 1, "B": 1, "KiB": 2**10, "MiB": 2**20, "GiB": 2**30, "TiB": 2**40, "PiB": 2**50}
ASKED = re.compile(r"(?:[Tt]ried|Unable) to allocate (?P<amount>\d+(?:\.\d+)?) (?P<unit>[KMGTP]iB|bytes|B)\b")
CONTROL_GROUP = Path("/sys/fs/cgroup")
LONGEST = 300
"""Characters of the library's message that are passed on; the rest is about its settings."""


class OutOfMemory(Transient):
    """Another worker may have held the memory: the step is tried again, three times at most as any other."""

    code = "out_of_memory"
    title = "Out of memory"


def nothing() -> None:
    """For workers that hold nothing beyond Python's own objects."""


@dataclass(frozen=True)
class Memory:
    """How a worker's numerical library says that memory ran out, and how to give back what it keeps."""

    errors: tuple[type[Exception], ...] = ()
    """Beside Python's own MemoryError."""
    release: Callable[[], None] = nothing
    """Drops loaded models and the library's own reserve."""

    def translated(self, error: Exception) -> Exception:
        """OutOfMemory where `error` or what caused it is memory that ran out; else `error` itself."""
        cause = next((cause for cause in causes(error) if self._ran_out(cause)), None)
        if cause is None:
            return error
        said = str(cause).partition("\n")[0][:LONGEST].rstrip(". ") or type(cause).__name__
        asked = asked_bytes(str(cause))
        when = "" if asked is None else f" when it asked for {asked:,} bytes"
        return OutOfMemory(f"memory ran out{when} ({said}): {REMEDY}")

    def give_back(self) -> None:
        """Call it once no traceback holds the failed step's arrays any more."""
        gc.collect()
        self.release()

    def _ran_out(self, error: BaseException) -> bool:
        if isinstance(error, (MemoryError, *self.errors)):
            return True
        return isinstance(error, RuntimeError) and any(part in str(error) for part in UNTYPED)


def asked_bytes(message: str) -> int | None:
    """What torch's and numpy's messages say was asked for; None where they say nothing."""
    found = ASKED.search(message)
    return None if found is None else round(float(found["amount"]) * UNITS[found["unit"]])


def host_memory() -> HostMemory | None:
    """Of this process, and what it could still take. None where the system does not tell (it is not Linux)."""
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
        free = _available()
    except (OSError, ValueError, IndexError):
        return None
    return HostMemory(held=pages * os.sysconf("SC_PAGE_SIZE"), free=min(free, _left_to_container(free)))


def _available() -> int:
    """Raises ValueError."""
    for line in Path("/proc/meminfo").read_text().splitlines():
        if line.startswith("MemAvailable:"):
            return int(line.split()[1]) * 1024
    raise ValueError("no MemAvailable")


def _left_to_container(otherwise: int) -> int:
    """Under a limit of control groups, version 2. Cached files that nobody uses are free, as Kubernetes counts it."""
    try:
        most = int((CONTROL_GROUP / "memory.max").read_text())
        used = int((CONTROL_GROUP / "memory.current").read_text())
        counts = dict(line.split() for line in (CONTROL_GROUP / "memory.stat").read_text().splitlines())
        return max(0, most - used + int(counts["inactive_file"]))
    except (OSError, ValueError, KeyError):  # there is none, or its limit is "max"
        return otherwise


ONLY_PYTHON = Memory()
"""Of workers without a numerical library."""


def causes(error: BaseException) -> Iterator[BaseException]:
    """The error, what it was raised from or during, and so on: adapters wrap their libraries' errors."""
    current: BaseException | None = error
    while current is not None:
        yield current
        current = current.__cause__ or current.__context__

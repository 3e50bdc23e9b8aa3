"""Memory that ran out: a failure that may pass, on a worker that goes on."""

import gc
from collections.abc import Callable, Iterator
from dataclasses import dataclass

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
)
"""Parts of the messages of libraries that have no exception of their own for it."""
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
        cause = next((cause for cause in _causes(error) if self._ran_out(cause)), None)
        if cause is None:
            return error
        said = str(cause).partition("\n")[0][:LONGEST].rstrip(". ") or type(cause).__name__
        return OutOfMemory(f"memory ran out ({said}): {REMEDY}")

    def give_back(self) -> None:
        """Call it once no traceback holds the failed step's arrays any more."""
        gc.collect()
        self.release()

    def _ran_out(self, error: BaseException) -> bool:
        if isinstance(error, (MemoryError, *self.errors)):
            return True
        return isinstance(error, RuntimeError) and any(part in str(error) for part in UNTYPED)


ONLY_PYTHON = Memory()
"""Of workers without a numerical library."""


def _causes(error: BaseException) -> Iterator[BaseException]:
    """The error, what it was raised from or during, and so on: adapters wrap their libraries' errors."""
    current: BaseException | None = error
    while current is not None:
        yield current
        current = current.__cause__ or current.__context__

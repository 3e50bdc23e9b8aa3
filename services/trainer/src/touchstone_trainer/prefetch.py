"""Batches that are prepared while others are worked on: by threads, or by processes where there are cores to spare."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset
from touchstone_runtime.prefetch import made_ahead

AHEAD = 2
"""Batches that each thread or process prepares ahead."""

Make = Callable[[np.ndarray], torch.Tensor]
"""Positions of images -> their pixels."""


@dataclass(frozen=True)
class Loader:
    """Neither number changes what comes out, nor its order."""

    threads: int = 1
    processes: int = 0
    """0: none, the threads do the work."""

    def ahead(self, make: Make, batches: Sequence[np.ndarray]) -> Iterator[torch.Tensor]:
        """`make` of each of `batches`, in order. At most AHEAD for each thread or process wait in memory."""
        if self.processes:
            return self._by_processes(make, batches)
        return made_ahead(make, batches, threads=self.threads, ahead=AHEAD * self.threads)

    def _by_processes(self, make: Make, batches: Sequence[np.ndarray]) -> Iterator[torch.Tensor]:
        yield from DataLoader(
            Made(make, batches),
            batch_size=None,
            num_workers=min(self.processes, len(batches)),
            prefetch_factor=AHEAD,
            # What is not said to be its own it draws from torch's global generator, which training draws from too.
            generator=torch.Generator(),
            # A started process has the images (an open file, or pixels) as they are; a fresh one would copy them.
            multiprocessing_context="fork",
        )


IN_ONE_THREAD = Loader()


class Made(Dataset[torch.Tensor]):
    """Batch by batch."""

    def __init__(self, make: Make, batches: Sequence[np.ndarray]) -> None:
        self._make, self._batches = make, batches

    def __len__(self) -> int:
        return len(self._batches)

    def __getitem__(self, number: int) -> torch.Tensor:
        return self._make(self._batches[number])

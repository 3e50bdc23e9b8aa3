"""One run on several devices: each process embeds its share of every batch, all see the same loss (section 4.2)."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import distributed, nn
from torch.nn.parallel import DistributedDataParallel


@dataclass(frozen=True)
class Processes:
    rank: int = 0
    count: int = 1

    def share(self, batch: np.ndarray) -> np.ndarray:
        """This process's part of a batch; shares are equally long, the last image fills up the last ones."""
        length = -(-len(batch) // self.count)
        positions = np.arange(self.rank * length, (self.rank + 1) * length)
        return batch[np.minimum(positions, len(batch) - 1)]

    def wrap(self, module: nn.Module) -> nn.Module:
        """Averages gradients over processes in the backward pass."""
        # Some towers hold parameters that no output depends on (an unused pooler).
        return DistributedDataParallel(module, find_unused_parameters=True) if self.count > 1 else module

    def gather(self, share: torch.Tensor) -> torch.Tensor:
        """The outputs of all processes in order; gradients reach this process's share alone."""
        if self.count == 1:
            return share
        # Every process computes the whole loss and sends back its share's gradient: the sum over processes is the
        # gradient, and DistributedDataParallel takes the mean.
        share.register_hook(lambda gradient: self.count * gradient)
        parts = [torch.empty_like(share) for _ in range(self.count)]
        distributed.all_gather(parts, share.detach().contiguous())
        parts[self.rank] = share
        return torch.cat(parts)


ALONE = Processes()

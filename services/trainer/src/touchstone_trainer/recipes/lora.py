"""Low-rank updates of the image tower's matrices, and the head, trained with cross-entropy: LoRA, arXiv 2106.09685.

As parametrisations, not as peft's layers: open_clip's attention reads `in_proj_weight` and `out_proj.weight` as plain
tensors, past any layer that replaces them. The update is scaled by 1: with AdamW, LoRA's alpha acts as the learning
rate does."""

from collections.abc import Iterator
from operator import attrgetter

import torch
from torch import nn
from torch.nn.utils.parametrize import register_parametrization
from touchstone_contracts.identity import derive_seed

from touchstone_trainer.checkpoints import Weights, snapshot
from touchstone_trainer.recipes.cross_entropy import CrossEntropyLearner
from touchstone_trainer.recipes.subject import Subject


class LowRankUpdate(nn.Module):
    """weight + up @ down; kernels of convolutions are seen as (out, in x height x width). Starts as no change."""

    def __init__(self, weight: torch.Tensor, rank: int, generator: torch.Generator) -> None:
        super().__init__()
        rows, columns = matrix_shape(weight)
        down = torch.randn(rank, columns, generator=generator) / columns**0.5
        self.up = nn.Parameter(torch.zeros(rows, rank, device=weight.device))
        self.down = nn.Parameter(down.to(weight.device))

    def forward(self, weight: torch.Tensor) -> torch.Tensor:
        return weight + (self.up @ self.down).view(weight.shape)


class LoRALearner(CrossEntropyLearner):
    def __init__(self, subject: Subject, rank: int, seed: int) -> None:
        super().__init__(subject)
        self.names = tuple(self.classifier.state_dict())
        self.classifier.tower.requires_grad_(False)
        generator = torch.Generator().manual_seed(derive_seed(seed, "low-rank updates"))
        for module, name in list(matrices(self.classifier.tower, rank)):
            register_parametrization(module, name, LowRankUpdate(getattr(module, name), rank, generator))

    def weights(self) -> Weights:
        """With the updates merged, under the names of the encoder's own tower."""
        with torch.no_grad():
            return snapshot({name: attrgetter(name)(self.classifier) for name in self.names})


def matrices(tower: nn.Module, rank: int) -> Iterator[tuple[nn.Module, str]]:
    """The weights of linear layers, attention and convolutions for which `rank` is a restriction."""
    for module in tower.modules():
        name = "in_proj_weight" if isinstance(module, nn.MultiheadAttention) else "weight"
        if isinstance(module, nn.Linear | nn.Conv2d | nn.MultiheadAttention):
            weight = getattr(module, name)
            if weight is not None and rank < min(matrix_shape(weight)):
                yield module, name


def matrix_shape(weight: torch.Tensor) -> tuple[int, int]:
    return len(weight), weight[0].numel()

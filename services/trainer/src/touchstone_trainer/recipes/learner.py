"""What a recipe brings to the training loop: what is trained, what the loss is, what is stored."""

from abc import ABC, abstractmethod
from typing import Self

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from touchstone_trainer.checkpoints import Weights, copy_weights
from touchstone_trainer.classifier import ImageClassifier, keep_batch_statistics


class Learner(nn.Module, ABC):
    """Trains every parameter that requires a gradient. `classifier` may share modules with what is trained."""

    def __init__(self, classifier: ImageClassifier) -> None:
        super().__init__()
        self.classifier = classifier

    def targets(self, class_ids: torch.Tensor, rng: np.random.Generator) -> torch.Tensor:
        """What each image of a batch shall come out as, (batch,): its class, unless the recipe says more."""
        return class_ids

    @abstractmethod
    def outputs(self, pixels: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        """(batch, ...): each image's own part of the loss, whatever else is in its batch."""

    def loss(self, outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        """The mean over a whole batch, from float32 outputs."""
        return functional.cross_entropy(outputs, targets)

    def weights(self) -> Weights:
        """A snapshot as it is stored: tower and head of a classifier, or the head alone where the tower is frozen."""
        return copy_weights(self.classifier)

    def train(self, mode: bool = True) -> Self:
        super().train(mode)
        keep_batch_statistics(self)
        return self

"""Fine-tuning with plain cross-entropy: image tower and text-initialised head, both trained (paper section 4.2).

No flip, no colour jitter, no weight averaging: as the paper's code ran."""

import copy

import torch

from touchstone_trainer.recipes.learner import Learner
from touchstone_trainer.recipes.subject import Subject


class CrossEntropyLearner(Learner):
    def __init__(self, subject: Subject) -> None:
        super().__init__(copy.deepcopy(subject.classifier).requires_grad_(True))

    def outputs(self, pixels: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        """Logits (batch, classes)."""
        logits: torch.Tensor = self.classifier(pixels)
        return logits

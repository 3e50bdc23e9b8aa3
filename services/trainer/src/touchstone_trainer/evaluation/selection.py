"""Which run of a learning-rate grid is tested: decided on validation alone."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from touchstone_contracts.layout import Adaptation
from touchstone_contracts.problems import Invalid
from touchstone_contracts.steps import EncoderAdapted


@dataclass(frozen=True)
class Candidate:
    adaptation: Adaptation
    result: EncoderAdapted

    @property
    def validation_accuracy(self) -> float:
        """Of the epoch whose weights were kept."""
        return max(epoch.validation_accuracy for epoch in self.result.epochs)


def select_run(candidates: Sequence[Candidate], seed: int) -> Candidate:
    """The run of `seed` at the learning rate with the best mean validation accuracy over seeds; ties: the smaller.

    A recipe without a learning rate has one run per seed.
    Raises Invalid when that cell of the grid is missing."""
    by_rate: dict[float | None, list[float]] = {}
    for candidate in candidates:
        by_rate.setdefault(candidate.adaptation.learning_rate, []).append(candidate.validation_accuracy)
    best = min(by_rate, key=lambda rate: (-float(np.mean(by_rate[rate])), rate or 0.0))
    for candidate in candidates:
        if (candidate.adaptation.learning_rate, candidate.adaptation.seed) == (best, seed):
            return candidate
    raise Invalid(f"no adaptation with learning rate {best} and seed {seed}", code="grid_incomplete")

"""What a difference owes to the learning rates that the arms chose on validation.

The arms are compared once more with each other's choice. That happens on validation, where every cell of the grid has
been measured: the test split is read once, at the chosen rate."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from touchstone_contracts.views import LearningRateCheck

Grid = Mapping[float, float]
"""Learning rate -> validation accuracy, mean over seeds."""


@dataclass(frozen=True, slots=True)
class Choices:
    """Both arms at one target and size."""

    target: str
    size: int
    chosen_a: float
    chosen_b: float
    grid_a: Grid
    grid_b: Grid

    @property
    def own(self) -> float:
        """Accuracy(a) - accuracy(b), each at its own choice."""
        return self.grid_a[self.chosen_a] - self.grid_b[self.chosen_b]

    @property
    def swapped(self) -> float:
        """The same, each at the other's choice."""
        return self.grid_a[self.chosen_b] - self.grid_b[self.chosen_a]


def check_learning_rates(choices: Sequence[Choices], delta: float) -> tuple[LearningRateCheck, ...]:
    """One check per target and size where the choices differ, then one over all; nothing where they never differ."""
    different = [entry for entry in choices if entry.chosen_a != entry.chosen_b]
    if not different:
        return ()
    own, swapped = (sum(values) / len(choices) for values in zip(*((e.own, e.swapped) for e in choices), strict=True))
    overall = LearningRateCheck(own=own, swapped=swapped, vanishes=vanishes(own, swapped, delta))
    return (*(_at_one_size(entry, delta) for entry in different), overall)


def _at_one_size(entry: Choices, delta: float) -> LearningRateCheck:
    return LearningRateCheck(
        target=entry.target,
        size=entry.size,
        chosen_a=entry.chosen_a,
        chosen_b=entry.chosen_b,
        own=entry.own,
        swapped=entry.swapped,
        vanishes=vanishes(entry.own, entry.swapped, delta),
    )


def vanishes(own: float, swapped: float, delta: float) -> bool:
    """A difference that matters with the own choices and is smaller than `delta`, or reversed, with the other's."""
    along = swapped if own > 0 else -swapped
    return abs(own) >= delta and along < delta

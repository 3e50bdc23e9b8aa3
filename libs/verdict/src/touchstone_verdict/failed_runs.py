"""Runs that failed: one seed of many whose training went wrong, as its validation accuracy shows.

A run has failed if its validation accuracy is either

- below the median of the other seeds of its arm and size by more than FAR usual distances, and by LEAST; or
- below the untouched encoder by more than BELOW usual distances, and by LEAST_BELOW, while another seed of its arm and
  size is not below it.

The usual distance is that of a run to the median of its arm and size: the median over the seeds, then over all arms,
targets and sizes (of an even number the smaller one, so that one failure among two arms does not hide itself). Of
normal accuracies it is about half a standard deviation. Test accuracy, which the verdict is about, has no part in it.
An arm that fails with every seed is no failed run but a bad arm, and is judged as it is."""

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from statistics import median_low

import numpy as np
import numpy.typing as npt
from touchstone_contracts.views import FailedRun

from touchstone_verdict.curves import Curves

Array = npt.NDArray[np.float64]

FAR, LEAST = 10.0, 0.1
BELOW, LEAST_BELOW = 6.0, 0.05
"""Usual distances, and accuracy."""


@dataclass(frozen=True)
class Validation:
    """Of one arm at one target."""

    sizes: tuple[int, ...]
    seeds: tuple[int, ...]
    """Their numbers, in the order of the curves."""
    accuracy: Array
    """(sizes, seeds)"""

    def of_first_seeds(self, count: int) -> "Validation":
        return Validation(self.sizes, self.seeds[:count], self.accuracy[:, :count])


@dataclass(frozen=True)
class Failure:
    target: str
    arm: str
    size: int
    seed: int
    """Its number."""
    position: int
    """Of the seed among the arm's seeds, from 0."""
    validation: float
    others: float
    """Median of the arm's other seeds."""

    def described(self, untouched: Mapping[str, float]) -> FailedRun:
        return FailedRun(
            target=self.target,
            arm=self.arm,
            size=self.size,
            seed=self.seed,
            validation=self.validation,
            others=self.others,
            untouched=untouched.get(self.target),
        )


Cell = tuple[str, str]
"""(target, arm)"""


def find_failures(validation: Mapping[Cell, Validation], untouched: Mapping[str, float]) -> tuple[Failure, ...]:
    """`untouched`: target -> validation accuracy of the encoder as it is, where it is known."""
    several = {cell: found for cell, found in sorted(validation.items()) if found.accuracy.shape[1] > 1}
    distances = [distance for found in several.values() for distance in _distances(found.accuracy)]
    usual = median_low(distances) if distances else 0.0
    return tuple(
        failure
        for (target, arm), found in several.items()
        for failure in _failures(target, arm, found, usual, untouched.get(target, -np.inf))
    )


def _failures(target: str, arm: str, found: Validation, usual: float, untouched: float) -> Iterator[Failure]:
    others = _others(found.accuracy)
    apart = others - found.accuracy > max(FAR * usual, LEAST)
    some_are_not_below = (found.accuracy >= untouched).any(axis=1, keepdims=True)
    below = (found.accuracy < untouched - max(BELOW * usual, LEAST_BELOW)) & some_are_not_below
    for size, position in np.argwhere(apart | below).tolist():
        yield Failure(
            target=target,
            arm=arm,
            size=found.sizes[size],
            seed=found.seeds[position],
            position=position,
            validation=float(found.accuracy[size, position]),
            others=float(others[size, position]),
        )


def _distances(accuracy: Array) -> list[float]:
    """By size: the median distance of a run to the median of all."""
    apart = np.abs(accuracy - np.median(accuracy, axis=1, keepdims=True))
    return [float(distance) for distance in np.median(apart, axis=1)]


def _others(accuracy: Array) -> Array:
    """(sizes, seeds): the median of the other seeds."""
    seeds = accuracy.shape[1]
    medians = [np.median(np.delete(accuracy, seed, axis=1), axis=1) for seed in range(seeds)]
    return np.stack(medians, axis=1)


def without_failures(curves: Curves, failures: Collection[Failure], together: Collection[str]) -> Curves:
    """Without the seeds of `failures`, at all sizes of their arm and target: sizes of one seed belong together. Arms
    `together` are compared seed by seed and lose the same seeds everywhere. An arm that would lose every seed keeps
    them all."""
    lost: dict[Cell, set[int]] = {}
    for failure in failures:
        lost.setdefault((failure.target, failure.arm), set()).add(failure.position)
    of_all = set().union(*(seeds for (_, arm), seeds in lost.items() if arm in together))
    found = {}
    for (target, metric, arm), curve in curves.items():
        seeds = of_all if arm in together else lost.get((target, arm), set())
        found[target, metric, arm] = curve.without_seeds(seeds) if 0 < len(seeds) < curve.correct.shape[1] else curve
    return found

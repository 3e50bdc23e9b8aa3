"""What the verdict is computed from: which test images an arm got right, at every size and seed."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from touchstone_verdict.intervals import Components, Correctness, components


@dataclass(frozen=True)
class Curve:
    """One arm at one target in one metric."""

    sizes: tuple[int, ...]
    """Ascending; only those the arm reached."""
    correct: npt.NDArray[np.bool_]
    """(sizes, seeds, images)"""

    def __post_init__(self) -> None:
        if self.correct.ndim != 3 or len(self.correct) != len(self.sizes) or min(self.correct.shape) < 1:
            raise ValueError(f"correctness of shape {self.correct.shape} does not fit {len(self.sizes)} sizes")

    def averaged(self, sizes: Iterable[int]) -> Correctness:
        """(seeds, images): a seed is one nested draw, so its sizes belong together and are averaged first."""
        chosen = [self.sizes.index(size) for size in sizes]
        averaged: Correctness = self.correct[chosen].mean(axis=0, dtype=np.float64)
        return averaged


Curves = Mapping[tuple[str, str, str], Curve]
"""(target, metric, arm) -> curve. A missing key: the arm reached no size there, or has not finished."""


def shared_sizes(curves: Curves, target: str, metric: str, a: str, b: str) -> tuple[int, ...]:
    """Sizes both arms reached, ascending."""
    curve_a, curve_b = curves.get((target, metric, a)), curves.get((target, metric, b))
    if curve_a is None or curve_b is None:
        return ()
    return tuple(size for size in curve_a.sizes if size in curve_b.sizes)


def compared(curves: Curves, target: str, metric: str, a: str, b: str, size: int | None) -> Components | None:
    """a against b at one size, or (None) over every size both reached; None where there is no such size."""
    sizes = shared_sizes(curves, target, metric, a, b)
    if size is not None:
        sizes = tuple(reached for reached in sizes if reached == size)
    if not sizes:
        return None
    return components(curves[target, metric, a].averaged(sizes), curves[target, metric, b].averaged(sizes))


def paired_by_seed(curves: Curves, target: str, metric: str, a: str, b: str) -> Correctness | None:
    """(seeds, images): a minus b over every size both reached; None where there is no such size."""
    sizes = shared_sizes(curves, target, metric, a, b)
    if not sizes:
        return None
    return curves[target, metric, a].averaged(sizes) - curves[target, metric, b].averaged(sizes)


def compared_by_class(
    curves: Curves, target: str, metric: str, a: str, b: str, labels: npt.NDArray[np.int32]
) -> dict[int, Components]:
    """a against b over every size both reached, on the test images of one class each; `labels` (images,)."""
    sizes = shared_sizes(curves, target, metric, a, b)
    if not sizes:
        return {}
    of_a, of_b = curves[target, metric, a].averaged(sizes), curves[target, metric, b].averaged(sizes)
    return {int(label): components(of_a[:, labels == label], of_b[:, labels == label]) for label in np.unique(labels)}


def against_baseline(curves: Curves, target: str, metric: str, arm: str, baseline: str) -> Components | None:
    """An arm, over all its sizes, against the untouched encoder (its only size is 0)."""
    curve, untouched = curves.get((target, metric, arm)), curves.get((target, metric, baseline))
    if curve is None or untouched is None:
        return None
    return components(curve.averaged(curve.sizes), untouched.averaged(untouched.sizes))

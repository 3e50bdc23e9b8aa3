"""What the verdict is computed from: which test images an arm got right, at every size and seed; and accuracies as they
might have come out with other seeds and other test images."""

import math
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from touchstone_verdict.clusters import Clusters, number_of_clusters
from touchstone_verdict.intervals import Components, Correctness, SeedSpread, components, seed_spread

Array = npt.NDArray[np.float64]

DRAWS = 1000
WEIGHTS_AT_ONCE = 2_000_000
"""Numbers: 16 MB. All draws of 50,000 test images at once would take 800 MB."""
FEWEST_DRAWS_AT_ONCE = 16


@dataclass(frozen=True)
class Curve:
    """One arm at one target in one metric."""

    sizes: tuple[int, ...]
    """Ascending; only those the arm reached."""
    correct: npt.NDArray[np.bool_]
    """(sizes, seeds, images)"""
    clusters: Clusters | None = None
    """Of the test images; None: each was drawn by itself."""

    def __post_init__(self) -> None:
        if self.correct.ndim != 3 or len(self.correct) != len(self.sizes) or min(self.correct.shape) < 1:
            raise ValueError(f"correctness of shape {self.correct.shape} does not fit {len(self.sizes)} sizes")
        if self.clusters is not None and self.clusters.shape != self.correct.shape[2:]:
            raise ValueError(f"{self.correct.shape[2]} test images have {len(self.clusters)} clusters")

    def averaged(self, sizes: Iterable[int]) -> Correctness:
        """(seeds, images): a seed is one nested draw, so its sizes belong together and are averaged first."""
        chosen = [self.sizes.index(size) for size in sizes]
        averaged: Correctness = self.correct[chosen].mean(axis=0, dtype=np.float64)
        return averaged

    def without_seeds(self, positions: Collection[int]) -> "Curve":
        """`positions`: of the seeds, in their order, from 0."""
        kept = [position for position in range(self.correct.shape[1]) if position not in positions]
        return replace(self, correct=self.correct[:, kept])


Curves = Mapping[tuple[str, str, str], Curve]
"""(target, metric, arm) -> curve. A missing key: the arm reached no size there, or has not finished."""


def first_seeds(curves: Curves, count: int) -> dict[tuple[str, str, str], Curve]:
    """The same curves, of the first seeds alone."""
    return {key: replace(curve, correct=curve.correct[:, :count]) for key, curve in curves.items()}


def shared_sizes(curves: Curves, target: str, metric: str, a: str, b: str) -> tuple[int, ...]:
    """Sizes both arms reached, ascending."""
    curve_a, curve_b = curves.get((target, metric, a)), curves.get((target, metric, b))
    if curve_a is None or curve_b is None:
        return ()
    return tuple(size for size in curve_a.sizes if size in curve_b.sizes)


def compared(
    curves: Curves, target: str, metric: str, a: str, b: str, size: int | None, *, paired: bool = False
) -> Components | None:
    """a against b at one size, or (None) over every size both reached; None where there is no such size. `paired`: seed
    by seed."""
    sizes = _compared_sizes(curves, target, metric, a, b, size)
    if not sizes:
        return None
    curve_a, curve_b = curves[target, metric, a], curves[target, metric, b]
    return components(curve_a.averaged(sizes), curve_b.averaged(sizes), curve_a.clusters, paired=paired)


def _compared_sizes(curves: Curves, target: str, metric: str, a: str, b: str, size: int | None) -> tuple[int, ...]:
    """One size, or (None) every size that both reached."""
    return tuple(reached for reached in shared_sizes(curves, target, metric, a, b) if size in (None, reached))


def seed_spreads(
    curves: Curves,
    targets: Iterable[str],
    metric: str,
    pair: tuple[str, str],
    size: int | None,
    arms: Iterable[str],
    paired: bool,
) -> dict[tuple[str, str], SeedSpread]:
    """(target, arm) -> spread between seeds: of `arms`, averaged over the sizes at which `pair` is compared; or,
    paired, of the difference of the pair alone."""
    found = {}
    for target in targets:
        sizes = _compared_sizes(curves, target, metric, *pair, size)
        if paired and sizes:
            a, b = (curves[target, metric, arm] for arm in pair)
            spread = seed_spread(a.averaged(sizes) - b.averaged(sizes), a.clusters)
            found[target, f"{pair[0]} minus {pair[1]}"] = spread
            continue
        for arm in arms:
            curve = curves.get((target, metric, arm))
            reached = [one for one in curve.sizes if one in sizes] if curve else []
            if curve and reached:
                found[target, arm] = seed_spread(curve.averaged(reached), curve.clusters)
    return found


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
    clusters = curves[target, metric, a].clusters
    return {
        int(label): components(
            of_a[:, labels == label], of_b[:, labels == label], None if clusters is None else clusters[labels == label]
        )
        for label in np.unique(labels)
    }


def against_baseline(
    curves: Curves, target: str, metric: str, arm: str, baseline: str, size: int | None = None
) -> Components | None:
    """An arm, at one size or (None) over all its sizes, against the untouched encoder (whose only size is 0); None
    where one of them is missing there."""
    curve, untouched = curves.get((target, metric, arm)), curves.get((target, metric, baseline))
    if curve is None or untouched is None or (size is not None and size not in curve.sizes):
        return None
    sizes = curve.sizes if size is None else (size,)
    return components(curve.averaged(sizes), untouched.averaged(untouched.sizes), curve.clusters)


def redrawn(curves: Sequence[Curve], rng: np.random.Generator) -> list[Array]:
    """Of each curve (DRAWS, sizes): mean accuracies over seeds and test images drawn with replacement.

    The curves are of the same test images, which are drawn once for all of them."""
    by_seed = _images_redrawn(curves, rng)
    return [seeds_redrawn(accuracies, rng) for accuracies in by_seed]


def _images_redrawn(curves: Sequence[Curve], rng: np.random.Generator) -> list[Array]:
    """Of each curve (sizes, seeds, DRAWS)."""
    correct = [curve.correct.astype(np.float64) for curve in curves]
    accuracies = [np.empty((*curve.correct.shape[:2], DRAWS)) for curve in curves]
    first = 0
    for weights in _image_weights(curves[0], rng):
        last = first + len(weights)
        for right, found in zip(correct, accuracies, strict=True):
            found[:, :, first:last] = right @ weights.T
        first = last
    return accuracies


def _image_weights(curve: Curve, rng: np.random.Generator) -> Iterator[Array]:
    """Blocks (draws, images), DRAWS draws in all: the same numbers whatever the size of a block. Clusters are drawn
    whole."""
    images = curve.correct.shape[2]
    groups = number_of_clusters(images, curve.clusters)
    at_once = max(FEWEST_DRAWS_AT_ONCE, WEIGHTS_AT_ONCE // images)
    for first in range(0, DRAWS, at_once):
        drawn = rng.multinomial(groups, np.full(groups, 1 / groups), size=min(at_once, DRAWS - first))
        if curve.clusters is not None:
            drawn = drawn[:, np.unique(curve.clusters, return_inverse=True)[1]]
        yield drawn / drawn.sum(axis=1, keepdims=True)


def seeds_redrawn(accuracies: Array, rng: np.random.Generator) -> Array:
    """(draws, sizes): means of `accuracies` (sizes, seeds, draws) over seeds drawn with replacement.

    Means of R values drawn with replacement vary less than means of R new seeds, by the factor (R - 1) / R in their
    variance; the draws are spread by its inverse. One seed shows no variation between seeds."""
    _, seeds, draws = accuracies.shape
    drawn = rng.multinomial(seeds, np.full(seeds, 1 / seeds), size=draws) / seeds
    spread = math.sqrt(seeds / (seeds - 1)) if seeds > 1 else 1.0
    weights = 1 / seeds + spread * (drawn - 1 / seeds)
    means: Array = np.einsum("zsk,ks->kz", accuracies, weights)
    return means

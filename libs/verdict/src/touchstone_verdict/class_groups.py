"""Changes of accuracy by what classes are like: how difficult they are, or how many images upstream has of them.

Classes are what is sampled here, so the moments of intervals.py are taken of class accuracies (seeds, classes) instead
of correctness (seeds, images): the interval covers other classes of the kind, and other seeds."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from touchstone_contracts.class_groups import ClassGroup, GroupChange, GroupedBy

from touchstone_verdict.curves import Curves, shared_sizes
from touchstone_verdict.intervals import SMALLEST_ERROR_IMAGES, Components, Estimate, components

Array = npt.NDArray[np.float64]
ClassIds = npt.NDArray[np.int32]

THIRDS = (1 / 3, 2 / 3)
FEWEST_CLASSES = 6
"""That can be grouped: of fewer, a third is one class."""


@dataclass(frozen=True)
class Compared:
    """Two arms at a target."""

    target: str
    a: str
    b: str
    of_a: Array
    """(seeds, images), as of_b and untouched: the share of the common sizes at which the image was right."""
    of_b: Array
    untouched: Array | None
    labels: ClassIds
    """(images,)"""
    confidence: float


@dataclass(frozen=True)
class Part:
    """Test images on which changes are measured, and what their classes are grouped by."""

    measured: npt.NDArray[np.bool_]
    """(images,)"""
    values: Array
    """(classes,); NaN leaves a class out."""


def compared_arms(
    curves: Curves, target: str, metric: str, pair: tuple[str, str], untouched: str | None, labels: ClassIds,
    confidence: float,
) -> Compared | None:  # fmt: skip
    """None where the arms reached no common size."""
    a, b = pair
    sizes = shared_sizes(curves, target, metric, a, b)
    if not sizes:
        return None
    before = curves.get((target, metric, untouched)) if untouched else None
    return Compared(
        target,
        a,
        b,
        curves[target, metric, a].averaged(sizes),
        curves[target, metric, b].averaged(sizes),
        None if before is None else before.averaged(before.sizes),
        labels,
        confidence,
    )


def class_groups(compared: Compared, upstream_images: Sequence[int] | None) -> Iterator[ClassGroup]:
    """`upstream_images`: by class id; None: not known."""
    if compared.untouched is not None:
        yield from _grouped(compared, "difficulty", _halves(compared.untouched, compared.labels))
    if upstream_images is not None:
        everything = np.ones(len(compared.labels), dtype=np.bool_)
        yield from _grouped(
            compared, "upstream_images", [Part(everything, np.array(upstream_images, dtype=np.float64))]
        )


def _halves(untouched: Array, labels: ClassIds) -> list[Part]:
    """Each half of the test images, with the difficulty of its classes as the other half shows it. Measured on the same
    images, a class that the untouched encoder got wrong by bad luck would be found difficult and then improved."""
    first = _numbers_within(labels) % 2 == 0
    return [Part(half, class_means(untouched, labels, ~half).mean(axis=0)) for half in (first, ~first)]


def _numbers_within(labels: ClassIds) -> npt.NDArray[np.int64]:
    """(images,) number of each image among those of its class, in order."""
    order = np.argsort(labels, kind="stable")
    starts = np.concatenate([[0], np.cumsum(np.bincount(labels))])
    numbers = np.empty(len(labels), dtype=np.int64)
    numbers[order] = np.arange(len(labels)) - starts[labels[order]]
    return numbers


def class_means(correct: Array, labels: ClassIds, chosen: npt.NDArray[np.bool_]) -> Array:
    """(seeds, classes): accuracy on the `chosen` images of each class; NaN where there are none. `correct` (seeds,
    images), `labels` and `chosen` (images,)."""
    member = (labels[:, None] == np.arange(labels.max() + 1)) & chosen[:, None]
    counts = member.sum(axis=0).astype(np.float64)
    counts[counts == 0] = np.nan
    means: Array = correct @ member / counts
    return means


def _grouped(compared: Compared, by: GroupedBy, parts: Sequence[Part]) -> Iterator[ClassGroup]:
    """A class that the parts put into different groups is in each, with the images of that part."""
    classes = int(compared.labels.max()) + 1
    parts = [Part(part.measured, _with_images(part, compared.labels, classes)) for part in parts]
    values = np.stack([part.values for part in parts])
    if np.isfinite(values).any(axis=0).sum() < FEWEST_CLASSES:
        return
    cuts = np.quantile(values[np.isfinite(values)], THIRDS)
    groups = np.where(np.isfinite(values), (values[..., None] > cuts).sum(axis=-1), -1)
    for group in range(len(cuts) + 1):
        inside = groups == group
        if inside.any():
            yield ClassGroup(
                target=compared.target,
                by=by,
                lowest=float(values[inside].min()),
                highest=float(values[inside].max()),
                classes=int(inside.any(axis=0).sum()),
                changes=tuple(_changes(compared, parts, inside)),
            )


def _with_images(part: Part, labels: ClassIds, classes: int) -> Array:
    """(classes,) NaN where no image of the class is measured."""
    measured = np.bincount(labels[part.measured], minlength=classes) > 0
    return np.where(measured, part.values[:classes], np.nan)


def _changes(compared: Compared, parts: Sequence[Part], inside: npt.NDArray[np.bool_]) -> Iterator[GroupChange]:
    """`inside` (parts, classes): whether a class, as a part sees it, is in the group."""
    arms = {compared.a: compared.of_a, compared.b: compared.of_b}
    found = {arm: _of_group(correct, compared.labels, parts, inside) for arm, correct in arms.items()}
    images = sum(int((part.measured & own[compared.labels]).sum()) for part, own in zip(parts, inside, strict=True))
    if compared.untouched is not None:
        before = _of_group(compared.untouched, compared.labels, parts, inside)
        for arm, means in found.items():
            yield _change(arm, components(means, before), images, compared.confidence)
    yield _change(None, components(found[compared.a], found[compared.b]), images, compared.confidence)


def _of_group(correct: Array, labels: ClassIds, parts: Sequence[Part], inside: npt.NDArray[np.bool_]) -> Array:
    """(seeds, classes of the group): class accuracies whose mean is that of all pairs of a part and a class that it has
    in the group. A class that has two pairs weighs twice: did it not, those that only one half of the images finds
    difficult would weigh too much, and they are those that the other half finds easy. Accuracies of classes are
    linearised for it, as those of clusters of unequal size, and may leave [0, 1]."""
    means = np.stack([np.nan_to_num(class_means(correct, labels, part.measured)) for part in parts])
    sums, counts = (means * inside[:, None]).sum(axis=0)[:, inside.any(axis=0)], inside.sum(axis=0)
    counts = counts[counts > 0]
    mean = sums.sum(axis=1, keepdims=True) / counts.sum()
    linearised: Array = mean + (sums - counts * mean) * len(counts) / counts.sum()
    return linearised


def _change(arm: str | None, found: Components, images: int, confidence: float) -> GroupChange:
    estimate = over_classes(found, images)
    low, high = estimate.interval(confidence)
    return GroupChange(arm=arm, difference=estimate.difference, low=low, high=high)


def over_classes(found: Components, images: int) -> Estimate:
    """The estimate that `found`, of class accuracies, gives; its error is never below SMALLEST_ERROR_IMAGES of the test
    `images`, as that of Components.estimate."""
    if min(found.seeds, found.images) < 2:
        return Estimate(found.difference, math.inf, math.inf)
    variance = max(found.by_seed + found.by_image - found.interaction, found.by_seed, found.by_image)
    smallest, degrees = (SMALLEST_ERROR_IMAGES / images) ** 2, found.images - 1
    if variance < smallest:
        return Estimate(found.difference, smallest, smallest**2 / degrees)
    return Estimate(found.difference, variance, found.by_seed**2 / found.seed_degrees + found.by_image**2 / degrees)

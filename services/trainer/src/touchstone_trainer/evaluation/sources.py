"""Telling two sources of images apart by their features, and what a classifier loses without that.

Everything is linear. Separability is the cross-validated AUC of a shrunken linear discriminant. Reliance follows
amnesic probing (Elazar et al. 2021): the difference of the sources' means is projected out, after which no linear
classifier tells them apart (Belrose et al. 2023, theorem 3.1), and the loss of accuracy is compared with that of
directions that mean nothing. Those are differences of means too, of sources shuffled within classes: a direction
drawn at random from the sphere would hold less variance than any that features have, and so would be lost unnoticed."""

from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np

FOLDS = 5
SHRINKAGE = 0.1
"""Of the within-source covariance towards a multiple of the identity."""
SHUFFLES = 200
MIDDLE = (0.025, 0.975)

Accuracy = Callable[[np.ndarray], float]
"""Of a head on features (images, d)."""


class Separability(NamedTuple):
    auc: float
    error: float
    """Standard error over folds."""


class Erasure(NamedTuple):
    accuracy: float
    change: float
    random_low: float
    random_high: float
    p_value: float


def paired_by_class(
    first: np.ndarray, second: np.ndarray, most: int, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Positions of at most `most` images of either source, as many of each class; `first` and `second`: class ids."""
    pairs = [np.zeros((2, 0), dtype=np.int64)]
    for label in np.intersect1d(first, second):
        own = [rng.permutation(np.flatnonzero(ids == label)) for ids in (first, second)]
        pairs.append(np.stack([positions[: min(map(len, own))] for positions in own]))
    chosen = rng.permutation(np.concatenate(pairs, axis=1), axis=1)[:, :most]
    return chosen[0], chosen[1]


def separability(first: np.ndarray, second: np.ndarray, groups: np.ndarray, rng: np.random.Generator) -> Separability:
    """Of features `first` (n, d) and `second` (n, d), n >= 2 FOLDS. `groups` (2n,), first those of `first`: rows of one
    group, such as an image and its perturbation, are never fitted on and tested apart."""
    features, sources = np.concatenate([first, second]).astype(np.float64), np.repeat([True, False], len(first))
    folds = _folds(groups, rng)
    areas = []
    for fold in range(FOLDS):
        fitted, tested = folds != fold, folds == fold
        direction = discriminant(features[fitted & sources], features[fitted & ~sources])
        areas.append(area(features[tested & sources] @ direction, features[tested & ~sources] @ direction))
    return Separability(float(np.mean(areas)), float(np.std(areas, ddof=1) / np.sqrt(FOLDS)))


def _folds(groups: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """(rows,) of 0 to FOLDS - 1, groups as equally as they can be."""
    names, members = np.unique(groups, return_inverse=True)
    return np.asarray((rng.permutation(len(names)) % FOLDS)[members])


def discriminant(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """(d,) direction of the shrunken linear discriminant between (n, d) and (m, d) rows."""
    centred = np.concatenate([first - first.mean(axis=0), second - second.mean(axis=0)])
    covariance = centred.T @ centred / len(centred)
    scale = np.trace(covariance) / len(covariance)
    shrunken = (1 - SHRINKAGE) * covariance + SHRINKAGE * scale * np.eye(len(covariance))
    direction: np.ndarray = np.linalg.lstsq(shrunken, first.mean(axis=0) - second.mean(axis=0), rcond=None)[0]
    return direction


def area(positive: np.ndarray, negative: np.ndarray) -> float:
    """Under the ROC curve: the share of pairs of which the positive scores higher, ties counting half; 0.5 where there
    is no pair."""
    if not len(positive) or not len(negative):
        return 0.5
    difference = positive[:, None] - negative
    return float((difference > 0).mean() + (difference == 0).mean() / 2)


def erasure(
    first: np.ndarray,
    second: np.ndarray,
    class_ids: np.ndarray,
    test: np.ndarray,
    accuracy: Accuracy,
    rng: np.random.Generator,
) -> Erasure:
    """What `accuracy` of `test` features (images, d) loses without the mean difference of `first` and `second` (n, d),
    whose rows are pairs of the classes `class_ids` (n,)."""
    before = accuracy(test)
    change = accuracy(without(test, (first - second).mean(axis=0))) - before
    shuffled = np.array(
        [accuracy(without(test, direction)) - before for direction in _shuffled(first, second, class_ids, rng)]
    )
    low, high = np.quantile(shuffled, MIDDLE)
    p_value = (1 + int((shuffled <= change).sum())) / (1 + len(shuffled))
    return Erasure(before, change, float(low), float(high), p_value)


def without(features: np.ndarray, direction: np.ndarray) -> np.ndarray:
    """(images, d) that no longer differ along `direction` (d,); their mean stays where it was."""
    length = np.linalg.norm(direction)
    if length == 0:
        return features
    unit = (direction / length).astype(features.dtype)
    along = (features - features.mean(axis=0)) @ unit
    remaining: np.ndarray = features - along[:, None] * unit
    return remaining


def _shuffled(
    first: np.ndarray, second: np.ndarray, class_ids: np.ndarray, rng: np.random.Generator
) -> Iterator[np.ndarray]:
    """SHUFFLES mean differences of sources shuffled within classes, half of each class's rows on either side."""
    features = np.concatenate([first, second])[np.argsort(np.tile(class_ids, 2), kind="stable")]
    halves = [np.tile([1.0, -1.0], count) for count in np.unique(class_ids, return_counts=True)[1]]
    for _ in range(SHUFFLES):
        yield np.concatenate([rng.permutation(signs) for signs in halves]) @ features / len(first)

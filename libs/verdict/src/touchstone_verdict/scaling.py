"""Accuracy as a power law of the training set's size N: ceiling - gap x (N / smallest size)^-exponent.

The usual form of learning curves (Hestness et al., arXiv 1712.00409): it rises and saturates. `gap` >= 0 and
`ceiling` <= 1 hold it to what an accuracy can do. Beside it the exchange rate's monotone fit assumes no form at all."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from touchstone_contracts.identity import derive_seed
from touchstone_contracts.values import Digest
from touchstone_contracts.views import ScalingFit, ScalingPoint

from touchstone_verdict.curves import Array, Curve, Curves, redrawn

EXPONENTS = np.geomspace(0.02, 4.0, 100)
"""From nearly a logarithm to a curve that is flat after its first doubling."""
FEWEST_SIZES = 3
"""As many as the law has parameters."""
POINTS = 13
FORECASTS = (2, 4)
"""Multiples of the largest size at which the law is read beyond what was measured."""


@dataclass(frozen=True)
class PowerLaws:
    """One law per row; each field (rows,)."""

    smallest: int
    ceiling: Array
    gap: Array
    exponent: Array

    def at(self, sizes: Array) -> Array:
        """(rows, sizes)"""
        return self.ceiling[:, None] - self.gap[:, None] * (sizes / self.smallest) ** -self.exponent[:, None]


def fit_power_laws(accuracy: Array, sizes: Sequence[int]) -> PowerLaws:
    """Least squares for each row of `accuracy` (rows, sizes): for every exponent of a grid ceiling and gap have a
    closed form; the best exponent wins."""
    x = (np.asarray(sizes) / sizes[0]) ** -EXPONENTS[:, None]
    centred = x - x.mean(axis=1, keepdims=True)
    # accuracy = ceiling - gap x: a line through (x, accuracy) whose slope must not be positive.
    gap = np.maximum(0.0, -(accuracy @ centred.T) / (centred**2).sum(axis=1))
    ceiling = accuracy.mean(axis=1, keepdims=True) + gap * x.mean(axis=1)
    through_one = ((1 - accuracy) @ x.T) / (x**2).sum(axis=1)
    gap = np.where(ceiling > 1, through_one, gap)
    ceiling = np.minimum(ceiling, 1.0)
    residual = accuracy[:, None, :] - (ceiling[..., None] - gap[..., None] * x)
    best = (residual**2).sum(axis=-1).argmin(axis=1)
    rows = np.arange(len(accuracy))
    return PowerLaws(sizes[0], ceiling[rows, best], gap[rows, best], EXPONENTS[best])


def scaling_fit(
    key: tuple[str, str, str], curve: Curve, confidence: float, rng: np.random.Generator
) -> ScalingFit | None:
    """`key`: (target, metric, arm). None with fewer than FEWEST_SIZES sizes. Intervals are quantiles of refits over
    redrawn seeds and test images; there are none with a single seed."""
    if len(curve.sizes) < FEWEST_SIZES:
        return None
    target, metric, arm = key
    measured = curve.correct.mean(axis=(1, 2))[None]
    law = fit_power_laws(measured, curve.sizes)
    sizes = _sizes_to_show(curve.sizes)
    low, high = _interval(curve, sizes, confidence, rng)
    return ScalingFit.model_validate(
        {
            "target": target,
            "arm": arm,
            "metric": metric,
            "ceiling": float(law.ceiling[0]),
            "gap": float(law.gap[0]),
            "exponent": float(law.exponent[0]),
            "error": float(np.sqrt(np.mean((law.at(np.asarray(curve.sizes)) - measured) ** 2))),
            "points": tuple(
                ScalingPoint(size=int(size), accuracy=value, low=below, high=above, forecast=size > curve.sizes[-1])
                for size, value, below, above in zip(sizes, law.at(sizes)[0], low, high, strict=True)
            ),
        }
    )


def scaling_fits(curves: Curves, test_set: str, confidence: float, results_digest: Digest) -> tuple[ScalingFit, ...]:
    """Of curves measured on `test_set`, in the order of their keys (target, metric, arm)."""
    found = (
        scaling_fit(key, curves[key], confidence, np.random.default_rng(derive_seed(*key, results_digest)))
        for key in sorted(curves)
    )
    return tuple(fit.model_copy(update={"test_set": test_set}) for fit in found if fit is not None)


def _sizes_to_show(sizes: Sequence[int]) -> Array:
    within = np.unique(np.geomspace(sizes[0], sizes[-1], POINTS).round())
    return np.concatenate([within, [factor * sizes[-1] for factor in FORECASTS]])


def _interval(
    curve: Curve, sizes: Array, confidence: float, rng: np.random.Generator
) -> tuple[Sequence[float | None], Sequence[float | None]]:
    """Lower and upper ends at each of `sizes`."""
    if curve.correct.shape[1] < 2:
        return [None] * len(sizes), [None] * len(sizes)
    (accuracies,) = redrawn([curve], rng)
    refitted = fit_power_laws(accuracies, curve.sizes).at(sizes)
    tail = (1 - confidence) / 2
    low, high = np.quantile(refitted, [tail, 1 - tail], axis=0).clip(0, 1)
    return low.tolist(), high.tolist()

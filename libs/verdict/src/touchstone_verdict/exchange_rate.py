"""How many images of arm b are worth a given number of images of arm a.

Accuracy is fitted as a non-decreasing, piecewise linear function of log N for both arms; the interval comes from refits
over redrawn seeds and test images. Outside the measured sizes nothing is claimed: the answer is censored instead."""

from dataclasses import dataclass

import numpy as np
from scipy.optimize import isotonic_regression

from touchstone_verdict.curves import Array, Curve, redrawn


@dataclass(frozen=True, slots=True)
class Rate:
    """Images of b; None where it lies outside the sizes measured for b."""

    images: float | None
    low: float | None
    """None: below the smallest size. The largest size, where the whole interval lies above it."""
    high: float | None
    """None: above the largest size. The smallest size, where the whole interval lies below it."""
    more_than: float | None = None
    """The largest size measured: even there b stays below a."""
    at_most: float | None = None
    """The smallest size measured: b is already there."""


def exchange_rate(a: Curve, b: Curve, images_a: int, confidence: float, rng: np.random.Generator) -> Rate:
    """The size of b whose accuracy equals that of `images_a` images of a (one of a's sizes)."""
    at = a.sizes.index(images_a)
    wanted = monotone(a.correct.mean(axis=(1, 2))[None])[:, at]
    needed = _sizes_reaching(monotone(b.correct.mean(axis=(1, 2))[None]), b.sizes, wanted)[0]
    of_b, of_a = (monotone(accuracies) for accuracies in redrawn((b, a), rng))
    refitted = _sizes_reaching(of_b, b.sizes, of_a[:, at])
    tail = (1 - confidence) / 2
    # Refits that fall outside the measured sizes are +-infinity: quantiles must not interpolate towards them.
    low = np.quantile(refitted, tail, method="lower")
    high = np.quantile(refitted, 1 - tail, method="higher")
    return Rate(
        _finite(needed),
        _finite(min(low, b.sizes[-1])),
        _finite(max(high, b.sizes[0])),
        more_than=float(b.sizes[-1]) if needed == np.inf else None,
        at_most=float(b.sizes[0]) if needed == -np.inf else None,
    )


def monotone(accuracy: Array) -> Array:
    """Isotonic least squares of each row of `accuracy` (rows, sizes); a row that never falls is its own fit."""
    fitted = accuracy.copy()
    for row in np.flatnonzero((np.diff(accuracy, axis=1) < 0).any(axis=1)):
        fitted[row] = isotonic_regression(accuracy[row]).x
    return fitted


def _sizes_reaching(fitted: Array, sizes: tuple[int, ...], wanted: Array) -> Array:
    """Smallest size at which each row of `fitted` (rows, sizes) reaches `wanted` (rows,); -inf below the smallest
    measured size, inf above the largest."""
    tolerance = 1e-12
    reached = fitted >= wanted[:, None] - tolerance
    upper = reached.argmax(axis=1)
    lower = np.maximum(upper - 1, 0)
    rows = np.arange(len(fitted))
    rise = fitted[rows, upper] - fitted[rows, lower]
    share = np.divide(wanted - fitted[rows, lower], rise, out=np.ones_like(rise), where=rise > 0).clip(0, 1)
    logs = np.log(np.asarray(sizes, dtype=np.float64))
    found: Array = np.exp(logs[lower] + share * (logs[upper] - logs[lower]))
    found = np.where((upper == 0) & (fitted[:, 0] > wanted + tolerance), -np.inf, found)
    return np.where(reached.any(axis=1), found, np.inf)


def _finite(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None

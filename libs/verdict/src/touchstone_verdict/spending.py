"""How much of alpha each of several declared looks may spend, and the level at which each is then tested.

A spending function (Lan and DeMets 1983) says how much of alpha may be spent by the time a share of the seeds is in.
The level of a look is then such that a standard Brownian motion, seen at those times, first leaves the boundaries there
as often as the function lets it; found by integration look after look (Armitage, McPherson and Rowe 1969). The times
are shares of the seeds. Test images are there from the start, which makes the looks more alike than a Brownian motion's
and the levels, if anything, too strict."""

import math
from collections.abc import Callable, Mapping, Sequence

import numpy as np
import numpy.typing as npt
from scipy.optimize import brentq
from scipy.special import ndtr, ndtri
from touchstone_contracts.experiment import Spending

Array = npt.NDArray[np.float64]

NODES, WEIGHTS = np.polynomial.legendre.leggauss(64)
HIGHEST_BOUNDARY = 10.0
"""In standard errors; a look that may spend less than what lies beyond is no look yet."""


def _obrien_fleming(time: Array, alpha: float) -> Array:
    """Little at first: an early look decides only what is overwhelming, the last one has almost all of alpha."""
    spent: Array = 4 * ndtr(ndtri(alpha / 4) / np.sqrt(time))  # half of it on either side
    return spent


def _pocock(time: Array, alpha: float) -> Array:
    """About the same at every look."""
    spent: Array = alpha * np.log1p((math.e - 1) * time)
    return spent


SPENDING: Mapping[Spending, Callable[[Array, float], Array]] = {"obrien_fleming": _obrien_fleming, "pocock": _pocock}


def levels(looks: Sequence[int], alpha: float, spending: Spending) -> tuple[float, ...]:
    """The two-sided level of each look, whose chances of any false call add up to `alpha`.

    `looks`: seeds at each look, ascending; the last one has all that were planned. 0: no look decides anything yet."""
    times = np.array(looks, dtype=np.float64) / looks[-1]
    steps = np.sqrt(np.diff(times, prepend=0.0))
    allowed = np.diff(SPENDING[spending](times, alpha), prepend=0.0)
    # Where the motion may be before a look, if no look has stopped it, with the weights of quadrature.
    positions, masses = np.zeros(1), np.ones(1)
    found = []
    for time, step, share in zip(times, steps, allowed, strict=True):
        boundary = _boundary(positions, masses, math.sqrt(time), float(step), float(share))
        found.append(2 * float(ndtr(-boundary)) if math.isfinite(boundary) else 0.0)
        edge = min(boundary, HIGHEST_BOUNDARY) * math.sqrt(time)
        at = edge * NODES
        masses = edge * WEIGHTS * (_density((at[:, None] - positions) / step) / step @ masses)
        positions = at
    return tuple(found)


def _boundary(positions: Array, masses: Array, scale: float, step: float, share: float) -> float:
    """In standard errors: beyond it on either side lies `share`."""

    def excess(boundary: float) -> float:
        above, below = ndtr((positions - boundary * scale) / step), ndtr((-boundary * scale - positions) / step)
        return float((above + below) @ masses) - share

    if excess(HIGHEST_BOUNDARY) >= 0:
        return math.inf
    return float(brentq(excess, 0.0, HIGHEST_BOUNDARY)) if excess(0.0) > 0 else 0.0


def _density(values: Array) -> Array:
    density: Array = np.exp(-(values**2) / 2) / math.sqrt(2 * math.pi)
    return density

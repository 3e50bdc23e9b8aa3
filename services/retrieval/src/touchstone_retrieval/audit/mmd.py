"""How far two sets of vectors are from being drawn from one distribution: squared maximum mean discrepancy (Gretton et
al. 2012, JMLR 13), unbiased, with a Gaussian kernel.

CMMD (Jayasumana et al. 2024) has the same kernel with two other choices. It fixes the bandwidth at 10, where unit
vectors, which are at most 2 apart, see a kernel that is linear to within 2 %: it compares their means alone. Here the
bandwidth is the median distance between the reference vectors. And its published code includes each vector's kernel
with itself, which adds about 2 / n to the discrepancy of small sets."""

import math
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]


class Discrepancy(NamedTuple):
    value: float
    """0 on average where the distributions are the same, so that it may be negative."""
    error: float
    """Standard error, by leaving out one vector of either set at a time (jackknife)."""


def squared_distances(x: np.ndarray, y: np.ndarray) -> Array:
    """(n, m) of rows of `x` (n, d) and `y` (m, d); never negative."""
    wide, other = x.astype(np.float64), y.astype(np.float64)
    squares = (wide**2).sum(axis=1)[:, None] + (other**2).sum(axis=1) - 2 * wide @ other.T
    return np.maximum(squares, 0)


def median_distance(vectors: np.ndarray) -> float:
    """Between two different rows; 0 where most are the same."""
    upper = np.triu_indices(len(vectors), 1)
    return math.sqrt(float(np.median(squared_distances(vectors, vectors)[upper])))


def gaussian_kernel(x: np.ndarray, y: np.ndarray, bandwidth: float) -> Array:
    """(n, m)"""
    kernel: Array = np.exp(squared_distances(x, y) / (-2 * bandwidth**2))
    return kernel


def discrepancy(within_x: Array, within_y: Array, between: Array) -> Discrepancy:
    """From kernels of x with x (n, n), y with y (m, m) and x with y (n, m); n, m >= 3."""
    (n, m), x, y, both = between.shape, _off_diagonal(within_x), _off_diagonal(within_y), float(between.sum())
    mean_x, mean_y = x.sum() / (n * (n - 1)), y.sum() / (m * (m - 1))
    without_x = _mean_without_one(x) + mean_y - 2 * (both - between.sum(axis=1)) / ((n - 1) * m)
    without_y = mean_x + _mean_without_one(y) - 2 * (both - between.sum(axis=0)) / (n * (m - 1))
    variance = (n - 1) * without_x.var() + (m - 1) * without_y.var()
    return Discrepancy(float(mean_x + mean_y - 2 * both / (n * m)), math.sqrt(float(variance)))


def _off_diagonal(kernel: Array) -> Array:
    """(n,) sums of the rows without their diagonal."""
    sums: Array = kernel.sum(axis=1) - np.diagonal(kernel)
    return sums


def _mean_without_one(rows: Array) -> Array:
    """(n,) of pairs, without those of each vector in turn; `rows` (n,) sums without the diagonal."""
    n = len(rows)
    return (rows.sum() - 2 * rows) / ((n - 1) * (n - 2))


def discrepancies_of_halves(within: Array, splits: int, rng: np.random.Generator) -> Array:
    """(splits,): between two halves of the vectors drawn at random, from their kernel (n, n), n >= 4. Of an odd number
    one is left out."""
    half = len(within) // 2
    signs = rng.permuted(np.tile(np.repeat([1.0, -1.0, 0.0], [half, half, len(within) % 2]), (splits, 1)), axis=1)
    kernel = within - np.diag(np.diagonal(within))
    used = np.abs(signs)
    all_pairs = np.einsum("sn,sn->s", used @ kernel, used)
    difference = np.einsum("sn,sn->s", signs @ kernel, signs)  # pairs within a half less pairs across
    inside, across = (all_pairs + difference) / 2, (all_pairs - difference) / 4
    halves: Array = inside / (half * (half - 1)) - 2 * across / half**2
    return halves

"""The true nearest neighbours of many queries by blocked matrix products."""

from collections.abc import Iterator, Sequence

import numpy as np

from touchstone_retrieval.index.protocol import Hit
from touchstone_retrieval.index.ties import DECIMALS

SCORES_AT_A_TIME = 4_000_000
"""Cosines in memory at once: 16 MB, which the last-level cache of a server holds."""
GROUP = 16
"""Scores of which first only the largest is looked at."""
BELOW_EVERY_COSINE = -2.0


def exact_nearest(
    queries: np.ndarray, vectors: np.ndarray, k: int, missing: Sequence[int] | np.ndarray = ()
) -> Iterator[list[Hit]]:
    """For each of queries (q, d) the k best rows of vectors (n, d), n >= 1, all L2-normalised. Rows `missing` are no
    results.

    Equal rounded scores come in row order, also at the cut, as `ties.nearest_with_ties_by_row` has it."""
    block = max(1, SCORES_AT_A_TIME // len(vectors))
    for start in range(0, len(queries), block):
        cosines = queries[start : start + block] @ vectors.T  # (block, n)
        cosines[:, np.asarray(missing, dtype=np.int64)] = -np.inf
        # Two scores that round alike may lie one unit of the last decimal apart.
        bounds = np.maximum(_lower_bounds(cosines, k) - 2 * 10.0**-DECIMALS, BELOW_EVERY_COSINE)
        for row, bound in zip(cosines, bounds, strict=True):
            yield _best(row, np.flatnonzero(row >= bound), k)


def _lower_bounds(cosines: np.ndarray, k: int) -> np.ndarray:
    """(queries,): a score that at least k scores of the query reach, close to the k-th.

    The k-th largest of the maxima of groups is one: k groups have a member as large. It costs one pass and a
    selection among a sixteenth of the scores."""
    groups = cosines.shape[1] // GROUP
    if k > groups:
        return np.full(len(cosines), -np.inf)
    # Every `groups`-th score is of one group: this way the maximum is taken of whole rows at once.
    maxima = cosines[:, : groups * GROUP].reshape(len(cosines), GROUP, groups).max(axis=1)
    bounds: np.ndarray = np.partition(maxima, -k, axis=1)[:, -k]
    return bounds


def _best(scores: np.ndarray, rows: np.ndarray, k: int) -> list[Hit]:
    rounded = scores[rows].astype(np.float64).round(DECIMALS)
    order = np.argsort(-rounded, kind="stable")[:k]  # rows rise, so equal scores keep their order
    return list(map(Hit._make, zip(rows[order].tolist(), rounded[order].tolist(), strict=True)))

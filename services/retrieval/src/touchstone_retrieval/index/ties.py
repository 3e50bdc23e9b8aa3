"""Equal scores at the cut: without care, which of them is returned depends on the engine's inner order."""

from collections.abc import Callable

from touchstone_retrieval.index.protocol import Hit

DECIMALS = 6
"""Scores closer than this are equal: below it engines differ by their order of summation."""
SPARE = 16
"""Results asked beyond k, so that ties at the cut are mostly seen at the first call."""


def nearest_with_ties_by_row(fetch: Callable[[int], list[Hit]], k: int) -> list[Hit]:
    """The k best of `fetch(limit)`, equal rounded scores in row order.

    Asks for twice as many until a result scores strictly below the k-th, so no tied row is left unseen."""
    limit = k + SPARE
    while True:
        fetched = fetch(limit)
        hits = sorted((Hit(h.row, round(h.score, DECIMALS)) for h in fetched), key=lambda h: (-h.score, h.row))
        if len(fetched) < limit or hits[-1].score < hits[k - 1].score:
            return hits[:k]
        limit *= 2

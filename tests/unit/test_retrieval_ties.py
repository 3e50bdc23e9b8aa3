"""Ties at the cut are broken by row, however the engine orders them."""

import random

from touchstone_retrieval.index.protocol import Hit
from touchstone_retrieval.index.ties import SPARE, nearest_with_ties_by_row


def engine(hits: list[Hit], calls: list[int]) -> object:
    """An engine that returns equal scores in an arbitrary order."""
    shuffled = random.Random(7).sample(hits, len(hits))
    ranked = sorted(shuffled, key=lambda hit: -round(hit.score, 3))

    def fetch(limit: int) -> list[Hit]:
        calls.append(limit)
        return ranked[:limit]

    return fetch


def test_equal_scores_come_in_row_order_even_beyond_the_first_answer() -> None:
    calls: list[int] = []
    hits = [Hit(row, 0.5) for row in range(200)]
    found = nearest_with_ties_by_row(engine(hits, calls), 3)  # type: ignore[arg-type]
    assert [hit.row for hit in found] == [0, 1, 2]
    assert calls == [19, 38, 76, 152, 304]


def test_distinct_scores_need_one_call() -> None:
    calls: list[int] = []
    hits = [Hit(row, 1 - row / 100) for row in range(100)]
    found = nearest_with_ties_by_row(engine(hits, calls), 5)  # type: ignore[arg-type]
    assert [hit.row for hit in found] == [0, 1, 2, 3, 4]
    assert calls == [5 + SPARE]


def test_scores_that_differ_by_rounding_only_are_equal() -> None:
    hits = [Hit(1, 0.50000001), Hit(0, 0.5)]
    assert [hit.row for hit in nearest_with_ties_by_row(lambda limit: hits[:limit], 2)] == [0, 1]


def test_fewer_rows_than_asked_for_are_all_returned() -> None:
    assert len(nearest_with_ties_by_row(lambda limit: [Hit(0, 1.0)], 10)) == 1

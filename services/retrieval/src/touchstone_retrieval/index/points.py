"""Points in an engine: named by the content of their shard, so that a shard added to an upstream moves no other.

All shards of one width lie in one collection of the engine; a search names the shards it is about."""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any
from uuid import UUID

import numpy as np

from touchstone_retrieval.embedded_images import normalised
from touchstone_retrieval.index.protocol import Collection, IndexRows, IndexShard, IndexUnavailable, VectorName
from touchstone_retrieval.unusable_rows import zeroed

NAME_DIGITS = 24
"""Of a shard's name: 96 bits, which leave 32 of a UUID for the row in the shard."""
ROW_BITS = 32

PointId = UUID | str | int
"""Engines answer with either form of a UUID; integers are no ids of ours."""


def engine_collection(dimension: int) -> str:
    return f"shards-{dimension}"


def point_id(shard: IndexShard, row: int) -> UUID:
    """`row` counts within the shard; ids rise with it, which is the order engines list points in."""
    return UUID(int=int(shard.name, 16) << ROW_BITS | row)


def upstream_row(point: PointId, collection: Collection) -> int:
    digits = UUID(str(point)).hex
    return collection.first_rows[digits[:NAME_DIGITS]] + int(digits[NAME_DIGITS:], 16)


def points_of(collection: Collection, rows: Sequence[int]) -> list[UUID]:
    """Ids of upstream rows, in their order."""
    starts = list(collection.first_rows.values())
    numbers = np.searchsorted(starts, rows, side="right") - 1
    return [
        point_id(collection.shards[number], row - starts[number]) for number, row in zip(numbers, rows, strict=True)
    ]


def vectors_in_order(points: Sequence[UUID], records: Iterable[Any], vector: VectorName) -> np.ndarray:
    """An engine's records of `points`, in any order, as L2-normalised float32 rows; zeros for a point without this
    vector. Raises IndexUnavailable where a point has been lost."""
    found = {UUID(str(record.id)): record.vector.get(vector) for record in records}
    missing = next((point for point in points if point not in found), None)
    if missing is not None:
        raise IndexUnavailable(f"the index has lost point {missing}: the next attempt writes it again")
    width = max((len(row) for row in found.values() if row), default=0)
    return normalised(np.array([found[point] or [0] * width for point in points], dtype=np.float32))


def present_vectors(rows: IndexRows, part: slice) -> Iterator[dict[str, Any]]:
    """By row and name. A point lacks a vector that nothing can be compared with, so no search of it finds the point."""
    image, text = (zeroed(vectors[part]).astype(np.float32) for vectors in (rows.image, rows.text))
    for of_image, of_text in zip(image, text, strict=True):
        named = {"image": of_image, "text": of_text}
        yield {name: row.tolist() for name, row in named.items() if row.any()}

"""VectorIndex for many queries at once: matrix products over vectors in memory, everything else by another index."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from touchstone_runtime.caches import CacheUse
from touchstone_runtime.logs import get_logger
from touchstone_runtime.serving import ProgressFunction, no_progress

from touchstone_retrieval.embedded_images import normalised
from touchstone_retrieval.index.exact_nearest import exact_nearest
from touchstone_retrieval.index.protocol import Collection, Hit, VectorIndex, VectorName, load_rows
from touchstone_retrieval.unusable_rows import usable_rows

log = get_logger(__name__)


@dataclass(frozen=True)
class Matrix:
    vectors: np.ndarray
    """float32 (count, dimension), L2-normalised or zero."""
    missing: np.ndarray
    """Rows that are zero."""


Matrices = dict[VectorName, Matrix]


class MatrixIndex:
    """In front of `inner`, which answers what does not fit in memory.

    The vectors of one collection are kept, the last one searched; they are read from its shards, not from `inner`."""

    exact = True

    def __init__(self, inner: VectorIndex, memory_bytes: int) -> None:
        self._inner, self._memory_bytes = inner, memory_bytes
        self._held: tuple[str, Matrices] = ("", {})
        self.use = CacheUse()

    def ensure(self, collection: Collection, progress: ProgressFunction = no_progress) -> int:
        return self._inner.ensure(collection, progress)

    def count(self, collection: Collection) -> int:
        return self._inner.count(collection)

    def search(
        self,
        collection: Collection,
        vector: VectorName,
        queries: np.ndarray,
        k: int,
    ) -> Iterator[list[Hit]]:
        if not self._fits(collection):
            return self._inner.search(collection, vector, queries, k)
        searched = self._matrices(collection)[vector]
        return exact_nearest(normalised(queries), searched.vectors, k, searched.missing)

    def vectors(self, collection: Collection, vector: VectorName, rows: Sequence[int]) -> np.ndarray:
        if not self._fits(collection):
            return self._inner.vectors(collection, vector, rows)
        return self._matrices(collection)[vector].vectors[list(rows)]

    def _fits(self, collection: Collection) -> bool:
        """Two float32 vectors a row."""
        return 2 * 4 * collection.count * collection.dimension <= self._memory_bytes

    def _matrices(self, collection: Collection) -> Matrices:
        self.use.count(self._held[0] == collection.name)
        if self._held[0] != collection.name:
            self._held = "", {}  # makes room first
            self._held = collection.name, _read(collection)
            log.info("index.held_in_memory", collection=collection.name, rows=collection.count)
        return self._held[1]

    def rest(self) -> None:
        self._inner.rest()

    def close(self) -> None:
        self._held = "", {}
        self._inner.close()


def _read(collection: Collection) -> Matrices:
    image, text = (np.empty((collection.count, collection.dimension), dtype=np.float32) for _ in range(2))
    for shard in collection.shards:
        rows, first = load_rows(shard), collection.first_rows[shard.name]
        part = slice(first, first + shard.count)
        image[part], text[part] = normalised(rows.image), normalised(rows.text)
    return {"image": _matrix(image), "text": _matrix(text)}


def _matrix(vectors: np.ndarray) -> Matrix:
    return Matrix(vectors, np.flatnonzero(~usable_rows(vectors)))

"""VectorIndex for many queries at once: matrix products over vectors in memory, everything else by another index."""

from collections.abc import Iterator

import numpy as np
from touchstone_runtime.logs import get_logger
from touchstone_runtime.serving import ProgressFunction, no_progress

from touchstone_retrieval.embedded_images import normalised
from touchstone_retrieval.index.exact_nearest import exact_nearest
from touchstone_retrieval.index.protocol import (
    CaptionMatch,
    CollectionShape,
    Hit,
    RowLoader,
    VectorIndex,
    VectorName,
)

log = get_logger(__name__)

Matrices = dict[VectorName, np.ndarray]


class MatrixIndex:
    """In front of `inner`, which holds the captions and answers filtered searches and what does not fit in memory.

    The vectors of one collection are kept, the last one searched; they are read from its shards, not from `inner`."""

    exact = True

    def __init__(self, inner: VectorIndex, memory_bytes: int) -> None:
        self._inner, self._memory_bytes = inner, memory_bytes
        self._fitting: dict[str, tuple[CollectionShape, RowLoader]] = {}
        self._held: tuple[str, Matrices] = ("", {})

    def ensure(
        self, collection: str, shape: CollectionShape, load: RowLoader, progress: ProgressFunction = no_progress
    ) -> bool:
        filled = self._inner.ensure(collection, shape, load, progress)
        if 2 * 4 * shape.count * shape.dimension <= self._memory_bytes:  # two vectors a row, fp32
            # Collections are named by content, so the first loader is as good as any later one.
            self._fitting.setdefault(collection, (shape, load))
        return filled

    def count(self, collection: str) -> int:
        return self._inner.count(collection)

    def search(
        self,
        collection: str,
        vector: VectorName,
        queries: np.ndarray,
        k: int,
        only: CaptionMatch | None = None,
    ) -> Iterator[list[Hit]]:
        if only is not None or collection not in self._fitting:
            return self._inner.search(collection, vector, queries, k, only)
        return exact_nearest(normalised(queries), self._matrices(collection)[vector], k)

    def _matrices(self, collection: str) -> Matrices:
        if self._held[0] != collection:
            self._held = "", {}  # makes room first
            self._held = collection, _read(*self._fitting[collection])
            log.info("index.held_in_memory", collection=collection, rows=self._fitting[collection][0].count)
        return self._held[1]

    def match_text(self, collection: str, match: CaptionMatch, limit: int) -> list[int]:
        return self._inner.match_text(collection, match, limit)

    def close(self) -> None:
        self._held = "", {}
        self._inner.close()


def _read(shape: CollectionShape, load: RowLoader) -> Matrices:
    """Each (count, dimension), L2-normalised float32."""
    image, text = (np.empty((shape.count, shape.dimension), dtype=np.float32) for _ in range(2))
    for rows in load():
        part = slice(rows.first_row, rows.first_row + len(rows.captions))
        image[part], text[part] = normalised(rows.image), normalised(rows.text)
    return {"image": image, "text": text}

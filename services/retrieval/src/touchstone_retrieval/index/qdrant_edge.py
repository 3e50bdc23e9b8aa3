"""VectorIndex over Qdrant's engine embedded in this process: real segments and full-text indexes, no server."""

import fcntl
import shutil
from collections.abc import Iterator
from io import TextIOWrapper
from pathlib import Path

import numpy as np
import qdrant_edge as edge
from touchstone_runtime.logs import get_logger
from touchstone_runtime.serving import ProgressFunction, no_progress

from touchstone_retrieval.index.protocol import (
    CaptionMatch,
    CollectionShape,
    Hit,
    IndexRows,
    IndexUnavailable,
    RowLoader,
    VectorName,
    require_all_rows,
)
from touchstone_retrieval.index.ties import nearest_with_ties_by_row

log = get_logger(__name__)

UPSERT_ROWS = 1000
COMPLETE = "COMPLETE"
"""Written into a collection's folder last; without it the folder is what a killed process left behind."""


class QdrantEdgeIndex:
    """One folder per collection. One process owns `folder`; a second one gets IndexUnavailable."""

    exact = True

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._shards: dict[str, edge.EdgeShard] = {}
        self._lock: TextIOWrapper | None = None

    def ensure(
        self, collection: str, shape: CollectionShape, load: RowLoader, progress: ProgressFunction = no_progress
    ) -> bool:
        if self.count(collection) == shape.count:
            return False
        self._drop(collection)
        shard = self._create(collection, shape)
        done = 0
        for rows in load():
            for points in point_batches(rows):
                shard.update(edge.UpdateOperation.upsert_points(points))
                done += len(points)
                progress(done, shape.count)
        require_all_rows(collection, done, shape)
        shard.optimize()
        shard.flush()
        (self._folder / collection / COMPLETE).touch()
        log.info("index.filled", collection=collection, rows=done)
        return True

    def count(self, collection: str) -> int:
        shard = self._open(collection)
        return 0 if shard is None else shard.count(edge.CountRequest(exact=True))

    def search(
        self,
        collection: str,
        vector: VectorName,
        queries: np.ndarray,
        k: int,
        only: CaptionMatch | None = None,
    ) -> Iterator[list[Hit]]:
        shard = self._opened(collection)
        return (_search_one(shard, vector, query, k, only) for query in queries.tolist())

    def match_text(self, collection: str, match: CaptionMatch, limit: int) -> list[int]:
        request = edge.ScrollRequest(limit=limit, filter=caption_filter(match), with_payload=False)
        records, _ = self._opened(collection).scroll(request)
        return [int(record.id) for record in records]

    def close(self) -> None:
        for shard in self._shards.values():
            shard.close()
        self._shards.clear()
        if self._lock is not None:
            self._lock.close()
            self._lock = None

    def _own_folder(self) -> None:
        """A second process would otherwise fail deep inside the engine, or delete what this one is filling."""
        if self._lock is not None:
            return
        self._folder.mkdir(parents=True, exist_ok=True)
        lock = (self._folder / "owner.lock").open("w")
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.close()
            raise IndexUnavailable(
                f"{self._folder} belongs to another process; give each worker its own TOUCHSTONE_INDEX_FOLDER "
                "or set TOUCHSTONE_QDRANT_URL"
            ) from None
        self._lock = lock

    def _open(self, collection: str) -> edge.EdgeShard | None:
        self._own_folder()
        path = self._folder / collection
        if collection not in self._shards and (path / COMPLETE).exists():
            try:
                self._shards[collection] = edge.EdgeShard.load(str(path))
            except Exception as error:  # the engine raises nothing more precise; a cache that is broken is made again
                log.warning("index.unreadable", collection=collection, error=str(error))
        return self._shards.get(collection)

    def _opened(self, collection: str) -> edge.EdgeShard:
        shard = self._open(collection)
        if shard is None:
            raise IndexUnavailable(f"the index has no collection {collection}")
        return shard

    def _drop(self, collection: str) -> None:
        if collection in self._shards:
            self._shards.pop(collection).close()
        shutil.rmtree(self._folder / collection, ignore_errors=True)

    def _create(self, collection: str, shape: CollectionShape) -> edge.EdgeShard:
        vector = edge.EdgeVectorParams(size=shape.dimension, distance=edge.Distance.Cosine)
        path = self._folder / collection
        path.mkdir(parents=True)
        # Searches are exact, so no graph is built (m=0).
        config = edge.EdgeConfig(
            vectors={"image": vector, "text": vector},
            hnsw_config=edge.HnswIndexConfig(m=0, ef_construct=4, full_scan_threshold=0),
        )
        shard = edge.EdgeShard.create(str(path), config)
        text_index = edge.TextIndexParams(tokenizer=edge.TokenizerType.Word, lowercase=True, phrase_matching=True)
        shard.update(edge.UpdateOperation.create_field_index("caption", text_index))
        self._shards[collection] = shard
        return shard


def point_batches(rows: IndexRows) -> Iterator[list[edge.Point]]:
    for start in range(0, len(rows.captions), UPSERT_ROWS):
        part = slice(start, start + UPSERT_ROWS)
        columns = (
            rows.image[part].astype(np.float32).tolist(),
            rows.text[part].astype(np.float32).tolist(),
            rows.captions[part],
            rows.keys[part],
        )
        yield [
            edge.Point(rows.first_row + start + i, {"image": image, "text": text}, {"caption": caption, "key": key})
            for i, (image, text, caption, key) in enumerate(zip(*columns, strict=True))
        ]


def caption_filter(match: CaptionMatch) -> edge.Filter:
    condition = edge.MatchPhrase(match.query) if match.mode == "phrase" else edge.MatchText(match.query)
    return edge.Filter(must=[edge.FieldCondition("caption", match=condition)])


def _search_one(
    shard: edge.EdgeShard, vector: VectorName, query: list[float], k: int, only: CaptionMatch | None
) -> list[Hit]:
    def fetch(limit: int) -> list[Hit]:
        request = edge.QueryRequest(
            limit=limit,
            query=edge.Query.Nearest(query, using=vector),
            params=edge.SearchParams(exact=True),
            filter=None if only is None else caption_filter(only),
        )
        return [Hit(int(point.id), point.score) for point in shard.query(request)]

    return nearest_with_ties_by_row(fetch, k)

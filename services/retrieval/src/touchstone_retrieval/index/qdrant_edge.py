"""VectorIndex over Qdrant's engine embedded in this process: real segments and full-text indexes, no server."""

import fcntl
import shutil
from collections.abc import Iterator, Sequence
from io import TextIOWrapper
from pathlib import Path

import numpy as np
import qdrant_edge as edge
from touchstone_runtime.logs import get_logger
from touchstone_runtime.serving import ProgressFunction, no_progress

from touchstone_retrieval.index.points import (
    PointId,
    engine_collection,
    first_matches,
    point_id,
    points_of,
    upstream_row,
    vectors_in_order,
)
from touchstone_retrieval.index.protocol import (
    CaptionMatch,
    Collection,
    Hit,
    IndexRows,
    IndexShard,
    IndexUnavailable,
    VectorName,
    load_rows,
)
from touchstone_retrieval.index.ties import nearest_with_ties_by_row

log = get_logger(__name__)

UPSERT_ROWS = 1000
COMPLETE = "COMPLETE"
"""Absent from an engine's folder while it is written to; without it the folder is what a killed process left behind,
and all shards are written again."""


class QdrantEdgeIndex:
    """One folder per width of embeddings. One process owns `folder`; a second one gets IndexUnavailable."""

    exact = True

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._engines: dict[str, edge.EdgeShard] = {}
        self._lock: TextIOWrapper | None = None

    def ensure(self, collection: Collection, progress: ProgressFunction = no_progress) -> int:
        if self.count(collection) == collection.count:
            return 0
        name = engine_collection(collection.dimension)
        engine = self._open(name) or self._create(name, collection.dimension)
        missing = [shard for shard in collection.shards if _count(engine, [shard]) != shard.count]
        (self._folder / name / COMPLETE).unlink(missing_ok=True)
        done = 0
        for shard in missing:
            for points in point_batches(shard, load_rows(shard)):
                engine.update(edge.UpdateOperation.upsert_points(points))
                done += len(points)
                progress(done, sum(shard.count for shard in missing))
        engine.optimize()
        engine.flush()
        (self._folder / name / COMPLETE).touch()
        return done

    def count(self, collection: Collection) -> int:
        engine = self._open(engine_collection(collection.dimension))
        return 0 if engine is None else _count(engine, collection.shards)

    def search(
        self,
        collection: Collection,
        vector: VectorName,
        queries: np.ndarray,
        k: int,
        only: CaptionMatch | None = None,
    ) -> Iterator[list[Hit]]:
        engine = self._opened(collection)
        return (_search_one(engine, collection, vector, query, k, only) for query in queries.tolist())

    def vectors(self, collection: Collection, vector: VectorName, rows: Sequence[int]) -> np.ndarray:
        points = points_of(collection, rows)
        found = self._opened(collection).retrieve([*points], with_payload=False, with_vector=[vector])
        return vectors_in_order(points, found, vector)

    def match_text(self, collection: Collection, match: CaptionMatch, limit: int) -> list[int]:
        engine = self._opened(collection)

        def find(shards: Sequence[IndexShard], most: int) -> list[PointId]:
            request = edge.ScrollRequest(limit=most, filter=point_filter(shards, match), with_payload=False)
            return [record.id for record in engine.scroll(request)[0]]

        return first_matches(find, collection, limit)

    def close(self) -> None:
        for engine in self._engines.values():
            engine.close()
        self._engines.clear()
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

    def _open(self, name: str) -> edge.EdgeShard | None:
        self._own_folder()
        path = self._folder / name
        if name not in self._engines and (path / COMPLETE).exists():
            try:
                self._engines[name] = edge.EdgeShard.load(str(path))
            except Exception as error:  # the engine raises nothing more precise; a cache that is broken is made again
                log.warning("index.unreadable", collection=name, error=str(error))
        return self._engines.get(name)

    def _opened(self, collection: Collection) -> edge.EdgeShard:
        engine = self._open(engine_collection(collection.dimension))
        if engine is None:
            raise IndexUnavailable(f"the index has no collection {collection.name}")
        return engine

    def _create(self, name: str, dimension: int) -> edge.EdgeShard:
        """In place of whatever lies there: nothing, or what could not be opened."""
        path = self._folder / name
        shutil.rmtree(path, ignore_errors=True)
        path.mkdir(parents=True)
        vector = edge.EdgeVectorParams(size=dimension, distance=edge.Distance.Cosine)
        # Searches are exact, so no graph is built (m=0).
        config = edge.EdgeConfig(
            vectors={"image": vector, "text": vector},
            hnsw_config=edge.HnswIndexConfig(m=0, ef_construct=4, full_scan_threshold=0),
        )
        engine = edge.EdgeShard.create(str(path), config)
        text_index = edge.TextIndexParams(tokenizer=edge.TokenizerType.Word, lowercase=True, phrase_matching=True)
        engine.update(edge.UpdateOperation.create_field_index("caption", text_index))
        engine.update(edge.UpdateOperation.create_field_index("shard", edge.PayloadSchemaType.Keyword))
        self._engines[name] = engine
        return engine


def point_batches(shard: IndexShard, rows: IndexRows) -> Iterator[list[edge.Point]]:
    for start in range(0, len(rows.captions), UPSERT_ROWS):
        part = slice(start, start + UPSERT_ROWS)
        columns = (
            rows.image[part].astype(np.float32).tolist(),
            rows.text[part].astype(np.float32).tolist(),
            rows.captions[part],
            rows.keys[part],
        )
        yield [
            edge.Point(
                point_id(shard, start + i),
                {"image": image, "text": text},
                {"shard": shard.name, "caption": caption, "key": key},
            )
            for i, (image, text, caption, key) in enumerate(zip(*columns, strict=True))
        ]


def point_filter(shards: Sequence[IndexShard], match: CaptionMatch | None = None) -> edge.Filter:
    of_shards = edge.FieldCondition("shard", match=edge.MatchAny([shard.name for shard in shards]))
    if match is None:
        return edge.Filter(must=[of_shards])
    captions = [
        edge.MatchPhrase(part.query) if part.mode == "phrase" else edge.MatchText(part.query)
        for part in match.conditions
    ]
    return edge.Filter(must=[of_shards, *(edge.FieldCondition("caption", match=caption) for caption in captions)])


def _count(engine: edge.EdgeShard, shards: Sequence[IndexShard]) -> int:
    return engine.count(edge.CountRequest(exact=True, filter=point_filter(shards)))


def _search_one(
    engine: edge.EdgeShard,
    collection: Collection,
    vector: VectorName,
    query: list[float],
    k: int,
    only: CaptionMatch | None,
) -> list[Hit]:
    def fetch(limit: int) -> list[Hit]:
        request = edge.QueryRequest(
            limit=limit,
            query=edge.Query.Nearest(query, using=vector),
            params=edge.SearchParams(exact=True),
            filter=point_filter(collection.shards, only),
        )
        return [Hit(upstream_row(point.id, collection), point.score) for point in engine.query(request)]

    return nearest_with_ties_by_row(fetch, k)

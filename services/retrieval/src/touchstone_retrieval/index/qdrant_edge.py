"""VectorIndex over Qdrant's engine embedded in this process: real segments, no server."""

import fcntl
import shutil
from collections.abc import Iterable, Iterator, Sequence
from io import TextIOWrapper
from itertools import chain
from pathlib import Path
from uuid import uuid4

import numpy as np
import qdrant_edge as edge
from touchstone_runtime.logs import get_logger
from touchstone_runtime.serving import ProgressFunction, no_progress

from touchstone_retrieval.index.points import (
    point_id,
    points_of,
    present_vectors,
    upstream_row,
    vectors_in_order,
)
from touchstone_retrieval.index.protocol import (
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
ENGINE_ROWS = 65_536
"""Rows of an engine, if no single shard has more: when its segments are merged it maps several times their bytes."""
COMPLETE = "COMPLETE"
"""In the folder of an engine that was written to its end: a line with the name of each of its shards."""


class QdrantEdgeIndex:
    """Engines of up to ENGINE_ROWS rows, each in a folder that is written once; those of one width answer together. One
    process owns `folder`; a second one gets IndexUnavailable."""

    exact = True

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._engines: dict[str, edge.EdgeShard] = {}
        self._engine_of: dict[str, str] = {}
        """Name of a shard -> name of the engine that holds it."""
        self._lock: TextIOWrapper | None = None

    def ensure(self, collection: Collection, progress: ProgressFunction = no_progress) -> int:
        held = {shard.name for _, shards in self._parts(collection) for shard in shards}
        missing = [shard for shard in collection.shards if shard.name not in held]
        total, done = sum(shard.count for shard in missing), 0
        for group in groups(missing):
            for rows in self._write(group, collection.dimension):
                done += rows
                progress(done, total)
        return done

    def count(self, collection: Collection) -> int:
        return sum(_count(engine, shards) for engine, shards in self._parts(collection))

    def search(
        self,
        collection: Collection,
        vector: VectorName,
        queries: np.ndarray,
        k: int,
    ) -> Iterator[list[Hit]]:
        parts = self._whole(collection)
        return (_search_one(parts, collection, vector, query, k) for query in queries.tolist())

    def vectors(self, collection: Collection, vector: VectorName, rows: Sequence[int]) -> np.ndarray:
        points, parts = points_of(collection, rows), self._whole(collection)
        found = (engine.retrieve([*points], with_payload=False, with_vector=[vector]) for engine, _ in parts)
        return vectors_in_order(points, chain.from_iterable(found), vector)

    def rest(self) -> None:
        for engine in self._engines.values():
            engine.close()
        self._engines.clear()

    def close(self) -> None:
        self.rest()
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
        self._engine_of = self._read_engine_of_each_shard()

    def _read_engine_of_each_shard(self) -> dict[str, str]:
        """Removes what a killed process left half-written."""
        engine_of: dict[str, str] = {}
        for folder in sorted(path for path in self._folder.iterdir() if path.is_dir()):
            shards = _shards_in(folder)
            engine_of |= dict.fromkeys(shards, folder.name)
            if not shards:
                shutil.rmtree(folder, ignore_errors=True)
        return engine_of

    def _parts(self, collection: Collection) -> "list[Part]":
        """Of those shards that are there."""
        self._own_folder()
        by_engine: dict[str, list[IndexShard]] = {}
        for shard in collection.shards:
            if shard.name in self._engine_of:
                by_engine.setdefault(self._engine_of[shard.name], []).append(shard)
        opened = ((self._open(name), shards) for name, shards in by_engine.items())
        return [(engine, shards) for engine, shards in opened if engine is not None]

    def _whole(self, collection: Collection) -> "list[Part]":
        parts = self._parts(collection)
        if sum(len(shards) for _, shards in parts) < len(collection.shards):
            raise IndexUnavailable(f"the index does not have the whole collection {collection.name}")
        return parts

    def _open(self, name: str) -> edge.EdgeShard | None:
        if name not in self._engines:
            try:
                self._engines[name] = edge.EdgeShard.load(str(self._folder / name))
            except Exception as error:  # the engine raises nothing more precise; a cache that is broken is made again
                log.warning("index.unreadable", engine=name, error=str(error))
                self._engine_of = {shard: engine for shard, engine in self._engine_of.items() if engine != name}
                shutil.rmtree(self._folder / name, ignore_errors=True)
        return self._engines.get(name)

    def _write(self, shards: Sequence[IndexShard], dimension: int) -> Iterator[int]:
        """Into an engine of their own; yields the rows of each batch. It is closed at the end, so that what it had to
        map for writing is given back before the next begins."""
        name = f"{dimension}-{uuid4().hex}"
        engine = create_engine(self._folder / name, dimension)
        try:
            for shard in shards:
                for points in point_batches(shard, load_rows(shard)):
                    engine.update(edge.UpdateOperation.upsert_points(points))
                    yield len(points)
            engine.optimize()
            engine.flush()
        finally:
            engine.close()
        lines = "".join(f"{shard.name}\n" for shard in shards)
        (self._folder / name / COMPLETE).write_text(lines)
        self._engine_of |= dict.fromkeys((shard.name for shard in shards), name)


Part = tuple[edge.EdgeShard, list[IndexShard]]
"""An engine and those of a collection's shards that it holds."""


def groups(shards: Iterable[IndexShard]) -> Iterator[list[IndexShard]]:
    """In their order, as many together as ENGINE_ROWS allow."""
    group: list[IndexShard] = []
    for shard in shards:
        if group and sum(each.count for each in group) + shard.count > ENGINE_ROWS:
            yield group
            group = []
        group.append(shard)
    if group:
        yield group


def create_engine(path: Path, dimension: int) -> edge.EdgeShard:
    path.mkdir(parents=True)
    cold = edge.Memory.Cold  # mapped, not held
    vector = edge.EdgeVectorParams(size=dimension, distance=edge.Distance.Cosine, memory=cold)
    # Searches are exact, so no graph is built (m=0). What was not written to the end is written again: so no log.
    config = edge.EdgeConfig(
        vectors={"image": vector, "text": vector},
        hnsw_config=edge.HnswIndexConfig(m=0, ef_construct=4, full_scan_threshold=0),
        payload_memory=cold,
        wal_enabled=False,
    )
    engine = edge.EdgeShard.create(str(path), config)
    engine.update(edge.UpdateOperation.create_field_index("shard", edge.KeywordIndexParams(memory=cold)))
    return engine


def _shards_in(folder: Path) -> list[str]:
    """Names; none where it was not written to its end."""
    complete = folder / COMPLETE
    return complete.read_text().split() if complete.exists() else []


def point_batches(shard: IndexShard, rows: IndexRows) -> Iterator[list[edge.Point]]:
    for start in range(0, len(rows.image), UPSERT_ROWS):
        part = slice(start, start + UPSERT_ROWS)
        yield [
            edge.Point(point_id(shard, start + i), vectors, {"shard": shard.name})
            for i, vectors in enumerate(present_vectors(rows, part))
        ]


def point_filter(shards: Sequence[IndexShard]) -> edge.Filter:
    return edge.Filter(must=[edge.FieldCondition("shard", match=edge.MatchAny([shard.name for shard in shards]))])


def _count(engine: edge.EdgeShard, shards: Sequence[IndexShard]) -> int:
    return engine.count(edge.CountRequest(exact=True, filter=point_filter(shards)))


def _search_one(
    parts: Sequence[Part],
    collection: Collection,
    vector: VectorName,
    query: list[float],
    k: int,
) -> list[Hit]:
    def fetch(limit: int) -> list[Hit]:
        hits: list[Hit] = []
        for engine, shards in parts:
            request = edge.QueryRequest(
                limit=limit,
                query=edge.Query.Nearest(query, using=vector),
                params=edge.SearchParams(exact=True),
                filter=point_filter(shards),
            )
            hits += [Hit(upstream_row(point.id, collection), point.score) for point in engine.query(request)]
        return sorted(hits, key=lambda hit: -hit.score)[:limit]

    return nearest_with_ties_by_row(fetch, k)

"""VectorIndex over a Qdrant server. The same code runs over qdrant-client's `:memory:` in unit tests."""

import ssl
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from qdrant_client import QdrantClient, models
from qdrant_client.http.exceptions import ResponseHandlingException, UnexpectedResponse
from touchstone_runtime.serving import ProgressFunction, no_progress
from touchstone_runtime.tls import trusted_certificates

from touchstone_retrieval.index.points import (
    engine_collection,
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

UPSERT_ROWS = 500
"""Keeps a request of 2 x 768 numbers a row well below the server's 32 MB limit."""


class QdrantServerIndex:
    """Several workers may share it: writing a shard is idempotent, its points have the same ids everywhere."""

    exact = True

    def __init__(self, client: QdrantClient) -> None:
        self._client = client

    def ensure(self, collection: Collection, progress: ProgressFunction = no_progress) -> int:
        if self.count(collection) == collection.count:
            return 0
        engine, done = engine_collection(collection.dimension), 0
        with _translated():
            self._create(engine, collection.dimension)
            # An incomplete shard is written over, not dropped: another worker may be writing it at this moment.
            missing = [shard for shard in collection.shards if self._count(engine, [shard]) != shard.count]
            for shard in missing:
                for batch in point_batches(shard, load_rows(shard)):
                    self._client.upsert(engine, batch, wait=True)
                    done += len(batch)
                    progress(done, sum(shard.count for shard in missing))
        return done

    def _create(self, engine: str, dimension: int) -> None:
        """Each part may be there already: another worker is at it, or was killed between them."""
        if not self._client.collection_exists(engine):
            self._create_collection(engine, dimension)
        self._client.create_payload_index(engine, "shard", models.PayloadSchemaType.KEYWORD, wait=True)

    def _create_collection(self, engine: str, dimension: int) -> None:
        vector = models.VectorParams(size=dimension, distance=models.Distance.COSINE)
        try:
            self._client.create_collection(
                engine,
                vectors_config={"image": vector, "text": vector},
                # Searches are exact, so no graph is built (m=0).
                hnsw_config=models.HnswConfigDiff(m=0),
            )
        except UnexpectedResponse as error:
            if error.status_code != 409:  # somebody else has just created it
                raise

    def count(self, collection: Collection) -> int:
        with _translated():
            engine = engine_collection(collection.dimension)
            return self._count(engine, collection.shards) if self._client.collection_exists(engine) else 0

    def _count(self, engine: str, shards: Sequence[IndexShard]) -> int:
        return self._client.count(engine, count_filter=point_filter(shards), exact=True).count

    def search(
        self,
        collection: Collection,
        vector: VectorName,
        queries: np.ndarray,
        k: int,
    ) -> Iterator[list[Hit]]:
        return (self._search_one(collection, vector, query, k) for query in queries.tolist())

    def _search_one(self, collection: Collection, vector: VectorName, query: list[float], k: int) -> list[Hit]:
        def fetch(limit: int) -> list[Hit]:
            with _translated():
                answer = self._client.query_points(
                    engine_collection(collection.dimension),
                    query=query,
                    using=vector,
                    limit=limit,
                    query_filter=point_filter(collection.shards),
                    search_params=models.SearchParams(exact=True),
                    with_payload=False,
                )
            return [Hit(upstream_row(point.id, collection), point.score) for point in answer.points]

        return nearest_with_ties_by_row(fetch, k)

    def vectors(self, collection: Collection, vector: VectorName, rows: Sequence[int]) -> np.ndarray:
        points, engine = points_of(collection, rows), engine_collection(collection.dimension)
        with _translated():
            ids = [str(point) for point in points]
            found = self._client.retrieve(engine, ids, with_payload=False, with_vectors=[vector])
        return vectors_in_order(points, found, vector)

    def rest(self) -> None:
        """A server looks after its own memory."""

    def close(self) -> None:
        self._client.close()


def point_batches(shard: IndexShard, rows: IndexRows) -> Iterator[list[models.PointStruct]]:
    for start in range(0, len(rows.image), UPSERT_ROWS):
        part = slice(start, start + UPSERT_ROWS)
        yield [
            models.PointStruct(id=str(point_id(shard, start + i)), vector=vectors, payload={"shard": shard.name})
            for i, vectors in enumerate(present_vectors(rows, part))
        ]


def point_filter(shards: Sequence[IndexShard]) -> models.Filter:
    names = [shard.name for shard in shards]
    return models.Filter(must=[models.FieldCondition(key="shard", match=models.MatchAny(any=names))])


@contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except ResponseHandlingException as error:
        raise IndexUnavailable(f"vector index unreachable: {error}") from error
    except UnexpectedResponse as error:
        # 404: the collection was dropped between the check and the call; the next attempt fills it again.
        if error.status_code in {404, 429} or (error.status_code or 500) >= 500:
            raise IndexUnavailable(f"vector index refused: {error}") from error
        raise


def connect_server(url: str, api_key: str, timeout: int, ca_file: Path | None = None) -> QdrantServerIndex:
    """Does not connect yet, so that a worker starts before its index does. `ca_file`: see RuntimeSettings."""
    trusted: dict[str, Any] = (
        {"verify": ssl.create_default_context(cafile=trusted_certificates(ca_file))} if ca_file else {}
    )
    return QdrantServerIndex(
        QdrantClient(url=url, api_key=api_key or None, timeout=timeout, check_compatibility=False, **trusted)
    )

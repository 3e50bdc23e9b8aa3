"""VectorIndex over a Qdrant server. The same code runs over qdrant-client's `:memory:` in unit tests."""

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
from qdrant_client import QdrantClient, models
from qdrant_client.http.exceptions import ResponseHandlingException, UnexpectedResponse
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

UPSERT_ROWS = 500
"""Keeps a request of 2 x 768 numbers a row well below the server's 32 MB limit."""


class QdrantServerIndex:
    """Several workers may share it: filling is idempotent, a point's id is its row."""

    exact = True

    def __init__(self, client: QdrantClient) -> None:
        self._client = client

    def ensure(
        self, collection: str, shape: CollectionShape, load: RowLoader, progress: ProgressFunction = no_progress
    ) -> bool:
        if self.count(collection) == shape.count:
            return False
        with _translated():
            self._create(collection, shape)
            done = 0
            for rows in load():
                for batch in point_batches(rows):
                    self._client.upsert(collection, batch, wait=True)
                    done += len(batch.ids)
                    progress(done, shape.count)
        require_all_rows(collection, done, shape)
        log.info("index.filled", collection=collection, rows=done)
        return True

    def _create(self, collection: str, shape: CollectionShape) -> None:
        """An incomplete collection is filled up, not dropped: another worker may be filling it at this moment."""
        if self._client.collection_exists(collection):
            return
        vector = models.VectorParams(size=shape.dimension, distance=models.Distance.COSINE)
        try:
            self._client.create_collection(
                collection,
                vectors_config={"image": vector, "text": vector},
                # Searches are exact, so no graph is built (m=0).
                hnsw_config=models.HnswConfigDiff(m=0),
            )
        except UnexpectedResponse as error:
            if error.status_code != 409:  # somebody else has just created it
                raise
        self._client.create_payload_index(
            collection,
            "caption",
            models.TextIndexParams(
                type=models.TextIndexType.TEXT,
                tokenizer=models.TokenizerType.WORD,
                lowercase=True,
                phrase_matching=True,
            ),
            wait=True,
        )

    def count(self, collection: str) -> int:
        with _translated():
            if not self._client.collection_exists(collection):
                return 0
            return self._client.count(collection, exact=True).count

    def search(
        self,
        collection: str,
        vector: VectorName,
        queries: np.ndarray,
        k: int,
        only: CaptionMatch | None = None,
    ) -> Iterator[list[Hit]]:
        return (self._search_one(collection, vector, query, k, only) for query in queries.tolist())

    def _search_one(
        self, collection: str, vector: VectorName, query: list[float], k: int, only: CaptionMatch | None
    ) -> list[Hit]:
        def fetch(limit: int) -> list[Hit]:
            with _translated():
                answer = self._client.query_points(
                    collection,
                    query=query,
                    using=vector,
                    limit=limit,
                    query_filter=None if only is None else caption_filter(only),
                    search_params=models.SearchParams(exact=True),
                    with_payload=False,
                )
            return [Hit(int(point.id), point.score) for point in answer.points]

        return nearest_with_ties_by_row(fetch, k)

    def match_text(self, collection: str, match: CaptionMatch, limit: int) -> list[int]:
        with _translated():
            records, _ = self._client.scroll(
                collection, scroll_filter=caption_filter(match), limit=limit, with_payload=False
            )
        return [int(record.id) for record in records]

    def close(self) -> None:
        self._client.close()


def point_batches(rows: IndexRows) -> Iterator[models.Batch]:
    for start in range(0, len(rows.captions), UPSERT_ROWS):
        part = slice(start, start + UPSERT_ROWS)
        captions, keys = rows.captions[part], rows.keys[part]
        first = rows.first_row + start
        yield models.Batch(
            ids=list(range(first, first + len(captions))),
            vectors={
                "image": rows.image[part].astype(np.float32).tolist(),
                "text": rows.text[part].astype(np.float32).tolist(),
            },
            payloads=[{"caption": caption, "key": key} for caption, key in zip(captions, keys, strict=True)],
        )


def caption_filter(match: CaptionMatch) -> models.Filter:
    condition: models.Match = (
        models.MatchPhrase(phrase=match.query) if match.mode == "phrase" else models.MatchText(text=match.query)
    )
    return models.Filter(must=[models.FieldCondition(key="caption", match=condition)])


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


def connect_server(url: str, api_key: str, timeout: int) -> QdrantServerIndex:
    """Does not connect yet, so that a worker starts before its index does."""
    return QdrantServerIndex(QdrantClient(url=url, api_key=api_key or None, timeout=timeout, check_compatibility=False))

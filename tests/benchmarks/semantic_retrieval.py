"""Semantic retrieval of a whole target against one query at a time.

The size is the miniverse's: its upstream of 19,055 images in 192 dimensions, the 241 classes of `flags` times three
retrieval templates, the image and the text index, 100 results a query. The vectors are random unit vectors of that
shape: an exact search does the same work whatever they are. Embedding the texts is left out on both sides."""

import warnings
from collections.abc import Sequence
from functools import cached_property

import numpy as np
import pyarrow as pa
from qdrant_client import QdrantClient, models
from support.duels import Duel
from touchstone_contracts.arms.retrieval import Semantic
from touchstone_contracts.catalogue import ClassLabel
from touchstone_retrieval.index.matrix import MatrixIndex
from touchstone_retrieval.index.points import NAME_DIGITS, engine_collection
from touchstone_retrieval.index.protocol import Collection, IndexRows, IndexShard
from touchstone_retrieval.index.qdrant_server import QdrantServerIndex
from touchstone_retrieval.strategies.registry import find_images
from touchstone_retrieval.strategies.upstream import SearchableUpstream

NAME = "semantic_retrieval"
FLOOR = 15

IMAGES, DIMENSION, CLASSES, RESULTS = 19_055, 192, 241, 100
TEMPLATES = ("{name}", "{name}, flag icon", "an icon of {name}")
LABELS = tuple(ClassLabel(id=number, display_name=f"flag {number}") for number in range(CLASSES))
STRATEGY = Semantic(indexes=("image", "text"), results_per_query=RESULTS)

Peer = dict[int, set[int]]
"""Class id -> rows found."""


def unit_vectors(rng: np.random.Generator, count: int) -> np.ndarray:
    vectors = rng.normal(size=(count, DIMENSION)).astype(np.float32)
    unit: np.ndarray = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    return unit


class Contest:
    """Both sides search the same collection: ours through the index a worker has, the peer through its client."""

    def __init__(self) -> None:
        rng = np.random.default_rng(0)
        self.vectors = {"image": unit_vectors(rng, IMAGES), "text": unit_vectors(rng, IMAGES)}
        texts = [template.replace("{name}", label.query) for label in LABELS for template in TEMPLATES]
        self.queries = dict(zip(texts, unit_vectors(rng, len(texts)), strict=True))
        warnings.filterwarnings("ignore", message="Payload indexes|Local mode performs exact")
        self.client = QdrantClient(":memory:")
        index = MatrixIndex(QdrantServerIndex(self.client), memory_bytes=2**30)
        rows = IndexRows(self.vectors["image"], self.vectors["text"])
        collection = Collection("upstream", DIMENSION, (IndexShard("0" * NAME_DIGITS, IMAGES, lambda: rows),))
        index.ensure(collection)
        self.upstream = SearchableUpstream(
            index=index,
            collection=collection,
            image_ids=[f"{row:064x}" for row in range(IMAGES)],
            embed_texts=self.embed,
            captions=pa.chunked_array([[""] * IMAGES]),
            image_vectors=lambda rows: self.vectors["image"][rows],
        )
        # A worker keeps an upstream's vectors from one step to the next.
        list(self.upstream.search("image", self.embed(texts[:1]), 1))

    def embed(self, texts: Sequence[str]) -> np.ndarray:
        return np.stack([self.queries[text] for text in texts])

    def ours(self) -> pa.Table:
        found, _ = find_images(STRATEGY, self.upstream, LABELS, TEMPLATES, np.random.default_rng(0))
        return found

    def peer(self) -> Peer:
        found: Peer = {}
        for label in LABELS:
            rows = found[label.id] = set()
            for name in STRATEGY.indexes:
                for template in TEMPLATES:
                    answer = self.client.query_points(
                        engine_collection(DIMENSION),
                        query=self.queries[template.replace("{name}", label.query)],
                        using=name,
                        limit=RESULTS,
                        search_params=models.SearchParams(exact=True),
                        with_payload=False,
                    )
                    rows.update(int(str(point.id)[-8:], 16) for point in answer.points)
        return found

    def has_full_recall(self, ours: pa.Table, peer: Peer) -> bool:
        """Recall 1.0 against a plain search in double precision, and the peer's answer. Scores that differ by less
        than their sixth decimal are ties, of which either may be returned."""
        mine: Peer = {label.id: set() for label in LABELS}
        for class_id, row in zip(ours["class_id"].to_pylist(), ours["row"].to_pylist(), strict=True):
            mine[class_id].add(row)
        return all(mine[number] >= rows and peer[number] >= rows for number, rows in self.surely_nearest.items())

    @cached_property
    def surely_nearest(self) -> Peer:
        """Class id -> rows that are among the nearest of one of its queries by more than a tie."""
        queries = np.stack(list(self.queries.values())).astype(np.float64)  # class by class, template by template
        nearest: Peer = {label.id: set() for label in LABELS}
        for name in STRATEGY.indexes:
            cosines = queries @ self.vectors[name].astype(np.float64).T  # (classes x templates, images)
            bounds = np.partition(cosines, -RESULTS, axis=1)[:, -RESULTS] + 1e-6
            for number, row in zip(*np.nonzero(cosines > bounds[:, None]), strict=True):
                nearest[int(number) // len(TEMPLATES)].add(int(row))
        return nearest


def prepare() -> Duel[pa.Table, Peer]:
    contest = Contest()
    return Duel(ours=contest.ours, peer=contest.peer, quality=contest.has_full_recall, repetitions=3)

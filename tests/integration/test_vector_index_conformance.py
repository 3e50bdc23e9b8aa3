"""One suite for every VectorIndex: the embedded engine, qdrant-client's memory, matrices, a server if one is named.

`TOUCHSTONE_TEST_QDRANT_URL` names a Qdrant server. No package ships its binary, so without an address the server's
cases are skipped; its adapter still runs here over the client's own in-memory engine."""

import os
import uuid
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from qdrant_client import QdrantClient
from touchstone_contracts.problems import Transient
from touchstone_retrieval.index import qdrant_edge
from touchstone_retrieval.index.matrix import MatrixIndex
from touchstone_retrieval.index.points import NAME_DIGITS, engine_collection
from touchstone_retrieval.index.protocol import (
    Collection,
    IndexRows,
    IndexShard,
    VectorIndex,
    VectorName,
)
from touchstone_retrieval.index.qdrant_edge import COMPLETE, QdrantEdgeIndex
from touchstone_retrieval.index.qdrant_server import QdrantServerIndex, connect_server, point_filter
from touchstone_retrieval.unusable_rows import usable_rows

pytestmark = pytest.mark.filterwarnings("ignore:Payload indexes", "ignore:Local mode performs exact")

COUNT, DIMENSION, CLUSTERS = 3000, 32, 40


def clustered(seed: int) -> np.ndarray:
    """Clusters as real embeddings have them; recall on isotropic noise means nothing. With 20 exact copies."""
    rng = np.random.default_rng(seed)
    centres = rng.normal(size=(CLUSTERS, DIMENSION))
    vectors = centres[rng.integers(CLUSTERS, size=COUNT)] + 0.3 * rng.normal(size=(COUNT, DIMENSION))
    vectors[COUNT // 2 : COUNT // 2 + 20] = vectors[7]
    # Through fp16, as stored embeddings are.
    vectors = vectors.astype(np.float16).astype(np.float32)
    unit: np.ndarray = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    return unit


IMAGES, TEXTS = clustered(0), clustered(1)
QUERIES = clustered(3)[:25]


def rows(first: int, last: int) -> IndexRows:
    part = slice(first, last)
    return IndexRows(IMAGES[part], TEXTS[part])


def new_shard(first: int, last: int) -> IndexShard:
    """Rows that no other test has written under this name."""
    return IndexShard(uuid.uuid4().hex[:NAME_DIGITS], last - first, lambda: rows(first, last))


def collection_of(*shards: IndexShard) -> Collection:
    return Collection("test-" + "-".join(shard.name for shard in shards), DIMENSION, shards)


def everything() -> Collection:
    return collection_of(new_shard(0, 1234), new_shard(1234, COUNT))


def written(shard: IndexShard) -> IndexShard:
    """The same shard, whose rows must not be needed again."""

    def refuse() -> IndexRows:
        raise AssertionError("loaded again")

    return replace(shard, load=refuse)


@pytest.fixture(scope="module", params=["edge", "memory", "matrix", "server"])
def index(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[VectorIndex]:
    adapter: VectorIndex
    if request.param == "edge":
        adapter = QdrantEdgeIndex(tmp_path_factory.mktemp("index"))
    elif request.param == "memory":
        adapter = QdrantServerIndex(QdrantClient(":memory:"))
    elif request.param == "matrix":
        adapter = MatrixIndex(QdrantServerIndex(QdrantClient(":memory:")), memory_bytes=2**30)
    else:
        url = os.environ.get("TOUCHSTONE_TEST_QDRANT_URL")
        if not url:
            pytest.skip("TOUCHSTONE_TEST_QDRANT_URL names no server")
        adapter = connect_server(url, "", 60)
    yield adapter
    adapter.close()


@pytest.fixture(scope="module")
def collection(index: VectorIndex) -> Collection:
    collection = everything()
    assert index.ensure(collection) == COUNT
    return collection


def exact_nearest(vectors: np.ndarray, query: np.ndarray, k: int) -> list[int]:
    cosines = vectors @ query
    ranked = sorted(range(len(vectors)), key=lambda row: (-round(float(cosines[row]), 6), row))
    return ranked[:k]


def test_a_complete_collection_is_not_loaded_again(index: VectorIndex, collection: Collection) -> None:
    assert index.exact
    assert index.count(collection) == COUNT
    assert index.ensure(collection_of(*map(written, collection.shards))) == 0


def test_a_shard_added_to_an_upstream_is_all_that_is_written(index: VectorIndex) -> None:
    first, second, third = new_shard(0, 700), new_shard(700, 1000), new_shard(1000, 1250)
    before = collection_of(first, second)
    assert index.ensure(before) == 1000
    after = collection_of(third, written(first), written(second))  # in front: every row of the upstream moves
    assert index.ensure(after) == 250
    assert (index.count(before), index.count(after), index.count(collection_of(third))) == (1000, 1250, 250)

    # The rows are found where each upstream has them, and an upstream finds no row of another.
    after, order = collection_of(third, first, second), np.r_[1000:1250, 0:700, 700:1000]
    for collection, rows_of in ((before, np.arange(1000)), (after, order)):
        (hits,) = index.search(collection, "image", QUERIES[:1], 20)
        expected = exact_nearest(IMAGES[rows_of], QUERIES[0], 20)
        assert len({hit.row for hit in hits} & set(expected)) >= 19


def test_only_the_shard_that_lost_rows_is_written_again() -> None:
    client = QdrantClient(":memory:")
    index, (kept, hurt) = QdrantServerIndex(client), everything().shards
    index.ensure(collection_of(kept, hurt))
    points, _ = client.scroll(engine_collection(DIMENSION), limit=1, scroll_filter=point_filter([hurt]))
    client.delete(engine_collection(DIMENSION), [point.id for point in points])
    assert index.count(collection_of(kept, hurt)) == COUNT - 1
    assert index.ensure(collection_of(written(kept), hurt)) == hurt.count == COUNT - 1234
    assert index.count(collection_of(kept, hurt)) == COUNT


@pytest.mark.parametrize("vector", ["image", "text"])
def test_searches_return_the_true_neighbours_best_first(
    index: VectorIndex, collection: Collection, vector: VectorName
) -> None:
    vectors = IMAGES if vector == "image" else TEXTS
    answers = index.search(collection, vector, QUERIES, 50)
    found = 0
    for query, hits in zip(QUERIES, answers, strict=True):
        truth = exact_nearest(vectors, query, 50)
        found += len(set(truth) & {hit.row for hit in hits})
        assert [hit.score for hit in hits] == sorted((hit.score for hit in hits), reverse=True)
        np.testing.assert_allclose([hit.score for hit in hits], vectors[[hit.row for hit in hits]] @ query, atol=2e-6)
    # Hits whose scores differ by a rounding may swap ranks at the cut.
    assert found / (50 * len(QUERIES)) >= 0.999


def test_exact_copies_come_in_row_order(index: VectorIndex, collection: Collection) -> None:
    (hits,) = index.search(collection, "image", IMAGES[7:8], 6)
    assert [hit.row for hit in hits] == [7, *range(COUNT // 2, COUNT // 2 + 5)]
    assert hits[0].score == pytest.approx(1, abs=2e-6)


def test_the_same_search_gives_the_same_answer(index: VectorIndex, collection: Collection) -> None:
    first, second = (list(index.search(collection, "text", QUERIES, 30)) for _ in range(2))
    assert first == second


@pytest.mark.parametrize("vector", ["image", "text"])
def test_vectors_come_back_by_row_in_the_order_asked(
    index: VectorIndex, collection: Collection, vector: VectorName
) -> None:
    rows = [1300, 7, 1233, 1234, 0, COUNT - 1]  # on either side of the border between two shards
    expected = (IMAGES if vector == "image" else TEXTS)[rows]
    found = index.vectors(collection, vector, rows)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected / np.linalg.norm(expected, axis=1, keepdims=True), atol=2e-6)


def test_an_unknown_collection_counts_nothing(index: VectorIndex) -> None:
    assert index.count(everything()) == 0
    assert index.count(replace(everything(), dimension=DIMENSION + 1)) == 0


def test_a_loader_that_stops_early_is_an_error_and_the_next_one_completes(index: VectorIndex) -> None:
    first, second = everything().shards
    with pytest.raises(ValueError, match="needs 1766 rows"):
        index.ensure(collection_of(first, replace(second, load=lambda: rows(1234, 1300))))
    whole = collection_of(first, second)
    assert index.ensure(whole) >= second.count  # and what was to be written together with it
    assert index.count(whole) == COUNT


def test_embedded_collections_survive_a_restart_and_heal_when_damaged(tmp_path: Path) -> None:
    kept, first = everything(), QdrantEdgeIndex(tmp_path)
    first.ensure(kept)
    first.close()

    second = QdrantEdgeIndex(tmp_path)
    assert second.count(kept) == COUNT
    second.close()

    [complete] = tmp_path.glob(f"*/{COMPLETE}")
    complete.unlink()  # what a process killed while filling leaves behind
    third = QdrantEdgeIndex(tmp_path)
    assert third.count(kept) == 0
    assert third.ensure(kept) == COUNT
    third.close()

    for file in tmp_path.rglob("*.json"):
        file.write_text("{")
    fourth = QdrantEdgeIndex(tmp_path)
    assert fourth.ensure(kept) == COUNT
    assert fourth.count(kept) == COUNT
    fourth.close()
    assert len(list(tmp_path.glob("*/"))) == 1  # what was damaged or half-written is gone


def test_several_embedded_engines_answer_as_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole, one, several = everything(), QdrantEdgeIndex(tmp_path / "one"), QdrantEdgeIndex(tmp_path / "several")
    one.ensure(whole)
    monkeypatch.setattr(qdrant_edge, "ENGINE_ROWS", 1)  # every shard is more than that
    assert several.ensure(whole) == COUNT
    assert len(list((tmp_path / "several").glob("*/"))) == len(whole.shards) > 1
    for k in (1, 7, 500):
        assert list(several.search(whole, "image", QUERIES, k)) == list(one.search(whole, "image", QUERIES, k))
        several.rest()  # the next search opens them again
    rows = [0, COUNT - 1, COUNT // 2]
    np.testing.assert_array_equal(several.vectors(whole, "text", rows), one.vectors(whole, "text", rows))
    one.close()
    several.close()


def test_a_second_owner_of_the_folder_is_told_the_remedy(tmp_path: Path) -> None:
    owner, other = QdrantEdgeIndex(tmp_path), QdrantEdgeIndex(tmp_path)
    mine = everything()
    owner.ensure(mine)
    with pytest.raises(Transient, match="TOUCHSTONE_INDEX_FOLDER"):
        other.count(mine)
    owner.close()
    assert other.count(mine) == COUNT
    other.close()


def test_an_unreachable_server_is_transient() -> None:
    index = connect_server("http://127.0.0.1:9", "", 2)
    with pytest.raises(Transient, match="unreachable"):
        index.ensure(everything())


def test_matrices_answer_as_the_index_behind_them_and_leave_it_what_does_not_fit(tmp_path: Path) -> None:
    engine = QdrantEdgeIndex(tmp_path)
    fits, too_small = (
        MatrixIndex(engine, memory_bytes=2**20),
        MatrixIndex(engine, memory_bytes=2 * 4 * COUNT * DIMENSION - 1),
    )
    rows = everything()
    for index in (fits, too_small):
        index.ensure(rows)
    for k in (1, 7, 500, COUNT + 1):
        expected = list(engine.search(rows, "image", QUERIES, k))
        assert list(too_small.search(rows, "image", QUERIES, k)) == expected
        answers = list(fits.search(rows, "image", QUERIES, k))
        assert [len(hits) for hits in answers] == [min(k, COUNT)] * len(QUERIES)
        # Engines differ in the last bit of a score, so that near-ties may swap ranks or fall off the cut.
        for mine, theirs in zip(answers, expected, strict=True):
            np.testing.assert_allclose([hit.score for hit in mine], [hit.score for hit in theirs], atol=2e-6)
            assert len({hit.row for hit in mine} & {hit.row for hit in theirs}) >= len(theirs) - 1
    engine.close()


@pytest.mark.parametrize("value", [0.0, np.nan, np.inf], ids=["zero", "not a number", "infinite"])
def test_rows_without_a_usable_embedding_never_rank(index: VectorIndex, value: float) -> None:
    """Queries opposite to every good row, so that a zero row's cosine would be the best."""
    good = IMAGES[:60] * np.sign(IMAGES[:60] @ QUERIES[0])[:, None] * -1
    images, texts = good.copy(), good.copy()
    images[[0, 30]], texts[[0, 7]] = value, value
    shard = IndexShard(uuid.uuid4().hex[:NAME_DIGITS], 60, lambda: IndexRows(images, texts))
    collection = collection_of(shard, new_shard(60, 80))
    assert index.ensure(collection) == 80
    assert index.ensure(collection_of(written(shard))) == 0
    for vector, missing in (("image", {0, 30}), ("text", {0, 7})):
        (hits,) = index.search(collection, vector, QUERIES[:1], 80)  # type: ignore[arg-type]
        assert {hit.row for hit in hits} == set(range(80)) - missing
        assert all(np.isfinite(hit.score) and hit.score for hit in hits)
        (few,) = index.search(collection_of(shard), vector, QUERIES[:1], 3)  # type: ignore[arg-type]
        assert len(few) == 3
        assert {hit.row for hit in few}.isdisjoint(missing)
    assert usable_rows(index.vectors(collection, "image", [1, 0, 59, 30])).tolist() == [True, False, True, False]

"""One suite for every VectorIndex: the embedded engine, qdrant-client's memory, matrices, a server if one is named.

`TOUCHSTONE_TEST_QDRANT_URL` names a Qdrant server. No package ships its binary, so without an address the server's
cases are skipped; its adapter still runs here over the client's own in-memory engine."""

import os
import uuid
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from qdrant_client import QdrantClient
from touchstone_contracts.problems import Transient
from touchstone_retrieval.index.matrix import MatrixIndex
from touchstone_retrieval.index.protocol import CaptionMatch, CollectionShape, IndexRows, VectorIndex
from touchstone_retrieval.index.qdrant_edge import COMPLETE, QdrantEdgeIndex
from touchstone_retrieval.index.qdrant_server import QdrantServerIndex, connect_server

pytestmark = pytest.mark.filterwarnings("ignore:Payload indexes", "ignore:Local mode performs exact")

COUNT, DIMENSION, CLUSTERS = 3000, 32, 40
SHAPE = CollectionShape(COUNT, DIMENSION)
WORDS = ("red", "green", "tiger", "lily", "flag", "icon", "of", "the", "house", "sky", "small", "round")


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
CAPTIONS = [" ".join(np.random.default_rng([2, row]).choice(WORDS, size=4)) for row in range(COUNT)]
QUERIES = clustered(3)[:25]
SPECIAL = ("Tiger-Lily, TIGER!", "tigers lily", "lily tiger", "the A320-200", "Crème brûlée", "snake_case name")


def rows(first: int, last: int) -> IndexRows:
    part = slice(first, last)
    return IndexRows(first, IMAGES[part], TEXTS[part], CAPTIONS[part], [f"key{row}" for row in range(first, last)])


def shards() -> Iterator[IndexRows]:
    yield rows(0, 1234)
    yield rows(1234, COUNT)


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
def collection(index: VectorIndex) -> str:
    name = f"test-{uuid.uuid4().hex[:12]}"
    assert index.ensure(name, SHAPE, shards)
    return name


@pytest.fixture(scope="module")
def special(index: VectorIndex) -> str:
    """A collection of captions with hard cases."""
    name = f"test-{uuid.uuid4().hex[:12]}"
    few = len(SPECIAL)
    index.ensure(
        name,
        CollectionShape(few, DIMENSION),
        lambda: iter([IndexRows(0, IMAGES[:few], TEXTS[:few], SPECIAL, [""] * few)]),
    )
    return name


def tokens_match(mode: str, query: str) -> np.ndarray:
    """The plain statement of a caption match, over captions that are words and spaces."""
    wanted = query.split()

    def matches(caption: str) -> bool:
        words = caption.split()
        if mode == "all_tokens":
            return set(wanted) <= set(words)
        return any(words[i : i + len(wanted)] == wanted for i in range(len(words)))

    return np.array([matches(caption) for caption in CAPTIONS])


def exact_nearest(vectors: np.ndarray, query: np.ndarray, k: int, allowed: np.ndarray) -> list[int]:
    cosines = np.where(allowed, vectors @ query, -2.0)
    ranked = sorted(np.flatnonzero(allowed).tolist(), key=lambda row: (-round(float(cosines[row]), 6), row))
    return ranked[:k]


def test_a_complete_collection_is_not_loaded_again(index: VectorIndex, collection: str) -> None:
    def refuse() -> Iterator[IndexRows]:
        raise AssertionError("loaded again")

    assert index.exact
    assert index.count(collection) == COUNT
    assert not index.ensure(collection, SHAPE, refuse)


@pytest.mark.parametrize("vector", ["image", "text"])
def test_searches_return_the_true_neighbours_best_first(index: VectorIndex, collection: str, vector: str) -> None:
    vectors = IMAGES if vector == "image" else TEXTS
    answers = index.search(collection, vector, QUERIES, 50)  # type: ignore[arg-type]
    everything = np.ones(COUNT, dtype=bool)
    found = 0
    for query, hits in zip(QUERIES, answers, strict=True):
        truth = exact_nearest(vectors, query, 50, everything)
        found += len(set(truth) & {hit.row for hit in hits})
        assert [hit.score for hit in hits] == sorted((hit.score for hit in hits), reverse=True)
        np.testing.assert_allclose([hit.score for hit in hits], vectors[[hit.row for hit in hits]] @ query, atol=2e-6)
    # Scores that differ by a rounding may change places at the cut.
    assert found / (50 * len(QUERIES)) >= 0.999


@pytest.mark.parametrize(("mode", "query"), [("phrase", "tiger lily"), ("all_tokens", "lily tiger flag")])
def test_filtered_searches_lose_nothing(index: VectorIndex, collection: str, mode: str, query: str) -> None:
    match = CaptionMatch(mode, query)  # type: ignore[arg-type]
    allowed = tokens_match(mode, query)
    assert 15 < allowed.sum() < COUNT / 10
    answers = index.search(collection, "image", QUERIES, 10, only=match)
    found = sum(
        len(set(exact_nearest(IMAGES, vector, 10, allowed)) & {hit.row for hit in hits})
        for vector, hits in zip(QUERIES, answers, strict=True)
    )
    assert found >= 10 * len(QUERIES) - 1


def test_exact_copies_come_in_row_order(index: VectorIndex, collection: str) -> None:
    (hits,) = index.search(collection, "image", IMAGES[7:8], 6)
    assert [hit.row for hit in hits] == [7, *range(COUNT // 2, COUNT // 2 + 5)]
    assert hits[0].score == pytest.approx(1, abs=2e-6)


def test_the_same_search_gives_the_same_answer(index: VectorIndex, collection: str) -> None:
    first, second = (list(index.search(collection, "text", QUERIES, 30)) for _ in range(2))
    assert first == second


@pytest.mark.parametrize(("mode", "query"), [("phrase", "red tiger"), ("all_tokens", "red tiger"), ("phrase", "sky")])
def test_text_matches_are_all_found_in_row_order(index: VectorIndex, collection: str, mode: str, query: str) -> None:
    expected = np.flatnonzero(tokens_match(mode, query)).tolist()
    match = CaptionMatch(mode, query)  # type: ignore[arg-type]
    assert len(expected) > 10
    assert index.match_text(collection, match, COUNT) == expected
    assert index.match_text(collection, match, 7) == expected[:7]


@pytest.mark.parametrize(
    ("mode", "query", "expected"),
    [
        ("phrase", "tiger lily", [0]),
        ("all_tokens", "tiger lily", [0, 2]),
        ("phrase", "LILY Tiger", [0, 2]),  # "Tiger-Lily, TIGER!" holds lily, tiger in order
        ("phrase", "a320", [3]),
        ("phrase", "A320-200", [3]),
        ("phrase", "A32", []),
        ("phrase", "crème", [4]),
        ("phrase", "creme", []),
        ("phrase", "case", [5]),
        ("all_tokens", "!?", []),
        ("phrase", "!?", []),
        ("phrase", "", []),
    ],
)
def test_words_match_whole_and_without_case(
    index: VectorIndex, special: str, mode: str, query: str, expected: list[int]
) -> None:
    assert index.match_text(special, CaptionMatch(mode, query), 10) == expected  # type: ignore[arg-type]


def test_an_unknown_collection_counts_nothing(index: VectorIndex) -> None:
    assert index.count("test-never-made") == 0


def test_a_loader_that_stops_early_is_an_error_and_the_next_one_completes(index: VectorIndex) -> None:
    name = f"test-{uuid.uuid4().hex[:12]}"
    with pytest.raises(ValueError, match="needs 3000 rows"):
        index.ensure(name, SHAPE, lambda: iter([rows(0, 1234)]))
    assert index.ensure(name, SHAPE, shards)
    assert index.count(name) == COUNT
    assert len(index.match_text(name, CaptionMatch("phrase", "tiger lily"), COUNT)) > 10


def test_embedded_collections_survive_a_restart_and_heal_when_damaged(tmp_path: Path) -> None:
    first = QdrantEdgeIndex(tmp_path)
    first.ensure("kept", SHAPE, shards)
    first.close()

    second = QdrantEdgeIndex(tmp_path)
    assert second.count("kept") == COUNT
    second.close()

    (tmp_path / "kept" / COMPLETE).unlink()  # what a process killed while filling leaves behind
    third = QdrantEdgeIndex(tmp_path)
    assert third.count("kept") == 0
    assert third.ensure("kept", SHAPE, shards)
    third.close()

    for file in (tmp_path / "kept").rglob("*.json"):
        file.write_text("{")
    fourth = QdrantEdgeIndex(tmp_path)
    assert fourth.ensure("kept", SHAPE, shards)
    assert fourth.count("kept") == COUNT
    fourth.close()


def test_a_second_owner_of_the_folder_is_told_the_remedy(tmp_path: Path) -> None:
    owner, other = QdrantEdgeIndex(tmp_path), QdrantEdgeIndex(tmp_path)
    owner.ensure("mine", SHAPE, shards)
    with pytest.raises(Transient, match="TOUCHSTONE_INDEX_FOLDER"):
        other.count("mine")
    owner.close()
    assert other.count("mine") == COUNT
    other.close()


def test_an_unreachable_server_is_transient() -> None:
    index = connect_server("http://127.0.0.1:9", "", 2)
    with pytest.raises(Transient, match="unreachable"):
        index.ensure("any", SHAPE, shards)


def test_matrices_answer_as_the_index_behind_them_and_leave_it_what_does_not_fit(tmp_path: Path) -> None:
    engine = QdrantEdgeIndex(tmp_path)
    fits, too_small = (
        MatrixIndex(engine, memory_bytes=2**20),
        MatrixIndex(engine, memory_bytes=2 * 4 * COUNT * DIMENSION - 1),
    )
    for index in (fits, too_small):
        index.ensure("rows", SHAPE, shards)
    for k in (1, 7, 500, COUNT + 1):
        expected = list(engine.search("rows", "image", QUERIES, k))
        assert list(too_small.search("rows", "image", QUERIES, k)) == expected
        answers = list(fits.search("rows", "image", QUERIES, k))
        assert [len(hits) for hits in answers] == [min(k, COUNT)] * len(QUERIES)
        # Engines differ in the last bit of a score, so that near-ties may change places or fall off the cut.
        for mine, theirs in zip(answers, expected, strict=True):
            np.testing.assert_allclose([hit.score for hit in mine], [hit.score for hit in theirs], atol=2e-6)
            assert len({hit.row for hit in mine} & {hit.row for hit in theirs}) >= len(theirs) - 1
    engine.close()

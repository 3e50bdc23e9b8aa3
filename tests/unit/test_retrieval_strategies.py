"""What each strategy finds, over qdrant-client's in-memory index and embeddings that can be read."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest
from pydantic import ValidationError
from qdrant_client import QdrantClient
from scipy.sparse.csgraph import connected_components
from touchstone_contracts.arms.retrieval import RandomDraw, Semantic, Strategy, TextMatch, Union
from touchstone_contracts.catalogue import ClassLabel
from touchstone_contracts.problems import Invalid
from touchstone_retrieval.index.protocol import Collection, IndexRows, IndexShard
from touchstone_retrieval.index.qdrant_server import QdrantServerIndex
from touchstone_retrieval.strategies.findings import Finding, Findings
from touchstone_retrieval.strategies.joined_results import first_of_each_group
from touchstone_retrieval.strategies.registry import find_images
from touchstone_retrieval.strategies.upstream import SearchableUpstream

# The in-memory client says that it ignores the text index and searches exactly: both is what these tests want.
pytestmark = pytest.mark.filterwarnings("ignore:Payload indexes", "ignore:Local mode performs exact")

CAPTIONS = (
    "a Tiger-Lily in bloom",
    "the tiger beside a lily pond",
    "tigers and lilies",
    "an airplane, A320-200",
    "tiger lily again",
    "nothing of the sort",
)
TIGER_LILY = ClassLabel(id=0, display_name="tiger lily")
AIRBUS = ClassLabel(id=1, display_name="A320", aliases=("airplane",))
TEMPLATES = ("a photo of {name}", "my {name}")
WORDS = ("tiger", "lily", "airplane", "a320")


def embed_words(texts: Sequence[str]) -> np.ndarray:
    """One dimension per word, one for everything else: cosines can be counted on fingers."""
    rows = [[float(word in text.lower()) for word in WORDS] + [0.1] for text in texts]
    vectors = np.array(rows, dtype=np.float32)
    unit: np.ndarray = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    return unit


@pytest.fixture
def upstream() -> Iterator[SearchableUpstream]:
    vectors = embed_words(CAPTIONS)
    images = np.roll(vectors, 1, axis=0)  # images and captions disagree, so that the indexes differ
    index = QdrantServerIndex(QdrantClient(":memory:"))
    rows = IndexRows(images, vectors)
    words = Collection("words", 5, (IndexShard("0" * 24, 6, lambda: rows),))
    index.ensure(words)
    ids = ["id0", "id1", "id2", "id3", "id0", "id5"]  # rows 0 and 4 hold the same bytes
    yield SearchableUpstream(index, words, ids, embed_words, pa.chunked_array([CAPTIONS]), lambda rows: images[rows])
    index.close()


def find(strategy: Strategy, upstream: SearchableUpstream, *labels: ClassLabel, seed: int = 0) -> Findings:
    found, report = find_images(strategy, upstream, labels, TEMPLATES, np.random.default_rng(seed))
    return [Finding(**row) for row in found.to_pylist()], report


def rows_of(findings: Findings) -> list[int]:
    return [finding.row for finding in findings[0]]


def test_phrase_wants_adjacent_words_in_order(upstream: SearchableUpstream) -> None:
    found, report = find(TextMatch(mode="phrase"), upstream, TIGER_LILY)
    assert [f.row for f in found] == [0]  # row 4 matches as well, with the bytes of row 0
    assert found[0].found_by == "text_match/phrase/0"
    assert math.isnan(found[0].similarity)
    assert (report.requested, report.found_again, report.kept) == (500, 1, 1)


def test_all_tokens_takes_them_anywhere_but_whole(upstream: SearchableUpstream) -> None:
    assert rows_of(find(TextMatch(mode="all_tokens"), upstream, TIGER_LILY)) == [0, 1]


@pytest.mark.parametrize(
    ("mode", "name", "rows"),
    [
        ("words_or_phrase", "lily tiger", [0, 1]),  # a plain name: every word anywhere
        ("words_or_phrase", "lily-tiger", []),  # a hyphen or slash: a phrase, and no caption has lily before tiger
        ("words_or_phrase", "tiger/lily", [0]),
        ("joined_words", "bloom tiger-lily", [0]),
        ("joined_words", "pond tiger-lily", []),  # row 1 has all three words, but not together
        ("joined_words", "pond tiger ?", [1]),  # a part without letters or digits asks for nothing
        ("joined_words", "? !", []),
    ],
)
def test_what_hyphens_and_slashes_join_is_looked_for_together(
    upstream: SearchableUpstream, mode: str, name: str, rows: list[int]
) -> None:
    found = find(TextMatch.model_validate({"mode": mode}), upstream, ClassLabel(id=0, display_name=name))
    assert rows_of(found) == rows
    assert all(finding.found_by == f"text_match/{mode}/0" for finding in found[0])


def test_query_templates_replace_the_names_but_not_stated_queries(upstream: SearchableUpstream) -> None:
    strategy = TextMatch(query_templates=("{name} in bloom", "{name} again"), queries={"A320": ("airplane",)})
    found, report = find(strategy, upstream, TIGER_LILY, AIRBUS)
    assert [(f.class_id, f.row, f.query) for f in found] == [(0, 0, "tiger lily in bloom"), (1, 3, "airplane")]
    assert (report.requested, report.found_again) == (3 * 500, 1)  # row 4 has the bytes of row 0


def test_query_templates_are_no_patterns() -> None:
    with pytest.raises(ValidationError, match="query_templates"):
        TextMatch(mode="regex", query_templates=("a {name}",))


def test_aliases_are_queries_of_their_own(upstream: SearchableUpstream) -> None:
    found, report = find(TextMatch(), upstream, AIRBUS)
    assert [f.row for f in found] == [3]
    assert report.requested == 1000
    assert report.found_again == 1


def test_retrieval_query_replaces_the_display_name(upstream: SearchableUpstream) -> None:
    renamed = ClassLabel(id=0, display_name="tiger lily", retrieval_query="lily pond")
    assert rows_of(find(TextMatch(), upstream, renamed)) == [1]


def test_a_query_without_words_finds_nothing(upstream: SearchableUpstream) -> None:
    for mode in ("phrase", "all_tokens"):
        assert find(TextMatch(mode=mode), upstream, ClassLabel(id=0, display_name="?!"))[0] == []


def test_text_matches_are_cut_in_upstream_order(upstream: SearchableUpstream) -> None:
    label = ClassLabel(id=0, display_name="a")
    assert rows_of(find(TextMatch(results_per_query=2), upstream, label)) == [0, 1]


def test_an_image_found_for_two_classes_stays_in_both(upstream: SearchableUpstream) -> None:
    other = ClassLabel(id=1, display_name="bloom")
    found, _ = find(TextMatch(), upstream, TIGER_LILY, other)
    assert [(f.class_id, f.row) for f in found] == [(0, 0), (1, 0)]


def test_semantic_asks_each_template_of_each_index(upstream: SearchableUpstream) -> None:
    found, report = find(Semantic(results_per_query=2), upstream, TIGER_LILY)
    # By image row 1 (which has row 0's vector) and 2; by text rows 0 and 1, whose vectors equal the query's.
    assert [(f.row, f.found_by) for f in found] == [
        (1, "semantic/image/0"),
        (2, "semantic/image/0"),
        (0, "semantic/text/0"),
    ]
    assert found[0].similarity == pytest.approx(1.0)
    assert (report.requested, report.found_again, report.kept) == (8, 5, 3)


def test_results_that_resemble_a_better_one_of_their_query_are_joined_with_it(upstream: SearchableUpstream) -> None:
    plain = Semantic(indexes=("text",), results_per_query=4, templates=("{name}",))
    assert rows_of(find(plain, upstream, TIGER_LILY)) == [0, 1, 2]  # row 4 has the bytes of row 0
    joined = plain.model_copy(update={"near_duplicate_cosine": 0.94})
    found, report = find(joined, upstream, TIGER_LILY)
    assert [f.row for f in found] == [0, 2]  # captions 0, 1 and 4 have one vector
    assert (report.requested, report.near_duplicate, report.found_again, report.kept) == (4, 2, 0, 2)
    assert report.rejected == {"found_again": 0, "near_duplicate": 2}


def test_a_chain_of_resemblances_is_one_group_of_which_the_first_stays() -> None:
    angles = np.deg2rad([0, 40, 10, 20, 60, 30])
    vectors = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    stays = first_of_each_group(vectors, math.cos(math.radians(10.5)))
    assert stays.tolist() == [True, False, False, False, True, False]  # 0-10-20-30-40 hang together, 60 alone
    assert first_of_each_group(vectors, 1.0).all()
    assert first_of_each_group(vectors[:0], 0.94).tolist() == []


@pytest.mark.parametrize("seed", range(3))
def test_groups_are_the_connected_components(seed: int) -> None:
    vectors = np.random.default_rng(seed).normal(size=(60, 3))
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    count, groups = connected_components(vectors @ vectors.T >= 0.95)
    assert 5 < count < 55
    first = [int(np.flatnonzero(groups == group)[0]) for group in range(count)]
    assert np.flatnonzero(first_of_each_group(vectors, 0.95)).tolist() == sorted(first)


def test_semantic_over_one_index_asks_that_one(upstream: SearchableUpstream) -> None:
    found, report = find(Semantic(indexes=("text",), results_per_query=1), upstream, TIGER_LILY)
    assert [(f.row, f.found_by) for f in found] == [(0, "semantic/text/0")]
    assert report.requested == 2


def test_semantic_returns_all_when_the_upstream_is_smaller_than_k(upstream: SearchableUpstream) -> None:
    found, report = find(Semantic(results_per_query=500), upstream, TIGER_LILY)
    assert len(found) == 5  # six rows, two of them the same image
    assert report.kept == 5


def test_union_records_the_text_match_and_adds_up(upstream: SearchableUpstream) -> None:
    strategy = Union(semantic=Semantic(results_per_query=2))
    found, report = find(strategy, upstream, TIGER_LILY)
    assert [(f.row, f.found_by) for f in found] == [
        (0, "text_match/phrase/0"),
        (1, "semantic/image/0"),
        (2, "semantic/image/0"),
    ]
    assert report.kept == len(found)
    assert report.requested == 500 + 8
    assert report.found_again == 1 + 5 + 1


def test_hits_too_far_below_the_best_of_their_query_are_left_out_and_counted(upstream: SearchableUpstream) -> None:
    everything, _ = find(Semantic(results_per_query=6), upstream, TIGER_LILY)
    found, report = find(Semantic(results_per_query=6, max_below_best=0.1), upstream, TIGER_LILY)
    assert {f.row for f in found} < {f.row for f in everything}
    assert min(f.similarity for f in found) >= 0.9  # the best hits are the query itself
    assert report.too_far > 0
    assert report.requested == 24 == report.found_again + report.kept + report.too_far
    assert find(Semantic(results_per_query=6, max_below_best=2), upstream, TIGER_LILY)[0] == everything


def test_where_captions_decide_an_image_is_not_found_for_a_class_that_it_merely_resembles(
    upstream: SearchableUpstream,
) -> None:
    # By meaning, the picture of row 1 looks like the caption of row 0; its own caption names the lily.
    lily = ClassLabel(id=1, display_name="lily")
    semantic = Semantic(results_per_query=2)
    plain, _ = find(Union(semantic=semantic), upstream, TIGER_LILY, lily)
    found, report = find(Union(semantic=semantic, captions_decide=True), upstream, TIGER_LILY, lily)
    assert {(0, 1), (1, 1)} <= {(f.class_id, f.row) for f in plain}
    assert (0, 1) not in {(f.class_id, f.row) for f in found}
    assert (1, 1) in {(f.class_id, f.row) for f in found}
    assert (0, 2) in {(f.class_id, f.row) for f in found}  # its caption names no class
    assert report.named_another == len(plain) - len(found) > 0
    assert report.kept == len(found)


def test_random_draw_labels_by_the_nearest_class_and_repeats_for_a_seed(upstream: SearchableUpstream) -> None:
    strategy = RandomDraw(images_per_class=2)
    first = find(strategy, upstream, TIGER_LILY, AIRBUS, seed=3)
    assert first == find(strategy, upstream, TIGER_LILY, AIRBUS, seed=3)
    assert first[1].requested == 4
    assert {f.found_by for f in first[0]} == {"random"}
    distinct = replace(upstream, image_ids=[str(row) for row in range(6)])
    everything, report = find(RandomDraw(images_per_class=100), distinct, TIGER_LILY, AIRBUS)
    assert report.requested == 200
    # Row 4 carries the airplane caption's vector; rows 1, 2 and 5 that of tiger and lily.
    labels = {f.row: f.class_id for f in everything}
    assert labels[4] == 1
    assert [labels[row] for row in (1, 2, 5)] == [0, 0, 0]


def test_random_draws_of_other_seeds_differ(upstream: SearchableUpstream) -> None:
    drawn = {tuple(rows_of(find(RandomDraw(images_per_class=2), upstream, TIGER_LILY, seed=s))) for s in range(10)}
    assert len(drawn) > 3


def test_a_regex_finds_its_pattern_in_any_case(upstream: SearchableUpstream) -> None:
    strategy = TextMatch(mode="regex", queries={"tiger lily": (r"tigers? (and|beside)", "A3[0-9]0")})
    found, report = find(strategy, upstream, TIGER_LILY)
    assert [(f.row, f.found_by, f.query) for f in found] == [
        (1, "text_match/regex/0", r"tigers? (and|beside)"),
        (2, "text_match/regex/0", r"tigers? (and|beside)"),
        (3, "text_match/regex/1", "A3[0-9]0"),
    ]
    assert report.requested == 1000
    cut = strategy.model_copy(update={"results_per_query": 1})
    assert rows_of(find(cut, upstream, TIGER_LILY)) == [1, 3]


def test_a_class_without_patterns_is_looked_for_by_its_names_as_whole_words(upstream: SearchableUpstream) -> None:
    strategy = TextMatch(mode="regex", queries={"0": ("no such thing",)})
    # `A320` and `airplane` are both in row 3; `tiger` is no whole word of "tigers".
    assert rows_of(find(strategy, upstream, TIGER_LILY, AIRBUS)) == [3]
    assert rows_of(find(TextMatch(mode="regex"), upstream, ClassLabel(id=0, display_name="tiger"))) == [0, 1]
    assert rows_of(find(TextMatch(mode="regex"), upstream, ClassLabel(id=0, display_name="A320-200"))) == [3]


@pytest.mark.parametrize("name", ["(", "C++ [old]", "\u00c5land", "?!"])
def test_a_name_full_of_signs_is_no_pattern(upstream: SearchableUpstream, name: str) -> None:
    captions = pa.chunked_array([["nothing", f"an icon of {name}.", f"x{name}y"]])
    special = replace(upstream, captions=captions)
    assert rows_of(find(TextMatch(mode="regex"), special, ClassLabel(id=0, display_name=name))) == [1]


def test_a_pattern_that_makes_backtracking_engines_hang_is_answered(upstream: SearchableUpstream) -> None:
    endless = replace(upstream, captions=pa.chunked_array([["a" * 2000 + "!"]]))
    assert find(TextMatch(mode="regex", queries={"0": ("(a|aa)+$",)}), endless, TIGER_LILY)[0] == []


def test_a_broken_pattern_is_refused(upstream: SearchableUpstream) -> None:
    with pytest.raises(Invalid, match="pattern") as caught:
        find(TextMatch(mode="regex", queries={"0": ("(",)}), upstream, TIGER_LILY)
    assert caught.value.code == "bad_pattern"


def test_queries_of_a_class_replace_its_names(upstream: SearchableUpstream) -> None:
    strategy = TextMatch(queries={"A320": ("lily pond", "tigers")})
    found, report = find(strategy, upstream, TIGER_LILY, AIRBUS)
    assert [(f.class_id, f.row, f.query) for f in found] == [
        (0, 0, "tiger lily"),
        (1, 1, "lily pond"),
        (1, 2, "tigers"),
    ]
    assert report.requested == 500 + 2 * 500


def test_classes_with_one_name_are_asked_for_each(upstream: SearchableUpstream) -> None:
    twin = ClassLabel(id=1, display_name="tiger lily")
    found, _ = find(TextMatch(queries={"tiger lily": ("pond",)}), upstream, TIGER_LILY, twin)
    assert [(f.class_id, f.row) for f in found] == [(0, 1), (1, 1)]
    found, _ = find(TextMatch(queries={"1": ("pond",)}), upstream, TIGER_LILY, twin)
    assert [(f.class_id, f.row) for f in found] == [(0, 0), (1, 1)]


def test_a_class_that_nothing_is_found_for_shifts_no_label(upstream: SearchableUpstream) -> None:
    classes = [ClassLabel(id=0, display_name="zebra"), ClassLabel(id=1, display_name="tiger lily")]
    assert [(f.class_id, f.row) for f in find(TextMatch(), upstream, *classes)[0]] == [(1, 0)]


def test_templates_of_the_strategy_replace_the_targets(upstream: SearchableUpstream) -> None:
    strategy = Semantic(indexes=("text",), results_per_query=1, templates=("{name} and an airplane",))
    found, report = find(strategy, upstream, TIGER_LILY)
    assert [f.query for f in found] == ["tiger lily and an airplane"]
    assert report.requested == 1


def test_searching_classes_in_batches_finds_what_one_by_one_does(
    upstream: SearchableUpstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = find(Union(), upstream, TIGER_LILY, AIRBUS)
    monkeypatch.setattr("touchstone_retrieval.strategies.semantic.HITS_AT_A_TIME", 1)
    # By their text: a text match has no similarity, and NaN does not equal itself.
    assert repr(find(Union(), upstream, TIGER_LILY, AIRBUS)) == repr(whole)

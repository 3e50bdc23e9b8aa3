"""Rows of embeddings that are not finite, or zero: dropped, named, and found by no search."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from touchstone_contracts.account import Named
from touchstone_contracts.problems import Invalid
from touchstone_contracts.steps import ImagesEmbedded, RowsCompared
from touchstone_contracts.values import Blob
from touchstone_encoders.embedding import require_finite
from touchstone_retrieval.curation.candidates import Candidates
from touchstone_retrieval.embedded_images import normalised
from touchstone_retrieval.index.exact_nearest import exact_nearest
from touchstone_retrieval.ingest.given_embeddings import UnusableEmbeddings, read_embeddings
from touchstone_retrieval.unusable_rows import named_rows, require_some_usable, usable_rows, zeroed

WIDTH = 8
BAD = {"not a number": np.nan, "infinite": np.inf, "negative infinite": -np.inf}


def rows_of(count: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(count, WIDTH)).astype(np.float32)


def read(folder: Path, rows: np.ndarray) -> np.ndarray:
    np.save(folder / "x.npy", rows)
    return read_embeddings(folder / "x.npy", "library:x.npy", len(rows), WIDTH)


@pytest.mark.parametrize("value", BAD.values(), ids=BAD)
@pytest.mark.parametrize("precision", [np.float16, np.float32])
def test_one_value_that_is_not_finite_costs_its_row_alone(tmp_path: Path, precision: type, value: float) -> None:
    rows: np.ndarray = rows_of(6).astype(precision)
    rows[2, 3] = value
    taken = read(tmp_path, rows)
    assert usable_rows(taken).tolist() == [True, True, False, True, True, True]
    assert not taken[2].any()
    np.testing.assert_array_equal(np.delete(taken, 2, axis=0), read(tmp_path, np.delete(rows, 2, axis=0)))


def test_values_beyond_16_bits_are_infinite_there_and_numbers_in_32_bits(tmp_path: Path) -> None:
    rows = rows_of(4)
    rows[1] = np.linspace(1, 8, WIDTH) * 70_000
    with np.errstate(over="ignore"):
        assert usable_rows(read(tmp_path, rows.astype(np.float16))).tolist() == [True, False, True, True]
    assert usable_rows(read(tmp_path, rows)).all()


@pytest.mark.parametrize("scale", [1e-38, 1e-20, 1e-3, 100.0, 1e19, 1e30])
def test_rows_of_any_length_are_brought_to_length_one(tmp_path: Path, scale: float) -> None:
    rows = rows_of(5)
    expected = read(tmp_path, rows)
    found = read(tmp_path, (rows * np.float32(scale)).astype(np.float32))
    np.testing.assert_allclose(found.astype(np.float32), expected.astype(np.float32), atol=1e-3)
    np.testing.assert_allclose(np.linalg.norm(found.astype(np.float32), axis=1), 1, atol=2e-3)


def test_a_file_of_mostly_unusable_rows_is_refused_with_both_numbers(tmp_path: Path) -> None:
    rows = rows_of(10)
    rows[:5] = 0
    assert usable_rows(read(tmp_path, rows)).sum() == 5
    rows[5] = np.nan
    with pytest.raises(UnusableEmbeddings, match=r"6 of 10 rows of library:x\.npy are zero or not finite"):
        read(tmp_path, rows)


def test_another_number_of_rows_is_refused_with_both_numbers(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", rows_of(6))
    with pytest.raises(UnusableEmbeddings, match=r"shape \(6, 8\); its table has 7 rows.*in the same order"):
        read_embeddings(tmp_path / "x.npy", "library:x.npy", 7, WIDTH)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(st.sampled_from(["good", "zero", *BAD]), min_size=1, max_size=30).filter(
        lambda kinds: 2 * kinds.count("good") >= len(kinds)
    ),
    st.sampled_from([np.float16, np.float32]),
    st.integers(0, 2**32 - 1),
)
def test_whatever_is_bad_goes_and_whatever_is_good_stays(
    tmp_path: Path, kinds: list[str], precision: type, seed: int
) -> None:
    rows: np.ndarray = rows_of(len(kinds), seed).astype(precision)
    for row, kind in enumerate(kinds):
        if kind == "zero":
            rows[row] = 0
        elif kind in BAD:
            rows[row, row % WIDTH] = BAD[kind]
    taken = read(tmp_path, rows)
    good = np.array([kind == "good" for kind in kinds])
    np.testing.assert_array_equal(usable_rows(taken), good)
    np.testing.assert_array_equal(taken[good], normalised(rows[good]).astype(np.float16))
    lost = named_rows([f"{row}.jpg" for row in range(len(kinds))], taken)
    assert sum(named.count for named in lost.values()) + good.sum() == len(kinds)
    hits = next(exact_nearest(normalised(rows_of(1, 1)), normalised(taken), len(kinds), np.flatnonzero(~good)))
    assert sorted(hit.row for hit in hits) == np.flatnonzero(good).tolist()


def test_a_zero_row_does_not_rank_before_rows_of_negative_cosine() -> None:
    query = normalised(np.ones((1, WIDTH)))
    vectors = np.concatenate([np.zeros((1, WIDTH), np.float32), -query, query])
    assert [hit.row for hit in next(exact_nearest(query, vectors, 3, [0]))] == [2, 1]


def test_stored_rows_that_are_not_finite_are_read_as_zeros() -> None:
    rows = rows_of(3)
    rows[1, 0] = np.nan
    assert usable_rows(normalised(rows)).tolist() == [True, False, True]
    assert zeroed(rows[[0, 2]]) is not None
    np.testing.assert_array_equal(zeroed(rows)[[0, 2]], rows[[0, 2]])


def test_unusable_rows_are_named_by_what_they_are_of() -> None:
    images, captions = rows_of(4), rows_of(4)
    images[1] = 0
    captions[[1, 3]] = np.nan
    found = named_rows(["a.jpg", "b.jpg", "c.jpg", ""], images, captions)
    assert found == {
        "unusable_image_embedding": Named(count=1, names=("b.jpg",)),
        "unusable_caption_embedding": Named(count=2, names=("b.jpg", "row 3")),
    }
    assert named_rows(["a.jpg"], rows_of(1)) == {}


def test_an_encoder_that_gives_nothing_usable_is_refused() -> None:
    require_some_usable(np.zeros((0, 0)), "mini-clip")
    require_some_usable(np.array([[0, 0], [1, 0]]), "mini-clip")
    with pytest.raises(Invalid, match="all 2 embeddings that mini-clip computed") as refused:
        require_some_usable(np.full((2, 4), np.nan), "mini-clip")
    assert refused.value.code == "no_usable_embedding"


@pytest.mark.parametrize("value", [0.0, np.nan, np.inf])
def test_a_text_without_an_embedding_is_named(value: float) -> None:
    vectors = np.ones((3, 4), np.float32)
    assert require_finite(vectors, ["a", "b", "c"]) is vectors
    vectors[1] = value
    with pytest.raises(Invalid, match="no usable embedding of 'b'"):
        require_finite(vectors, ["a", "b", "c"])


def test_candidates_without_an_embedding_or_descriptor_cannot_be_compared() -> None:
    images, descriptors = rows_of(4), rows_of(4)
    images[0], descriptors[2] = 0, np.nan
    with_both = Candidates(images, np.zeros(4, np.int64), ["a", "b", "c", "d"], descriptors)
    assert with_both.comparable.tolist() == [False, True, False, True]


def test_an_account_tells_of_embeddings_that_nothing_was_compared_with() -> None:
    blob = Blob(digest="0" * 64, size=1)
    own = ImagesEmbedded(count=3, dimension=8, image_embeddings=blob)
    unseen = own.model_copy(update={"compared": ()})
    captions = own.model_copy(update={"compared": (RowsCompared(of="captions", rows=3, agreement=1),)})
    seen = own.model_copy(update={"compared": (RowsCompared(of="images", rows=3, agreement=1),)})
    assert [set(each.notes) for each in (own, unseen, captions, seen)] == [
        set(),
        {"embeddings_not_compared"},
        {"embeddings_not_compared"},
        set(),
    ]
    assert unseen.notes["embeddings_not_compared"].count == 3
    assert "compared" not in own.model_dump(mode="json")
    assert "unusable" not in own.model_dump(mode="json")

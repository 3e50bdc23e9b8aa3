"""Each rule of curation, with a handful of numbers."""

import numpy as np
import pytest
from touchstone_contracts.curation import KeepAboveScore, KeepTopFraction
from touchstone_retrieval.curation.cap import within_cap
from touchstone_retrieval.curation.clip_score import own_class_scores
from touchstone_retrieval.curation.decontamination import leaked
from touchstone_retrieval.curation.filters import apply_rule, keep_top_fraction
from touchstone_retrieval.curation.near_duplicates import BLOCK, without_near_duplicates
from touchstone_retrieval.curation.nearest import nearest_images

ONE_CLASS = np.zeros(5, dtype=np.int64)
SCORES = np.array([0.1, 0.5, 0.3, 0.2, 0.4], dtype=np.float32)


def unit(*angles: float) -> np.ndarray:
    """Unit vectors in the plane by angle in degrees: their cosines are known."""
    radians = np.deg2rad(angles)
    return np.stack([np.cos(radians), np.sin(radians)], axis=1).astype(np.float32)


def test_an_image_is_scored_against_its_own_class_only() -> None:
    scores = own_class_scores(unit(0, 60, 90), unit(0, 90), np.array([0, 0, 1]))
    np.testing.assert_allclose(scores, [1, 0.5, 1], atol=1e-6)


def test_keep_above_score_includes_the_score_itself() -> None:
    scores = np.array([0.19, 0.25, 0.5], dtype=np.float32)
    assert apply_rule(KeepAboveScore(minimum=0.25), scores, np.zeros(3, int)).tolist() == [False, True, True]


def test_top_fraction_keeps_scores_that_reach_the_quantile() -> None:
    # The 70th percentile of 0.1 .. 0.5 is 0.38 between ranks, so 0.4 and 0.5 stay.
    kept = apply_rule(KeepTopFraction(fraction=0.3), SCORES, ONE_CLASS)
    assert kept.tolist() == [False, True, False, False, True]


def test_top_fraction_of_one_keeps_everything() -> None:
    assert keep_top_fraction(SCORES, ONE_CLASS, 1.0).all()


def test_top_fraction_is_taken_in_each_class_by_itself() -> None:
    scores = np.array([0.9, 0.8, 0.7, 0.1, 0.2, 0.3])
    kept = keep_top_fraction(scores, np.array([0, 0, 0, 1, 1, 1]), 0.34)
    assert kept.tolist() == [True, False, False, False, False, True]


def test_top_fraction_keeps_ties_and_never_empties_a_class() -> None:
    assert keep_top_fraction(np.array([0.5, 0.5, 0.5]), np.zeros(3, int), 0.3).all()
    assert keep_top_fraction(np.array([0.2]), np.zeros(1, int), 0.01).all()


def test_filters_of_no_images_keep_none() -> None:
    nothing, nowhere = np.zeros(0), np.zeros(0, dtype=np.int64)
    for rule in (KeepTopFraction(), KeepAboveScore()):
        assert apply_rule(rule, nothing, nowhere).shape == (0,)


def test_cap_keeps_the_best_of_each_class_and_the_earlier_of_equals() -> None:
    scores = np.array([0.5, 0.5, 0.9, 0.1, 0.2])
    kept = within_cap(scores, np.array([0, 0, 0, 1, 1]), 2)
    assert kept.tolist() == [True, False, True, True, True]
    assert within_cap(scores, np.zeros(5, int), None).all()


def test_of_near_duplicates_the_best_scored_stays() -> None:
    images, ids = unit(0, 5, 60), ["a", "b", "c"]
    kept = without_near_duplicates(images, ids, np.array([0.1, 0.3, 0.2]), np.zeros(3, int), 0.99)
    assert kept.tolist() == [False, True, True]


def test_near_duplicates_in_other_classes_do_not_count() -> None:
    kept = without_near_duplicates(unit(0, 0), ["a", "a"], np.array([0.1, 0.3]), np.array([0, 1]), 0.9)
    assert kept.all()


def test_identical_bytes_are_duplicates_whatever_their_embeddings_say() -> None:
    # fp16 embeddings of the same bytes in other batches may differ by a little.
    kept = without_near_duplicates(unit(0, 4), ["same", "same"], np.array([0.3, 0.3]), np.zeros(2, int), 1.0)
    assert kept.tolist() == [True, False]


def test_a_chain_of_likenesses_is_cut_from_its_best_image() -> None:
    kept = without_near_duplicates(
        unit(0, 10, 20), ["a", "b", "c"], np.array([0.9, 0.8, 0.7]), np.zeros(3, int), float(np.cos(np.deg2rad(12)))
    )
    assert kept.tolist() == [True, False, True]


def test_near_duplicates_across_blocks_are_those_of_the_plain_loop() -> None:
    rng = np.random.default_rng(0)
    count = 2 * BLOCK + 37
    centres = rng.normal(size=(300, 8))
    images = centres[rng.integers(300, size=count)] + 0.15 * rng.normal(size=(count, 8))
    images = (images / np.linalg.norm(images, axis=1, keepdims=True)).astype(np.float32)
    scores = rng.random(count).astype(np.float32)
    kept = without_near_duplicates(images, [str(i) for i in range(count)], scores, np.zeros(count, int), 0.97)
    expected: list[int] = []
    for i in np.argsort(-scores, kind="stable"):
        if not expected or (images[expected] @ images[i]).max() < 0.97:
            expected.append(int(i))
    assert 100 < len(expected) < count - 100
    assert np.flatnonzero(kept).tolist() == sorted(expected)


def test_every_image_gets_its_nearest_test_image() -> None:
    nearest = nearest_images(unit(1, 50, 88), unit(0, 90))
    assert nearest.position.tolist() == [0, 1, 1]
    np.testing.assert_allclose(nearest.cosine, np.cos(np.deg2rad([1, 40, 2])), atol=1e-6)


@pytest.mark.parametrize(("leak_cosine", "expected"), [(0.999, [True, False, True]), (None, [False] * 3)])
def test_images_too_close_to_a_test_image_leak(leak_cosine: float | None, expected: list[bool]) -> None:
    nearest = nearest_images(unit(1, 50, 88), unit(0, 90))
    assert leaked(nearest, ["a", "b", "c"], ["t", "u"], leak_cosine).tolist() == expected


def test_the_bytes_of_a_test_image_leak_whatever_their_embedding_says() -> None:
    nearest = nearest_images(unit(1, 50), unit(0))
    assert leaked(nearest, ["a", "t"], ["t"], 0.9999).tolist() == [False, True]
    assert leaked(nearest, ["a", "t"], ["t"], None).tolist() == [False, False]


def test_a_copy_of_a_test_image_leaks_at_cosine_one() -> None:
    rng = np.random.default_rng(1)
    images = rng.normal(size=(50, 512)).astype(np.float32)
    images /= np.linalg.norm(images, axis=1, keepdims=True)
    nearest = nearest_images(images, images[::-1].copy())
    assert leaked(nearest, [str(i) for i in range(50)], ["t"] * 50, 1.0).sum() == 50
    assert nearest.cosine.max() <= 1

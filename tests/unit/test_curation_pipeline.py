"""The order of the rules, the counts and the reasons."""

import numpy as np
import pytest
from touchstone_contracts.curation import Curation, KeepAboveScore, KeepAll, KeepTopFraction
from touchstone_retrieval.curation.pipeline import (
    Candidates,
    Curated,
    HeldOutImages,
    References,
    count_stages,
    curate,
)

# Class 0 lies at 0 degrees, class 1 at 90; the test image at 30.
CLASSES = (0, 90)
TEST = (30,)


def unit(*angles: float) -> np.ndarray:
    radians = np.deg2rad(angles)
    return np.stack([np.cos(radians), np.sin(radians)], axis=1).astype(np.float32)


def curated(angles: tuple[float, ...], class_ids: list[int], rules: Curation) -> tuple[Curated, Candidates]:
    candidates = Candidates(unit(*angles), np.array(class_ids, dtype=np.int64), [f"id{a}" for a in angles])
    return curate(candidates, unit(*CLASSES), References(HeldOutImages(unit(*TEST), ["test"])), rules), candidates


def rules(**changes: object) -> Curation:
    plain = {"filter": KeepAll(), "per_class_cap": None, "near_duplicate_cosine": None, "leak_cosine": None}
    return Curation.model_validate(plain | changes)


def test_each_image_is_dropped_by_the_first_rule_that_applies() -> None:
    result, candidates = curated(
        (30, 0, 1, 70, 10, 20, 95),
        [0, 0, 0, 0, 0, 0, 1],
        rules(leak_cosine=0.999, near_duplicate_cosine=0.999, filter=KeepAboveScore(minimum=0.5), per_class_cap=2),
    )
    assert result.reasons.tolist() == ["leaked", "", "near_duplicate", "filtered", "", "over_cap", ""]
    counts = count_stages(result.reasons, candidates.class_ids, 3, requested=20)
    assert (counts.requested, counts.obtained, counts.kept) == (20, 7, 3)
    assert (counts.leaked, counts.near_duplicate, counts.filtered, counts.over_cap) == (1, 1, 1, 1)
    assert counts.classes_without_images == (2,)


def test_a_leaked_image_does_not_shift_the_quantile_of_its_class() -> None:
    # With the leaked image, the best half of four would be 1.0 and 0.87; without it, of three, 1.0 and 0.5.
    result, _ = curated((30, 0, 60, 70), [0] * 4, rules(leak_cosine=0.999, filter=KeepTopFraction(fraction=0.5)))
    assert result.reasons.tolist() == ["leaked", "", "", "filtered"]


def test_a_leaked_image_does_not_shadow_its_duplicate() -> None:
    result, _ = curated((30, 31.5), [0, 0], rules(leak_cosine=0.9999, near_duplicate_cosine=0.99))
    assert result.reasons.tolist() == ["leaked", ""]


def test_every_candidate_keeps_its_score_and_nearest_test_image() -> None:
    result, _ = curated((30, 0, 90), [0, 0, 1], rules(leak_cosine=0.999))
    np.testing.assert_allclose(result.scores, [np.cos(np.pi / 6), 1, 1], atol=1e-6)
    np.testing.assert_allclose(result.nearest.cosine, [1, np.cos(np.pi / 6), 0.5], atol=1e-6)


def test_no_candidates_are_a_declared_fact() -> None:
    result, candidates = curated((), [], Curation())
    counts = count_stages(result.reasons, candidates.class_ids, 2, requested=10)
    assert (counts.obtained, counts.kept, counts.classes_without_images) == (0, 0, (0, 1))


@pytest.mark.parametrize("seed", range(5))
def test_counts_always_add_up(seed: int) -> None:
    rng = np.random.default_rng(seed)
    angles = tuple(rng.uniform(0, 120, 200).tolist())
    result, candidates = curated(angles, rng.integers(2, size=200).tolist(), Curation(per_class_cap=20))
    counts = count_stages(result.reasons, candidates.class_ids, 2, requested=200)
    dropped = counts.leaked + counts.near_duplicate + counts.filtered + counts.over_cap
    assert counts.kept + dropped == counts.obtained == 200
    assert counts.leaked > 0
    assert counts.near_duplicate > 0

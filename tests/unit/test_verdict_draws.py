"""Clustered test images, arms that share their draws, and runs that failed."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from support.verdict_simulation import noise
from support.verdict_simulation_draws import CLUSTERED, Draws, borrowed, borrowed_in_pairs, cluster_estimates
from touchstone_contracts.experiment import Comparison
from touchstone_contracts.problems import Invalid, Unfair
from touchstone_verdict.borrowed import BorrowedEstimate
from touchstone_verdict.clusters import image_variance, number_of_clusters, numbered, summed
from touchstone_verdict.curves import Curve, redrawn
from touchstone_verdict.failed_runs import Validation, find_failures
from touchstone_verdict.intervals import Estimate, components
from touchstone_verdict.judge import judge

RUNS = 400


def covered(estimates: Sequence[Estimate | BorrowedEstimate], true: float = 0.0) -> float:
    intervals = [estimate.interval(0.95) for estimate in estimates]
    return float(np.mean([low <= true <= high for low, high in intervals]))


# ------------------------------------------------------------------------------------------------ clusters


def test_by_cluster_the_truth_is_covered_where_image_by_image_it_is_not() -> None:
    singly, clustered = cluster_estimates(CLUSTERED[2], RUNS)
    assert covered(singly) < 0.90
    assert covered(clustered) >= 0.95 - noise(0.95, RUNS)


def test_clusters_of_one_image_change_nothing() -> None:
    a, b = np.random.default_rng(0).random((2, 3, 50)).round()
    alone, none = components(a, b, np.arange(50, dtype=np.int32)).estimate(), components(a, b).estimate()
    assert alone.interval(0.95) == pytest.approx(none.interval(0.95))


def test_copies_of_every_image_in_its_cluster_add_no_certainty() -> None:
    a, b = (np.random.default_rng(1).random((2, 4, 60)) < 0.6).astype(float)
    thrice = components(np.tile(a, 3), np.tile(b, 3), np.tile(np.arange(60), 3).astype(np.int32)).estimate()
    assert thrice.interval(0.95) == pytest.approx(components(a, b).estimate().interval(0.95))


def test_sums_and_numbers_follow_the_names() -> None:
    clusters = numbered(["cow", "", "cow", "", "owl"])
    assert number_of_clusters(5, clusters) == 4  # an image without a name is alone
    assert sorted(summed(np.array([1.0, 2, 3, 4, 5]), clusters)) == [2, 4, 4, 5]
    assert image_variance(np.ones(5), np.zeros(5, dtype=np.int32)) == 0.0  # a single draw tells nothing


def test_a_single_cluster_leaves_everything_open() -> None:
    a, b = np.random.default_rng(2).random((2, 3, 30)).round()
    assert components(a, b, np.zeros(30, dtype=np.int32)).estimate().interval(0.95) == (-1.0, 1.0)


def test_redrawn_test_images_come_in_whole_clusters() -> None:
    correct = np.repeat(np.repeat(np.random.default_rng(3).random((1, 1, 10)) < 0.5, 20, axis=2), 2, axis=1)
    clusters = np.repeat(np.arange(10), 20).astype(np.int32)
    rng = np.random.default_rng(4)
    together, apart = (redrawn([Curve((5,), correct, group)], rng)[0].std() for group in (clusters, None))
    assert together > 2 * apart


def test_a_curve_refuses_clusters_of_other_images() -> None:
    with pytest.raises(ValueError, match="30 test images have 20 clusters"):
        Curve((5,), np.ones((1, 2, 30), dtype=bool), np.zeros(20, dtype=np.int32))


# ------------------------------------------------------------------------------------------------ pairs


def test_in_pairs_arms_that_share_their_draws_are_compared_more_narrowly_and_still_covered() -> None:
    pairs = [(drawn.a, drawn.b) for drawn in Draws(5, 500, 0.2, shared=0.8).experiments(RUNS)]
    apart = [components(a, b).estimate() for a, b in pairs]
    together = [components(a, b, paired=True).estimate() for a, b in pairs]
    lent = [borrowed_in_pairs(a, b) for a, b in pairs[:200]]
    assert covered(apart) > 0.98
    assert 0.93 - noise(0.93, RUNS) <= covered(together) <= 0.97 + noise(0.97, RUNS)
    assert covered(lent) >= 0.93 - noise(0.93, 200)
    assert np.mean([t.variance for t in together]) < 0.5 * np.mean([t.variance for t in apart])


def test_arms_with_other_numbers_of_seeds_cannot_be_paired() -> None:
    with pytest.raises(ValueError, match="cannot be paired seed by seed"):
        components(np.ones((3, 10)), np.ones((2, 10)), paired=True)


# ------------------------------------------------------------------------------------------------ failed runs


def runs_of(*accuracies: float) -> Validation:
    return Validation((10,), tuple(range(len(accuracies))), np.array([accuracies]))


@pytest.mark.parametrize("seeds", [2, 3, 5])
def test_without_failed_runs_the_difference_of_sound_ones_is_covered(seeds: int) -> None:
    found = [drawn.without_failures() for drawn in Draws(seeds, 500, 0.1, failing=0.1).experiments(RUNS)]
    assert covered([borrowed(a, b) for a, b, _, _ in found]) >= 0.93 - noise(0.93, RUNS)
    wrongly = sum(row[3] for row in found)
    assert wrongly <= 0.02 * 2 * seeds * RUNS


def test_a_run_far_below_its_siblings_has_failed() -> None:
    validation = {("flags", "real"): runs_of(0.60, 0.61, 0.2), ("flags", "made"): runs_of(0.55, 0.56, 0.57)}
    (failure,) = find_failures(validation, {})
    assert (failure.arm, failure.seed, failure.validation, failure.others) == ("real", 2, 0.2, pytest.approx(0.605))


def test_of_two_seeds_the_lower_one_has_failed() -> None:
    validation = {("flags", "real"): runs_of(0.2, 0.6), ("flags", "made"): runs_of(0.55, 0.56)}
    assert [(failure.arm, failure.seed) for failure in find_failures(validation, {})] == [("real", 0)]


def test_runs_below_the_untouched_encoder_have_failed_if_another_is_not() -> None:
    validation = {("flags", "real"): runs_of(0.30, 0.31, 0.60), ("flags", "made"): runs_of(0.62, 0.61, 0.60)}
    assert [failure.seed for failure in find_failures(validation, {"flags": 0.5})] == [0, 1]


def test_an_arm_below_the_untouched_encoder_with_every_seed_is_a_bad_arm_and_no_failed_run() -> None:
    validation = {("flags", "real"): runs_of(0.30, 0.31, 0.32), ("flags", "made"): runs_of(0.62, 0.61, 0.60)}
    assert find_failures(validation, {"flags": 0.5}) == ()


def test_restless_seeds_have_not_failed() -> None:
    validation = {("flags", "real"): runs_of(0.4, 0.5, 0.6, 0.55), ("flags", "made"): runs_of(0.6, 0.5, 0.45, 0.7)}
    assert find_failures(validation, {}) == ()


# ------------------------------------------------------------------------------------------------ in the verdict


def table(**changes: Any) -> dict[str, Any]:
    """Two arms, three seeds, 40 images; the third run of `real` fails, on validation too."""
    rows = [(arm, seed, image) for arm in ("real", "made") for seed in range(3) for image in range(40)]
    rng = np.random.default_rng(5)
    failed = [(arm, seed) == ("real", 2) for arm, seed, _ in rows]
    columns: dict[str, Any] = {
        "arm": [arm for arm, _, _ in rows],
        "target": ["flags"] * len(rows),
        "test_set": ["test"] * len(rows),
        "size": [10] * len(rows),
        "seed": [seed for _, seed, _ in rows],
        "image": [image for _, _, image in rows],
        "correct": [int(rng.random() < (0.1 if lost else 0.7)) for lost in failed],
        "validation": [0.1 if lost else 0.7 for lost in failed],
        "cluster": [f"concept {image // 4}" for _, _, image in rows],
    }
    return columns | changes


def test_the_verdict_is_given_with_and_without_failed_runs() -> None:
    counted = judge(table(), Comparison(a="real", b="made"))
    left_out = judge(table(), Comparison(a="real", b="made", failed_runs="leave_out"))
    assert counted.failed_runs is not None
    assert left_out.failed_runs is not None
    assert [(run.arm, run.seed) for run in counted.failed_runs.runs] == [("real", 2)]
    assert (counted.failed_runs.left_out, left_out.failed_runs.left_out) == (False, True)
    assert counted.failed_runs.otherwise == left_out.primary
    assert left_out.failed_runs.otherwise == counted.primary
    assert counted.primary.difference < left_out.primary.difference
    assert "real at flags, size 10, seed 2" in " ".join(counted.warnings)
    assert "about runs that do not fail" in " ".join(left_out.warnings)


def test_failed_runs_cannot_be_left_out_where_validation_is_not_known() -> None:
    predictions = {name: values for name, values in table().items() if name != "validation"}
    with pytest.raises(Invalid, match="add a column validation"):
        judge(predictions, Comparison(a="real", b="made", failed_runs="leave_out"))


def test_a_run_with_two_validation_accuracies_is_refused() -> None:
    validation = [0.5, *[0.6] * 239]
    with pytest.raises(Invalid, match="column validation has 2 values for arm 'real'"):
        judge(table(validation=validation), Comparison(a="real", b="made"))


def test_clusters_of_a_table_widen_the_draw_of_images() -> None:
    clustered = judge(table(), Comparison(a="real", b="made", spread="own"))
    plain = {name: values for name, values in table().items() if name != "cluster"}
    assert (clustered.primary.test_images, clustered.primary.clusters) == (40, 10)
    assert judge(plain, Comparison(a="real", b="made")).primary.clusters is None


def test_an_image_in_two_clusters_is_refused() -> None:
    cluster = [f"concept {image // 4}" for _ in range(6) for image in range(40)]
    cluster[45] = "another"
    with pytest.raises(Invalid, match="image 5 is in one cluster for"):
        judge(table(cluster=cluster), Comparison(a="real", b="made"))


def test_paired_arms_are_said_to_be_and_need_the_same_seeds() -> None:
    assert judge(table(), Comparison(a="real", b="made"), paired=True).paired_seeds
    seeds = [seed + (3 if arm == "made" else 0) for arm in ("real", "made") for seed in range(3) for _ in range(40)]
    with pytest.raises(Unfair, match="needs the same of both"):
        judge(table(seed=seeds), Comparison(a="real", b="made"), paired=True)

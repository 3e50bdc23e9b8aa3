"""Whether distance, density and coverage of a pool come out as they can be counted by hand, and move as they should."""

import math
from collections.abc import Callable

import numpy as np
import pytest
from support.audits import audited
from touchstone_contracts.label_card import Distribution
from touchstone_retrieval.audit.coverage import density_and_coverage, expected_coverage
from touchstone_retrieval.audit.distribution import measure_distribution
from touchstone_retrieval.audit.mmd import (
    discrepancies_of_halves,
    discrepancy,
    gaussian_kernel,
    median_distance,
    squared_distances,
)

DIMENSION = 8


def line(*positions: float) -> np.ndarray:
    return np.array(positions)[:, None]


def directions(count: int, seed: int, towards: int = 0, strength: float = 2.0) -> np.ndarray:
    """Unit vectors (count, 8) around the axis `towards`."""
    vectors = np.random.default_rng(seed).normal(size=(count, DIMENSION))
    vectors[:, towards] += strength
    unit: np.ndarray = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    return unit.astype(np.float32)


def measured(images: np.ndarray, target: np.ndarray) -> Distribution:
    found = measure_distribution(audited([0] * len(images), vectors=images, test_vectors=target))
    assert found is not None
    return found


def test_the_kernel_falls_with_the_squared_distance() -> None:
    assert squared_distances(line(0, 1), line(0, 3)).tolist() == [[0, 9], [1, 4]]
    assert gaussian_kernel(line(0), line(2), 1.0).item() == pytest.approx(math.exp(-2))
    assert median_distance(line(0, 1, 5)) == pytest.approx(4)


def test_the_discrepancy_is_that_of_all_pairs_but_for_an_image_with_itself() -> None:
    x, y = line(0, 1, 3), line(2, 2, 5, 7)
    kernel = {(i, j): math.exp(-((i - j) ** 2) / 8) for i in (0, 1, 3, 2, 5, 7) for j in (0, 1, 3, 2, 5, 7)}
    pairs_x = [kernel[i, j] for i in (0, 1, 3) for j in (0, 1, 3) if i != j]
    pairs_y = [kernel[i, j] for a, i in enumerate((2, 2, 5, 7)) for b, j in enumerate((2, 2, 5, 7)) if a != b]
    across = [kernel[i, j] for i in (0, 1, 3) for j in (2, 2, 5, 7)]
    found = discrepancy(gaussian_kernel(x, x, 2), gaussian_kernel(y, y, 2), gaussian_kernel(x, y, 2))
    assert found.value == pytest.approx(np.mean(pairs_x) + np.mean(pairs_y) - 2 * np.mean(across))


def test_the_error_is_that_of_leaving_each_image_out() -> None:
    rng = np.random.default_rng(1)
    x, y = rng.normal(size=(7, 3)), rng.normal(size=(5, 3)) + 1

    def value(rows_x: np.ndarray, rows_y: np.ndarray) -> float:
        pairs = ((rows_x, rows_x), (rows_y, rows_y), (rows_x, rows_y))
        return discrepancy(*(gaussian_kernel(a, b, 1.5) for a, b in pairs)).value

    without = [
        [value(np.delete(x, row, axis=0), y) for row in range(7)],
        [value(x, np.delete(y, row, axis=0)) for row in range(5)],
    ]
    variance = sum((len(values) - 1) * np.var(values) for values in without)
    found = discrepancy(gaussian_kernel(x, x, 1.5), gaussian_kernel(y, y, 1.5), gaussian_kernel(x, y, 1.5))
    assert found.error == pytest.approx(math.sqrt(variance))


@pytest.mark.parametrize("count", [4, 9, 10])
def test_halves_differ_by_what_the_same_formula_says_of_them(count: int) -> None:
    x = np.random.default_rng(count).normal(size=(count, 2))
    kernel, half = gaussian_kernel(x, x, 1.0), count // 2
    order = np.random.default_rng(0).permuted(np.repeat([1.0, -1.0, 0.0], [half, half, count % 2])[None], axis=1)[0]
    one, other = np.flatnonzero(order == 1), np.flatnonzero(order == -1)
    expected = kernel[np.ix_(one, one)], kernel[np.ix_(other, other)], kernel[np.ix_(one, other)]
    inside = [(part.sum() - len(part)) / (half * (half - 1)) for part in expected[:2]]
    [found] = discrepancies_of_halves(kernel, 1, np.random.default_rng(0))
    assert found == pytest.approx(sum(inside) - 2 * expected[2].mean())


def test_density_and_coverage_by_hand() -> None:
    # Reach to the second nearest other image: 0 -> 2, 1 -> 1, 2 -> 2, 10 -> 9.
    target = line(0, 1, 2, 10)
    # Images at 0.5 and 3: in the balls of 0 (0.5), 1 (0.5), 2 (0.5, 3) and 10 (3).
    assert density_and_coverage(target, line(0.5, 3), 2) == (5 / 4, 1.0)
    assert density_and_coverage(target, line(0.5), 2) == (3 / 2, 3 / 4)
    assert density_and_coverage(target, line(100), 2) == (0.0, 0.0)


def test_the_expected_coverage_is_what_equal_distributions_have() -> None:
    # One image falls left of, right of or between two: nearer to one of three than its neighbour in 1 - 2/4 of cases.
    assert expected_coverage(3, 2, 1) == pytest.approx(1 - 2 / 4)
    rng = np.random.default_rng(0)
    draws = [density_and_coverage(rng.normal(size=(40, 3)), rng.normal(size=(25, 3)), 5) for _ in range(300)]
    density, coverage = np.mean(draws, axis=0)
    assert coverage == pytest.approx(expected_coverage(40, 25, 5), abs=0.01)
    assert density == pytest.approx(1, abs=0.05)


def test_images_of_the_targets_distribution_are_near_and_shifted_ones_far() -> None:
    target = directions(200, seed=0)
    same, near, far = (measured(directions(300, seed=1, strength=strength), target) for strength in (2.0, 1.0, -2.0))
    assert abs(same.discrepancy) < 3 * same.discrepancy_error
    assert same.discrepancy < same.floor < near.discrepancy < far.discrepancy
    assert same.coverage == pytest.approx(same.expected_coverage, abs=0.06)
    assert same.density == pytest.approx(1, abs=0.2)
    assert far.coverage < near.coverage < same.coverage


def test_the_discrepancy_is_unbiased_and_the_floor_holds_in_most_experiments() -> None:
    found = [measured(directions(60, seed=100 + run), directions(60, seed=500 + run)) for run in range(60)]
    values = np.array([entry.discrepancy for entry in found])
    assert abs(values.mean()) < 3 * values.std() / math.sqrt(len(values))
    # The halves are half as large, so the floor is on the safe side of 5 %.
    assert np.mean([entry.discrepancy > entry.floor for entry in found]) < 0.05


def test_the_error_is_about_the_spread_of_the_discrepancy_where_there_is_one() -> None:
    found = [measured(directions(60, 100 + run, strength=1.0), directions(60, 500 + run)) for run in range(60)]
    spread = float(np.std([entry.discrepancy for entry in found]))
    assert np.mean([entry.discrepancy_error for entry in found]) == pytest.approx(spread, rel=0.35)


def test_missing_modes_lower_the_coverage_and_not_the_density() -> None:
    target = np.concatenate([directions(100, seed=axis, towards=axis, strength=8.0) for axis in range(4)])
    one_mode = measured(directions(400, seed=9, towards=0, strength=8.0), target)
    all_modes = measured(
        np.concatenate([directions(100, seed=10 + axis, towards=axis, strength=8.0) for axis in range(4)]), target
    )
    assert one_mode.coverage == pytest.approx(0.25, abs=0.05)
    assert one_mode.density > 0.8
    assert all_modes.coverage > 0.9
    assert one_mode.discrepancy > 10 * all_modes.floor


def test_the_same_mean_and_another_spread_are_a_distance_which_a_wide_kernel_would_not_see() -> None:
    rng = np.random.default_rng(0)
    narrow, wide = (rng.normal(scale=scale, size=(300, DIMENSION)) for scale in (0.1, 0.25))
    found = measured(wide, narrow)
    assert found.discrepancy > 10 * max(found.floor, found.discrepancy_error)
    kernels = (gaussian_kernel(a, b, 10.0) for a, b in ((wide, wide), (narrow, narrow), (wide, narrow)))
    assert abs(discrepancy(*kernels).value) < 1e-4


def test_an_image_with_several_labels_is_compared_once() -> None:
    images, target = directions(40, seed=1), directions(40, seed=0)
    names = [f"image {number}" for number in range(40)]
    twice = audited([0] * 80, image_ids=[*names, *names], vectors=np.concatenate([images, images]), test_vectors=target)
    once = audited([0] * 40, image_ids=names, vectors=images, test_vectors=target)
    assert measure_distribution(twice) == measure_distribution(once)


def test_the_order_of_the_pool_does_not_matter_beyond_what_is_drawn() -> None:
    images, target = directions(40, seed=1), directions(40, seed=0)
    names = [f"image {number:02}" for number in range(40)]
    there, back = (
        audited([0] * 40, image_ids=names[::step], vectors=images[::step], test_vectors=target) for step in (1, -1)
    )
    assert measure_distribution(there) == measure_distribution(back)


def test_large_pools_are_sampled_and_say_how_many_were_compared(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("touchstone_retrieval.audit.distribution.MOST_IMAGES", 50)
    found = measured(directions(120, seed=1), directions(60, seed=0))
    assert (found.images, found.test_images) == (50, 50)
    assert found == measured(directions(120, seed=1), directions(60, seed=0))


NOTHING_TO_COMPARE: dict[str, Callable[[], tuple[np.ndarray, np.ndarray]]] = {
    "no test images": lambda: (directions(20, 0), np.zeros((0, 0), dtype=np.float32)),
    "seven test images": lambda: (directions(20, 0), directions(7, 1)),
    "seven images": lambda: (directions(7, 0), directions(20, 1)),
    "an empty pool": lambda: (np.zeros((0, 0), dtype=np.float32), directions(20, 1)),
    "test images that are all the same": lambda: (directions(20, 0), np.tile(directions(1, 1), (20, 1))),
}


@pytest.mark.parametrize("case", NOTHING_TO_COMPARE)
def test_without_enough_to_compare_nothing_is_said(case: str) -> None:
    images, target = NOTHING_TO_COMPARE[case]()
    assert measure_distribution(audited([0] * len(images), vectors=images, test_vectors=target)) is None

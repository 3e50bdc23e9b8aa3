"""The count of false calls finds those that there are, and no others."""

import numpy as np
import pytest
from support.same_arm import compare_with_itself, false_calls
from touchstone_contracts.views import Interval

SEEDS, IMAGES = 13, 300


def predictions(level: dict[str, list[float]]) -> dict[str, np.ndarray]:
    """One row per arm, target, seed and image: right with the level of its arm and seed."""
    rng = np.random.default_rng(0)
    keys = [(arm, target, seed) for arm in level for target in ("east", "west") for seed in range(SEEDS)]
    right = [rng.random(IMAGES) < level[arm][seed] for arm, _, seed in keys]
    columns = {
        name: np.repeat([key[position] for key in keys], IMAGES)
        for position, name in enumerate(("arm", "target", "seed"))
    }
    return columns | {
        "size": np.full(len(keys) * IMAGES, 60),
        "metric": np.full(len(keys) * IMAGES, "zero_shot"),
        "test_set": np.full(len(keys) * IMAGES, "test"),
        "image": np.tile([f"image-{number}" for number in range(IMAGES)], len(keys)),
        "correct": np.concatenate(right),
    }


def test_every_six_seeds_are_an_experiment_at_each_target_and_over_both() -> None:
    found = list(compare_with_itself(predictions({"plain": [0.6] * SEEDS, "spare": [0.5] * SEEDS})))
    assert len(found) == 2 * 3 * 2  # arms, targets alone and together, whole groups of six among thirteen seeds
    assert {each.targets for each in found} == {("east",), ("west",), ("east", "west")}
    assert false_calls([each.borrowed for each in found]) == 0


def test_seeds_that_differ_by_more_than_their_spread_are_a_false_call() -> None:
    level = [0.9, 0.9, 0.9, 0.3, 0.3, 0.3] * 2 + [0.5]
    found = list(compare_with_itself(predictions({"plain": level})))
    assert len(found) == 6
    assert false_calls([each.own for each in found]) == 6


@pytest.mark.parametrize(("low", "high", "calls"), [(-0.1, 0.1, 0), (0.01, 0.1, 1), (-0.1, -0.01, 1)])
def test_an_interval_without_zero_is_a_call(low: float, high: float, calls: int) -> None:
    assert false_calls([Interval(low=low, high=high, degrees_of_freedom=4, p_value=0.5)]) == calls

"""Changes of accuracy by difficulty and by number of upstream images: counted by hand, and on made-up truths."""

import numpy as np
import numpy.typing as npt
import pytest
from touchstone_contracts.class_groups import ClassGroup, GroupedBy
from touchstone_verdict.class_groups import class_groups, class_means, compared_arms
from touchstone_verdict.curves import Curve, Curves

LABELS = np.repeat(np.arange(9, dtype=np.int32), 20)
"""Nine classes of twenty test images."""


def drawn(accuracy: npt.NDArray[np.float64], seeds: int, rng: np.random.Generator) -> Curve:
    """Of each class (classes,): so many of its images are right."""
    return Curve((30,), rng.random((1, seeds, len(LABELS))) < accuracy[LABELS])


def found(
    curves: Curves, upstream: list[int] | None = None, labels: npt.NDArray[np.int32] = LABELS, untouched: bool = True
) -> list[ClassGroup]:
    compared = compared_arms(curves, "flags", "zero_shot", ("a", "b"), "none" if untouched else None, labels, 0.95)
    assert compared is not None
    return list(class_groups(compared, upstream))


def curves_of(**arms: Curve) -> Curves:
    return {("flags", "zero_shot", arm): curve for arm, curve in arms.items()}


def by(groups: list[ClassGroup], kind: GroupedBy) -> list[ClassGroup]:
    return [group for group in groups if group.by == kind]


def changes(group: ClassGroup) -> dict[str | None, float]:
    return {change.arm: change.difference for change in group.changes}


def exactly(right: list[list[int]]) -> Curve:
    """One size, two seeds that are alike; which of the images of each class are right."""
    row = np.array(right, dtype=bool).ravel()
    return Curve((1,), np.stack([row, row])[None])


def test_class_means_leave_out_classes_without_images() -> None:
    labels, chosen = np.array([0, 0, 2, 2]), np.array([True, False, True, True])
    means = class_means(np.array([[1.0, 0, 1, 0]]), labels, chosen)
    assert means[0, [0, 2]].tolist() == [1, 0.5]
    assert np.isnan(means[0, 1])


def test_groups_by_upstream_images_are_counted_by_hand() -> None:
    # Six classes of two images; upstream has 1, 1, 5, 6, 20 and 30 images of them.
    labels = np.repeat(np.arange(6, dtype=np.int32), 2)
    curves = curves_of(
        a=exactly([[1, 1], [1, 0], [1, 0], [1, 0], [1, 1], [1, 1]]),
        b=exactly([[0, 0], [0, 0], [1, 0], [0, 0], [1, 1], [1, 1]]),
        none=exactly([[0, 0], [1, 0], [1, 1], [0, 0], [1, 0], [1, 0]]),
    )
    groups = by(found(curves, [1, 1, 5, 6, 20, 30], labels), "upstream_images")
    assert [(group.lowest, group.highest, group.classes) for group in groups] == [(1, 1, 2), (5, 6, 2), (20, 30, 2)]
    assert [changes(group) for group in groups] == [
        {"a": 0.5, "b": -0.25, None: 0.75},
        {"a": 0.0, "b": -0.25, None: 0.25},
        {"a": 0.5, "b": 0.5, None: 0.0},
    ]


def test_without_an_untouched_encoder_only_the_arms_are_compared() -> None:
    rng = np.random.default_rng(0)
    curves = curves_of(a=drawn(np.full(9, 0.6), 3, rng), b=drawn(np.full(9, 0.5), 3, rng))
    groups = found(curves, list(range(9)), untouched=False)
    assert {group.by for group in groups} == {"upstream_images"}
    assert all([change.arm for change in group.changes] == [None] for group in groups)


def test_a_gain_on_difficult_classes_is_found_there() -> None:
    rng, labels = np.random.default_rng(1), np.repeat(np.arange(30, dtype=np.int32), 40)
    before = np.linspace(0.1, 0.9, 30)
    gain = np.where(before < 0.4, 0.3, 0.0)
    levels = {"a": before + gain, "b": before, "none": before}
    arms = {arm: Curve((30,), rng.random((1, 3, len(labels))) < level[labels]) for arm, level in levels.items()}
    hard, middle, easy = by(found(curves_of(**arms), labels=labels), "difficulty")
    assert hard.lowest < middle.lowest < easy.lowest < easy.highest
    assert hard.changes[2].low > 0.15
    assert changes(hard)["a"] == pytest.approx(0.3, abs=0.07)
    assert easy.changes[2].low < 0 < easy.changes[2].high


def test_what_is_no_gain_is_not_found_among_classes_that_were_difficult_by_chance() -> None:
    """Measured on the images that say how difficult a class is, the first third would seem to gain about ten points."""
    hard = []
    for run in range(60):
        rng, level = np.random.default_rng(run), np.full(9, 0.5)
        curves = curves_of(
            a=drawn(level, 3, rng), b=drawn(level, 3, rng), none=Curve((0,), drawn(level, 1, rng).correct)
        )
        hard.append(changes(by(found(curves), "difficulty")[0])["a"])
    assert abs(np.mean(hard)) < 3 * np.std(hard) / np.sqrt(len(hard))
    assert abs(np.mean(hard)) < 0.03


def test_intervals_cover_the_difference_over_classes_of_the_kind() -> None:
    """Classes differ in how much they gain by 0.1, so that an interval over their test images would be too narrow."""
    covered = []
    for run in range(150):
        rng = np.random.default_rng(1000 + run)
        labels = np.repeat(np.arange(24, dtype=np.int32), 20)
        gains = rng.normal(0.05, 0.1, size=24)
        arms = {
            arm: Curve((30,), rng.random((1, 3, len(labels))) < level[labels])
            for arm, level in (("a", 0.5 + gains), ("b", np.full(24, 0.5)))
        }
        for group in found(curves_of(**arms), list(rng.permutation(24)), labels, untouched=False):
            covered.append(group.changes[-1].low <= 0.05 <= group.changes[-1].high)
    assert len(covered) == 450
    assert 0.92 <= np.mean(covered) <= 0.985


def test_classes_with_as_many_images_stay_together() -> None:
    rng = np.random.default_rng(2)
    curves = curves_of(a=drawn(np.full(9, 0.6), 2, rng), b=drawn(np.full(9, 0.5), 2, rng))
    groups = found(curves, [0, 0, 0, 0, 0, 7, 7, 7, 7], untouched=False)
    assert [(group.lowest, group.highest, group.classes) for group in groups] == [(0, 0, 5), (7, 7, 4)]


def test_a_class_with_one_test_image_has_no_difficulty() -> None:
    labels = np.concatenate([LABELS, np.array([9], dtype=np.int32)])
    right = np.random.default_rng(3).random((1, 2, len(labels))) < 0.5
    curve = Curve((30,), right)
    curves = {("flags", "zero_shot", arm): curve for arm in ("a", "b", "none")}
    groups = found(curves, list(range(10)), labels)
    assert sum(group.classes for group in by(groups, "upstream_images")) == 10
    per_half = [group.classes for group in by(groups, "difficulty")]
    assert 9 <= sum(per_half) <= 18


@pytest.mark.parametrize("seeds", [1, 2])
def test_too_few_classes_are_not_grouped_and_one_seed_gives_no_interval(seeds: int) -> None:
    rng = np.random.default_rng(4)
    curves = curves_of(a=drawn(np.full(9, 0.6), seeds, rng), b=drawn(np.full(9, 0.5), seeds, rng))
    change = found(curves, list(range(9)), untouched=False)[0].changes[-1]
    assert ((change.low, change.high) == (-1, 1)) == (seeds == 1)
    few = LABELS[:100]  # five classes
    cut = {key: Curve(curve.sizes, curve.correct[..., :100]) for key, curve in curves.items()}
    assert found(cut, list(range(5)), few, untouched=False) == []


def test_arms_that_did_exactly_alike_have_an_interval_of_some_width() -> None:
    curve = exactly([[1, 0]] * 6)
    labels = np.repeat(np.arange(6, dtype=np.int32), 2)
    change = found(curves_of(a=curve, b=curve), [1, 2, 3, 4, 5, 6], labels, untouched=False)[0].changes[-1]
    assert change.difference == 0
    assert change.low < -0.5 < 0.5 < change.high  # four test images


def test_arms_without_a_common_size_are_not_compared() -> None:
    curve = Curve((30,), np.ones((1, 2, 4), dtype=bool))
    curves = curves_of(a=curve, b=Curve((60,), curve.correct))
    assert compared_arms(curves, "flags", "zero_shot", ("a", "b"), None, LABELS[:4], 0.95) is None

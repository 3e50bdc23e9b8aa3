"""A table of predictions made elsewhere: what it must hold, and that it is judged as an experiment is."""

import doctest
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import touchstone_verdict.judge
from touchstone_contracts.experiment import Comparison
from touchstone_contracts.problems import Invalid, Unfair
from touchstone_verdict.curves import Curve
from touchstone_verdict.evidence import Evidence
from touchstone_verdict.judge import judge, judge_evidence
from touchstone_verdict.predictions import COLUMNS, read_predictions

Table = dict[str, np.ndarray]

COMPARISON = Comparison(a="real", b="made")
LEVELS = {"none": 0.4, "real": 0.7, "made": 0.55}
IMAGES = 120


def rows_of(arm: str, size: int, seed: int, *, target: str = "flags", test_set: str = "test") -> Table:
    rng = np.random.default_rng([len(arm), size, seed, len(target), len(test_set)])
    names = {"arm": arm, "target": target, "test_set": test_set}
    return {
        **{column: np.full(IMAGES, name) for column, name in names.items()},
        "size": np.full(IMAGES, size),
        "seed": np.full(IMAGES, seed),
        "image": np.array([f"{number:05d}" for number in range(IMAGES)]),
        "correct": rng.random(IMAGES) < LEVELS[arm],
    }


def joined(*parts: Table) -> Table:
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


@pytest.fixture
def table() -> Table:
    runs = [rows_of(arm, size, seed) for arm in ("real", "made") for size in (10, 20, 40) for seed in range(3)]
    return joined(*runs, *(rows_of("none", 0, seed) for seed in range(3)))


def where(table: Table, **values: object) -> np.ndarray:
    chosen = np.ones(len(table["arm"]), dtype=bool)
    for name, value in values.items():
        chosen &= table[name] == value
    return chosen


def without(table: Table, rows: np.ndarray) -> Table:
    return {name: column[~rows] for name, column in table.items()}


def test_a_table_is_judged_as_the_same_evidence_is(table: Table) -> None:
    def curve(arm: str, sizes: tuple[int, ...]) -> Curve:
        runs = [table["correct"][where(table, arm=arm, size=size, seed=seed)] for size in sizes for seed in range(3)]
        return Curve(sizes, np.stack(runs).reshape(len(sizes), 3, IMAGES))

    sizes = (10, 20, 40)
    verdict = judge(table, COMPARISON)
    evidence = Evidence(
        comparison=COMPARISON,
        targets=("flags",),
        metrics=("zero_shot",),
        sizes=sizes,
        arms=("made", "real"),
        baseline="none",
        curves={
            ("flags", "zero_shot", "none"): curve("none", (0,)),
            ("flags", "zero_shot", "real"): curve("real", sizes),
            ("flags", "zero_shot", "made"): curve("made", sizes),
        },
        results_digest=verdict.results_digest,
    )
    assert verdict == judge_evidence(evidence)
    assert (verdict.answer, verdict.primary.seeds, verdict.primary.test_images) == ("a_better", 3, IMAGES)
    assert (len(verdict.secondary), len(verdict.baseline), len(verdict.exchange_rates)) == (3, 2, 3)


def test_the_order_of_rows_and_the_kind_of_columns_change_nothing(table: Table) -> None:
    order = np.random.default_rng(0).permutation(len(table["arm"]))
    shuffled: dict[str, Any] = {name: column[order] for name, column in table.items()}
    shuffled["image"] = shuffled["image"].astype(object)
    shuffled["correct"] = shuffled["correct"].astype(float)
    shuffled["size"] = shuffled["size"].tolist()
    assert judge(shuffled, COMPARISON) == judge(table, COMPARISON)


def test_one_changed_prediction_is_another_table(table: Table) -> None:
    changed = {**table, "correct": table["correct"].copy()}
    changed["correct"][0] ^= True
    assert judge(changed, COMPARISON).results_digest != judge(table, COMPARISON).results_digest


def test_numbers_serve_as_ids_of_images(table: Table) -> None:
    numbered = {**table, "image": table["image"].astype(int)}
    assert judge(numbered, COMPARISON) == judge(table, COMPARISON)


def test_other_metrics_test_sets_and_targets_are_secondary(table: Table) -> None:
    runs = [(arm, size, seed) for arm in ("real", "made") for size in (10, 20) for seed in range(2)]
    sketch = joined(*(rows_of(*run, test_set="sketch") for run in runs))
    birds = joined(*(rows_of(*run, target="birds") for run in runs))
    both = joined(table, sketch, birds)
    probe = {**both, "metric": np.full(len(both["arm"]), "linear_probe")}
    everything = joined({**both, "metric": np.full(len(both["arm"]), "zero_shot")}, probe)
    verdict = judge(everything, COMPARISON)
    assert verdict.primary.test_images == 2 * IMAGES
    views = {(entry.target, entry.metric, entry.test_set) for entry in verdict.secondary if entry.size is None}
    assert views == {
        ("flags", "zero_shot", "test"),
        ("birds", "zero_shot", "test"),
        (None, "linear_probe", "test"),
        ("flags", "linear_probe", "test"),
        ("birds", "linear_probe", "test"),
        (None, "zero_shot", "sketch"),
        (None, "linear_probe", "sketch"),
    }


def test_looking_early_pairs_the_arms_seed_by_seed(table: Table) -> None:
    anytime = COMPARISON.model_copy(update={"stopping": "anytime"})
    assert judge(table, anytime).may_stop is not None
    fewer = without(table, where(table, arm="made", seed=2))
    assert judge(fewer, COMPARISON).primary.seeds == 2
    with pytest.raises(Unfair, match=r"'real' has the seeds 0, 1, 2 and arm 'made' 0, 1: stopping 'anytime'"):
        judge(fewer, anytime)


def test_the_example_of_the_docstring_is_true() -> None:
    example = doctest.DocTestFinder(recurse=False).find(
        judge, "judge", module=touchstone_verdict.judge, extraglobs={"numpy": np}
    )
    runner = doctest.DocTestRunner()
    assert sum(runner.run(test).failed for test in example) == 0
    assert runner.tries == 6


# ------------------------------------------------------------------------------------------------ refusals


@pytest.mark.parametrize("column", COLUMNS)
def test_a_missing_column_is_named_with_what_it_holds(table: Table, column: str) -> None:
    del table[column]
    with pytest.raises(Invalid) as caught:
        judge(table, COMPARISON)
    assert f"no column {column} ({COLUMNS[column]})" in caught.value.detail
    assert caught.value.code == "missing_columns"


def test_every_missing_column_is_named_at_once() -> None:
    with pytest.raises(Invalid) as caught:
        judge({}, COMPARISON)
    assert all(f"{column} (" in caught.value.detail for column in COLUMNS)


Change = Callable[[Table], dict[str, Any]]


@pytest.mark.parametrize(
    ("change", "code", "words"),
    [
        (lambda t: {**t, "correct": t["correct"] * 0.5}, "wrong_values", "correct holds 0.5; it takes 1 or true"),
        (lambda t: {**t, "correct": np.where(t["correct"], "yes", "no")}, "wrong_values", "column correct holds 'no'"),
        (lambda t: {**t, "correct": np.where(t["correct"], 1, np.nan)}, "wrong_values", "holds an empty value"),
        (lambda t: {**t, "arm": np.char.upper(t["arm"])}, "wrong_values", "column arm holds 'MADE'; it takes names"),
        (lambda t: {**t, "target": np.full(len(t["arm"]), 7)}, "wrong_values", "column target holds 7"),
        (lambda t: {**t, "size": t["size"] + 0.5}, "wrong_values", "column size holds 0.5; it takes whole numbers"),
        (lambda t: {**t, "size": t["size"] + np.inf}, "wrong_values", "column size holds"),
        (lambda t: {**t, "seed": t["seed"] - 1}, "wrong_values", "column seed holds -1"),
        (lambda t: {**t, "seed": t["seed"].astype(str)}, "wrong_values", "column seed holds '0'"),
        (lambda t: {**t, "image": [None, *t["image"][1:]]}, "wrong_values", "column image holds None"),
        (lambda t: {**t, "metric": np.full(len(t["arm"]), "luck")}, "wrong_values", "holds 'luck'; it takes names of"),
        (lambda t: {**t, "metric": np.full(len(t["arm"]), "linear_probe")}, "unknown_metric", "they have linear_probe"),
        (lambda t: {**t, "test_set": np.full(len(t["arm"]), "sketch")}, "unknown_test_set", "they have sketch"),
        (lambda t: {**t, "size": t["size"] * (t["size"] > 10)}, "size_zero", "made, none, real have size 0"),
        (lambda t: {**t, "image": t["image"][:-1]}, "unequal_columns", f"image {21 * IMAGES - 1}"),
        (lambda t: {**t, "seed": 3}, "unequal_columns", "seed a single value"),
        (lambda t: {name: column[:0] for name, column in t.items()}, "no_predictions", "no rows"),
        (lambda t: joined(t, rows_of("real", 10, 1)), "repeated_rows", f"{IMAGES} rows repeat another's"),
        (lambda t: without(t, where(t, arm="made")), "unknown_arm", "no arm 'made' in the predictions; they have real"),
    ],
)  # fmt: skip
def test_a_wrong_table_is_refused_with_what_to_do(table: Table, change: Change, code: str, words: str) -> None:
    with pytest.raises(Invalid) as caught:
        judge(change(table), COMPARISON)
    assert (caught.value.code, words in caught.value.detail) == (code, True), caught.value.detail


def test_runs_on_different_images_cannot_be_paired(table: Table) -> None:
    lacking = without(table, where(table, arm="made", size=20, seed=1, image="00007"))
    with pytest.raises(Unfair) as caught:
        judge(lacking, COMPARISON)
    assert caught.value.code == "unpaired_images"
    assert "arm 'made' at target 'flags', test set 'test', size 20, seed 1 has 119 test images" in caught.value.detail
    assert "the first lacks image '00007'" in caught.value.detail


def test_as_many_images_that_are_others_cannot_be_paired_either(table: Table) -> None:
    other = {**table, "image": table["image"].copy()}
    other["image"][where(table, arm="made", size=20, seed=1, image="00007")] = "99999"
    with pytest.raises(Unfair, match="lacks image"):
        judge(other, COMPARISON)


def test_a_seed_that_lacks_a_size_is_named(table: Table) -> None:
    with pytest.raises(Unfair, match="'made' at target 'flags' has the seeds 0, 1, 2 at size 10 and 0, 1 at size 40"):
        judge(without(table, where(table, arm="made", size=40, seed=2)), COMPARISON)


def test_the_untouched_model_is_an_arm_of_its_own(table: Table) -> None:
    with pytest.raises(Invalid, match=r"arm 'real' has size 0, which is the untouched model, and size 10"):
        judge(joined(without(table, where(table, arm="none")), rows_of("real", 0, 0)), COMPARISON)


def test_a_test_set_that_a_target_lacks_cannot_decide(table: Table) -> None:
    both = joined(table, rows_of("real", 10, 0, target="birds", test_set="sketch"))
    with pytest.raises(Invalid, match="the targets birds have no test set 'test'"):
        judge(both, COMPARISON)


def test_a_delta_that_was_meant_in_points_is_refused(table: Table) -> None:
    with pytest.raises(Invalid, match=r"in accuracy: 0\.01 is one point") as caught:
        judge(table, Comparison(a="made", b="real", delta=1))
    assert caught.value.code == "delta_too_large"


def test_an_arm_is_not_compared_with_itself(table: Table) -> None:
    with pytest.raises(Invalid, match="compared with itself"):
        judge(table, Comparison(a="real", b="real"))


def test_the_untouched_model_reached_no_size_to_compare(table: Table) -> None:
    with pytest.raises(Unfair) as caught:
        judge(table, Comparison(a="real", b="none"))
    assert caught.value.code == "nothing_to_compare"


def test_the_untouched_model_is_told_from_the_arms_that_train(table: Table) -> None:
    found = read_predictions(table, COMPARISON)
    assert (found.untouched, found.arms, found.sizes) == ("none", ("made", "real"), (10, 20, 40))

"""Where the variance between runs comes from: what a spec can hold fixed, what that plans, and what is estimated."""

from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError
from support.specs import resolved, spec
from touchstone_contracts.adaptation import Metric
from touchstone_contracts.arms.generation import Generation
from touchstone_contracts.experiment import Comparison, ExperimentSpec
from touchstone_contracts.problems import Invalid
from touchstone_contracts.steps import ADAPT_ENCODER, AdaptEncoder, JudgeExperiment
from touchstone_contracts.views import ResultRow
from touchstone_judge.judging import _shared_sources
from touchstone_planning.plan import plan_experiment
from touchstone_verdict.variance_sources import (
    Component,
    crossed_components,
    nested_accuracies,
    nested_components,
)

GENERATION = {"kind": "generation", "generator": "diffusion", "images": 300}


def adaptations(**changes: Any) -> dict[str, AdaptEncoder]:
    """Those of one arm at one target and size, by step."""
    plan = plan_experiment(resolved(targets=("fine",), sizes=(6,), **changes))
    found = {step.id: step.request for step in plan.steps if step.contract is ADAPT_ENCODER}
    return {step: request for step, request in found.items() if isinstance(request, AdaptEncoder)}


def sources(requests: dict[str, AdaptEncoder]) -> set[tuple[int, int]]:
    """(draw, optimisation) of each run."""
    return {(request.subset_seed, request.seed) for request in requests.values()}


def test_every_seed_draws_and_optimises_by_itself_unless_something_is_held() -> None:
    assert sources(adaptations(seeds=(0, 1, 2))) == {(0, 0), (1, 1), (2, 2)}
    assert sources(adaptations(seeds=(0, 1, 2), draw_seeds=(0, 0, 0))) == {(0, 0), (0, 1), (0, 2)}
    assert sources(adaptations(seeds=(0, 1, 2), optimisation_seeds=(0, 0, 0))) == {(0, 0), (1, 0), (2, 0)}
    crossed = adaptations(seeds=(0, 1, 2, 3), draw_seeds=(0, 0, 1, 1), optimisation_seeds=(0, 1, 0, 1))
    assert sources(crossed) == {(0, 0), (0, 1), (1, 0), (1, 1)}


def test_runs_that_are_as_before_keep_their_steps() -> None:
    plain = set(adaptations(seeds=(0, 1, 2)))
    held = set(adaptations(seeds=(0, 1, 2), draw_seeds=(0, 0, 0)))
    assert len(plain & held) == len(plain) // 3  # draw 0 with optimisation 0, of every arm
    assert set(adaptations(seeds=(0, 1), draw_seeds=(0, 1), optimisation_seeds=(0, 1))) == set(
        adaptations(seeds=(0, 1))
    )


def test_an_arm_with_a_sampling_seed_of_its_own_is_a_pool_drawn_anew() -> None:
    arms = tuple(Generation(name=name, generator="diffusion", images=300) for name in ("one", "two"))
    again = arms[1].model_copy(update={"sampling_seed": 1})
    as_given = arms[1].model_copy(update={"sampling_seed": 0})
    pools = [
        {plan.curations["fine", arm] for arm in ("one", "two")}
        for plan in (plan_experiment(resolved(arms=(arms[0], other))) for other in (arms[1], as_given, again))
    ]
    assert [len(found) for found in pools] == [1, 1, 2]


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"draw_seeds": (0, 0)}, "draw_seeds has 2 entries for 3 seeds"),
        ({"optimisation_seeds": (0,)}, "optimisation_seeds has 1 entries for 3 seeds"),
        ({"draw_seeds": (0, 0, -1)}, "greater than or equal to 0"),
        ({"draw_seeds": (0, 0, 1), "optimisation_seeds": (5, 5, 5)}, "they would be one run"),
    ],
)
def test_seeds_that_name_no_run_of_their_own_are_refused(changes: dict[str, Any], reason: str) -> None:
    with pytest.raises(ValidationError, match=reason):
        spec(seeds=(0, 1, 2), **changes)


def judgement(first_seeds: int | None = None, **changes: Any) -> JudgeExperiment:
    comparison = Comparison(a="retrieved", b="synthetic", stopping="anytime" if first_seeds else "fixed")
    plan = plan_experiment(resolved(targets=("fine",), comparison=comparison, **changes))
    requests = (step.request for step in plan.steps)
    return next(r for r in requests if isinstance(r, JudgeExperiment) and r.first_seeds == first_seeds)


def test_the_verdict_warns_where_seeds_are_no_experiments_of_their_own() -> None:
    assert list(_shared_sources(judgement(seeds=(0, 1, 2, 3)))) == []
    [warning] = _shared_sources(judgement(seeds=(0, 1, 2, 3), draw_seeds=(0, 0, 1, 1)))
    assert "The 4 seeds have only 2 different draws of the training set" in warning
    [warning] = _shared_sources(judgement(seeds=(0, 1, 2, 3), optimisation_seeds=(7, 7, 7, 7)))
    assert "only 1 different seeds of the optimisation" in warning
    assert list(_shared_sources(judgement(first_seeds=2, seeds=(0, 1, 2, 3), draw_seeds=(0, 1, 0, 1)))) == []


def variances(components: tuple[Component, ...]) -> dict[str, float]:
    return {component.source: component.variance for component in components}


def test_nested_components_by_hand() -> None:
    # Runs differ by 2 within every draw (mean square 2), draws by 4 and 8 within the pools, pools by 10.
    accuracies = np.array([[[0, 2], [4, 6]], [[8, 10], [16, 18]]], dtype=float)
    found = variances(nested_components(accuracies))
    assert found["optimisation"] == pytest.approx(2)
    mean_square_draw = 2 * (2 * 2**2 + 2 * 4**2) / 2
    assert found["draw"] == pytest.approx((mean_square_draw - 2) / 2)
    assert found["pool"] == pytest.approx((4 * 2 * 5**2 - mean_square_draw) / 4)


def test_crossed_components_by_hand() -> None:
    accuracies = np.array([[0, 1, 2], [4, 5, 6]], dtype=float)
    found = variances(crossed_components(accuracies))
    assert found == pytest.approx({"interaction": 0, "draw": 8, "optimisation": 1})


@pytest.mark.parametrize(("pool", "draw", "run"), [(0.0, 0.0, 1.0), (0.5, 0.0, 1.0), (2.0, 1.0, 0.3), (0.0, 2.0, 1.0)])
def test_nested_components_are_unbiased_and_their_intervals_cover(pool: float, draw: float, run: float) -> None:
    rng, truth = np.random.default_rng(0), {"pool": pool**2, "draw": draw**2, "optimisation": run**2}
    found = []
    for _ in range(1000):
        effects = rng.normal(0, pool, (5, 1, 1)) + rng.normal(0, draw, (5, 3, 1)) + rng.normal(0, run, (5, 3, 3)) + 60
        found.append({component.source: component for component in nested_components(effects)})
    for source, value in truth.items():
        estimates = np.array([entry[source].variance for entry in found])
        assert estimates.mean() == pytest.approx(value, abs=4 * estimates.std() / np.sqrt(len(found)))
        covered = np.mean([entry[source].low <= value <= entry[source].high for entry in found])
        assert 0.93 <= covered <= 1.0 if value == 0 else 0.93 <= covered <= 0.975


def test_crossed_components_are_unbiased_and_their_intervals_cover() -> None:
    rng, truth = np.random.default_rng(1), {"draw": 1.0, "optimisation": 0.25, "interaction": 0.49}
    found = []
    for _ in range(1000):
        effects = rng.normal(0, 1, (5, 1)) + rng.normal(0, 0.5, (1, 4)) + rng.normal(0, 0.7, (5, 4))
        found.append({component.source: component for component in crossed_components(effects)})
    for source, value in truth.items():
        estimates = np.array([entry[source].variance for entry in found])
        assert estimates.mean() == pytest.approx(value, abs=4 * estimates.std() / np.sqrt(len(found)))
        covered = np.mean([entry[source].low <= value <= entry[source].high for entry in found])
        assert 0.93 <= covered <= 0.975


def test_a_source_that_does_nothing_is_given_as_nothing() -> None:
    alike = nested_components(np.tile(np.array([0.1, 0.2, 0.3]), (3, 2, 1)))
    assert [component.deviation for component in alike[:2]] == [0, 0]
    assert alike[2].deviation == pytest.approx(0.1)


@pytest.mark.parametrize("shape", [(3, 1, 4), (3, 4, 1)])
def test_one_draw_or_one_run_cannot_be_told_apart(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="two of both"):
        nested_components(np.zeros(shape))
    with pytest.raises(ValueError, match="two of both"):
        crossed_components(np.zeros(shape[1:]))


def rows_of(experiment: ExperimentSpec, metric: Metric = "zero_shot") -> list[ResultRow]:
    """Accuracies that say which run they are: pool, draw and optimisation as digits."""
    return [
        ResultRow(
            target="fine", arm=arm, size=6, seed=each.seed, metric=metric, test_images=10,
            value=0.1 * pool + 0.01 * each.draw + 0.001 * each.optimisation,
        )
        for pool, arm in enumerate(("one", "two"))
        for each in experiment.seed_sources
    ]  # fmt: skip


def three_by_two() -> ExperimentSpec:
    arms = tuple({**GENERATION, "name": name, "sampling_seed": seed} for seed, name in enumerate(("one", "two")))
    return spec(arms=arms, seeds=range(6), draw_seeds=(0, 1, 2, 0, 1, 2), sizes=(6,))


def test_rows_are_put_in_the_order_of_pools_draws_and_runs() -> None:
    experiment = three_by_two()
    found = nested_accuracies(rows_of(experiment), experiment, ("one", "two"), "fine", "zero_shot", 6, "test")
    assert found.shape == (2, 3, 2)
    assert found[1, 2].tolist() == pytest.approx([0.122, 0.125])
    assert [component.source for component in nested_components(found[:1])] == ["draw", "optimisation"]


def test_missing_and_unbalanced_runs_are_refused_with_what_to_do() -> None:
    experiment = three_by_two()
    with pytest.raises(Invalid, match=r"1 runs of size 6 .* arm 'two' and seed 5: wait"):
        nested_accuracies(rows_of(experiment)[:-1], experiment, ("one", "two"), "fine", "zero_shot", 6, "test")
    with pytest.raises(Invalid, match="6 runs of size 12"):
        nested_accuracies(rows_of(experiment), experiment, ("one",), "fine", "zero_shot", 12, "test")
    uneven = experiment.model_copy(update={"draw_seeds": (0, 0, 0, 0, 1, 1)})
    plain = experiment.model_copy(update={"draw_seeds": ()})
    with pytest.raises(Invalid, match="6 draws with 1 seeds each"):
        nested_accuracies(rows_of(plain), plain, ("one",), "fine", "zero_shot", 6, "test")
    with pytest.raises(Invalid, match="unequally many seeds"):
        nested_accuracies(rows_of(uneven), uneven, ("one",), "fine", "zero_shot", 6, "test")

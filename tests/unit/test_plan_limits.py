"""A plan beyond the limit is refused with its size and what to lower, without being made."""

import pytest
from support.specs import resolved
from touchstone_contracts.arms import Arm
from touchstone_contracts.arms.generation import Generation
from touchstone_contracts.arms.perturbation import Perturbation
from touchstone_contracts.arms.retrieval import Retrieval
from touchstone_contracts.problems import Invalid
from touchstone_contracts.recipes.cross_entropy import CrossEntropy
from touchstone_planning.limits import check_size, most_steps
from touchstone_planning.plan import plan_experiment

LIMIT = 200_000


def test_a_plan_within_the_limit_passes_and_the_count_is_an_upper_bound() -> None:
    experiment = resolved()
    made = len(plan_experiment(experiment).steps)
    assert made <= most_steps(experiment) <= 2 * made
    check_size(experiment, LIMIT)


def test_many_seeds_sizes_and_rates_are_refused_with_the_largest_first() -> None:
    experiment = resolved(
        seeds=tuple(range(100)),
        sizes=tuple(range(1, 51)),
        recipe=CrossEntropy(learning_rates=tuple(0.0001 * (1 + number) for number in range(60))),
    )
    with pytest.raises(Invalid, match=r"about 1,220,\d{3} steps and 200,000 are allowed") as refused:
        check_size(experiment, LIMIT)
    assert refused.value.code == "plan_too_large"
    assert [error.pointer for error in refused.value.errors] == [
        "/seeds",
        "/recipe/learning_rates",
        "/sizes",
        "/targets",
        "/arms",
    ]


@pytest.mark.parametrize("made_of", ["generated", "perturbed"])
def test_an_arm_of_a_hundred_million_images_is_named_and_nothing_is_planned(made_of: str) -> None:
    source = Generation(name="source", generator="diffusion", images=100_000_000)
    moved = Perturbation(name="moved", parent="source", gamma=0.5, generator="diffusion")
    arms: tuple[Arm, ...] = (source,) if made_of == "generated" else (Retrieval(name="real"), source, moved)
    rules = {"filter": {"kind": "keep_all"}, "per_class_cap": None}
    experiment = resolved(arms=arms, targets=("fine",), sizes=(6,), curation=rules)
    with pytest.raises(Invalid) as refused:
        check_size(experiment, LIMIT)
    named = {error.pointer for error in refused.value.errors}
    assert {f"/arms/{position}" for position, arm in enumerate(arms) if arm.name != "real"} <= named

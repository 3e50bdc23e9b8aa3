"""A plan beyond the limit is refused with its size and what to lower, without being made."""

import sys
from collections.abc import Callable
from types import FrameType
from typing import TypeVar

import pytest
from support.costly_plans import GENERATED, LargeWorld, accepted, experiment, refused
from support.specs import resolved
from touchstone_api.settings import ApiSettings
from touchstone_contracts.arms import Arm
from touchstone_contracts.arms.generation import Generation
from touchstone_contracts.arms.perturbation import Perturbation
from touchstone_contracts.arms.retrieval import Retrieval
from touchstone_contracts.catalogue import Target
from touchstone_contracts.problems import Invalid
from touchstone_contracts.recipes.cross_entropy import CrossEntropy
from touchstone_planning.dag import Plan
from touchstone_planning.fairness import check_fair
from touchstone_planning.limits import ENTRIES_PER_STEP, check_size, plan_size
from touchstone_planning.plan import plan_experiment, plan_upstream, stored_plan

Answer = TypeVar("Answer")
LIMIT = ApiSettings.model_fields["max_plan_steps"].default


def test_a_plan_within_the_limit_passes_and_the_count_is_an_upper_bound() -> None:
    experiment = resolved()
    made = len(plan_experiment(experiment).steps)
    assert made <= plan_size(experiment).steps <= 2 * made
    check_size(experiment, LIMIT)


def test_many_seeds_sizes_and_rates_are_refused_with_the_largest_first() -> None:
    experiment = resolved(
        seeds=tuple(range(100)),
        sizes=tuple(range(1, 51)),
        recipe=CrossEntropy(learning_rates=tuple(0.0001 * (1 + number) for number in range(60))),
    )
    with pytest.raises(Invalid, match=r"about 1,22\d,\d{3} steps and 25,000 are allowed") as refused:
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


def counted(function: Callable[[], Answer]) -> tuple[Answer, int]:
    """The answer, and how many functions written in Python were called for it: what work there was, whatever else the
    machine does meanwhile."""
    calls = 0

    def look(frame: FrameType, event: str, argument: object) -> None:
        nonlocal calls
        calls += event == "call"

    before = sys.getprofile()
    sys.setprofile(look)
    try:
        answer = function()
    finally:
        sys.setprofile(before)
    return answer, calls


@pytest.mark.parametrize("name", sorted(accepted()))
def test_the_costliest_accepted_plans_take_seconds_and_no_more_steps_than_counted(name: str) -> None:
    costly = accepted()[name]
    upstream = plan_upstream(costly.upstream, costly.index_encoder).upstream

    def planned() -> Plan:
        check_fair(costly)
        check_size(costly, LIMIT)
        plan = plan_experiment(costly, upstream)
        stored_plan(plan)
        return plan

    plan, calls = counted(planned)
    assert calls < 5_000_000  # found: 0.5 to 2.4 million, which take 0.2 to 1.6 s
    size = plan_size(costly)
    assert size.steps + size.entries / ENTRIES_PER_STEP > LIMIT * 0.25
    assert len(plan.steps) <= size.steps
    assert sum(len(step.inputs) for step in plan.steps) <= size.entries + 4 * len(plan.steps)
    assert len(accepted()) == 9


@pytest.mark.parametrize("name", sorted(refused()))
def test_the_costliest_refused_plans_are_counted_and_not_made(name: str) -> None:
    costly = refused()[name]

    def refuse() -> None:
        check_fair(costly)
        with pytest.raises(Invalid, match="allowed"):
            check_size(costly, LIMIT)

    _, calls = counted(refuse)
    assert calls < 1_500_000  # found: 0.4 million at most, which take 0.2 s
    assert plan_size(costly).steps > 100_000_000
    assert len(refused()) == 3


def test_seeds_that_every_evaluation_names_are_refused_though_the_steps_are_few() -> None:
    with pytest.raises(Invalid, match="every evaluation names the runs of all seeds") as caught:
        check_size(experiment(LargeWorld(10, 1), seeds=range(100), sizes=range(10, 30)), LIMIT)
    assert caught.value.errors[0].pointer == "/seeds"


def test_targets_with_too_many_classes_together_are_refused_before_the_others_are_read() -> None:
    class Counting(LargeWorld):
        read = 0

        def target(self, name: str) -> Target:
            self.read += 1
            return super().target(name)

    world = Counting(10_000, 1)
    with pytest.raises(Invalid, match="too many classes") as caught:
        experiment(world, targets=[f"t{number}" for number in range(50)])
    assert caught.value.errors[0].pointer == "/targets/2"
    assert world.read == 3


def test_an_experiment_on_imagenet_with_a_generated_image_for_each_real_one_fits() -> None:
    """1.28 million images of 1,000 classes, six sizes, five seeds, five learning rates."""
    one_for_each = experiment(
        LargeWorld(),
        arms=[{"kind": "retrieval", "name": "real"}, GENERATED | {"images": 1_280_000}],
        sizes=[1000 * 2**number for number in range(6)],
        seeds=range(5),
        recipe={"kind": "cross_entropy", "learning_rates": [1e-5, 2e-5, 3e-5, 4e-5, 5e-5]},
    )
    check_size(one_for_each, LIMIT)
    assert plan_size(one_for_each).steps == pytest.approx(20_400, rel=0.01)

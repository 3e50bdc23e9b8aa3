"""Arms made from other arms: what is planned for them, and which chains are refused."""

from typing import Any

import pytest
from pydantic import ValidationError
from support.specs import DictLookup, resolved, source, spec
from touchstone_contracts.arms.generation import Generation, Sampler
from touchstone_contracts.arms.nothing import NoTraining
from touchstone_contracts.arms.perturbation import Perturbation
from touchstone_contracts.arms.prompts import LanguageModel, RetrievedCaptions, Templates
from touchstone_contracts.arms.retrieval import RandomDraw, Retrieval
from touchstone_contracts.arms.tuning import CuratedImages, LoraSettings, TargetTrainImages, Tuning
from touchstone_contracts.curation import KeepAll
from touchstone_contracts.identity import identity
from touchstone_contracts.problems import Invalid, Unfair
from touchstone_planning.arms.planner import most_images
from touchstone_planning.dag import Plan, PlannedStep
from touchstone_planning.estimate import gpu_hours, workload
from touchstone_planning.fairness import check_fair
from touchstone_planning.limits import plan_size
from touchstone_planning.plan import plan_experiment
from touchstone_planning.resolve import resolve
from touchstone_planning.resolved import ResolvedExperiment
from touchstone_planning.throughput import THROUGHPUTS

REAL = Retrieval(name="real")


def synthetic(**changes: Any) -> Generation:
    return Generation(name="fake", generator="diffusion", images=300, **changes)


def perturbed(**changes: Any) -> Perturbation:
    return Perturbation(**({"name": "moved", "parent": "real", "gamma": 0.4, "generator": "diffusion"} | changes))


def of_kind(plan: Plan, kind: str) -> list[PlannedStep]:
    return [step for step in plan.steps if step.kind == kind]


def planned(*arms: Any, **changes: Any) -> Plan:
    return plan_experiment(resolved(arms=arms, sizes=(6,), targets=("fine",), **changes))


def test_what_was_always_done_said_aloud_is_the_same_experiment() -> None:
    aloud = resolved(arms=(synthetic(prompts=Templates(), image_size=None, tune=None),))
    assert identity(aloud) == identity(resolved(arms=(synthetic(),)))


@pytest.mark.parametrize("parent_first", [True, False])
def test_a_perturbation_is_made_from_the_parents_curated_pool_whichever_arm_is_named_first(parent_first: bool) -> None:
    arms = (REAL, perturbed()) if parent_first else (perturbed(), REAL)
    plan = planned(*arms)

    (step,) = of_kind(plan, "perturb_images")
    assert step.inputs == (plan.curations["fine", "real"],)
    seen: set[str] = set()
    for each in plan.steps:
        assert set(each.inputs) <= seen, each.role
        seen.add(each.id)


def test_a_perturbation_is_not_filtered_and_capped_a_second_time() -> None:
    plan = planned(REAL, perturbed())
    steps = {step.id: step.request for step in plan.steps}
    parent, child = (steps[plan.curations["fine", arm]].rules for arm in ("real", "moved"))  # type: ignore[attr-defined]

    assert child == parent.model_copy(update={"filter": KeepAll(), "per_class_cap": None})
    assert child != parent


def test_a_large_parent_is_perturbed_in_shares_of_a_bounded_size() -> None:
    parent = Generation(name="real", generator="diffusion", images=12_000)
    plan = planned(parent, perturbed(), curation={"filter": {"kind": "keep_all"}})
    requests: list[Any] = [step.request for step in of_kind(plan, "perturb_images")]

    assert [(request.part, request.parts) for request in requests] == [(part, 12) for part in range(12)]


def test_each_gamma_of_a_sweep_shares_the_parent() -> None:
    plan = planned(REAL, *(perturbed(name=f"g{gamma}", gamma=gamma / 10) for gamma in range(0, 10, 2)))
    assert len(of_kind(plan, "perturb_images")) == 5
    assert len(of_kind(plan, "retrieve_images")) == 1


def test_retrieved_captions_wait_for_what_curation_kept() -> None:
    plan = planned(synthetic(prompts=RetrievedCaptions(arm="real")), REAL)

    (step,) = of_kind(plan, "collect_captions")
    assert step.inputs == (plan.curations["fine", "real"],)
    assert all(step.id in each.inputs for each in of_kind(plan, "generate_images"))
    assert not of_kind(plan, "write_prompts")


def test_written_captions_are_one_step_for_arms_that_differ_in_the_sampler() -> None:
    arms = [
        Generation(name=name, generator="diffusion", images=30, prompts=LanguageModel(), sampler=Sampler(steps=steps))
        for name, steps in (("slow", 50), ("fast", 10))
    ]
    plan = planned(*arms)
    assert len(of_kind(plan, "write_captions")) == 1
    assert len(of_kind(plan, "generate_images")) == 2


def test_a_generator_is_tuned_once_and_every_chunk_waits_for_it() -> None:
    tune = Tuning(images=CuratedImages(arm="real"))
    plan = planned(REAL, synthetic(tune=tune, image_size=64), synthetic().model_copy(update={"name": "plain"}))

    (step,) = of_kind(plan, "tune_generator")
    assert step.inputs == (plan.curations["fine", "real"],)
    chunks: list[Any] = of_kind(plan, "generate_images")
    assert [step.id in each.inputs for each in chunks] == [True] * 3 + [False] * 3
    assert [each.request.image_size for each in chunks] == [64] * 3 + [512] * 3


def test_each_class_has_its_adapter_and_its_rows_of_the_prompts() -> None:
    tune = Tuning(images=CuratedImages(arm="real"), per="class")
    plan = planned(REAL, synthetic(tune=tune).model_copy(update={"images": 600}))

    tunings: list[Any] = of_kind(plan, "tune_generator")
    assert [each.request.class_id for each in tunings] == [0, 1, 2]
    assert {each.inputs for each in tunings} == {(plan.curations["fine", "real"],)}
    chunks: list[Any] = of_kind(plan, "generate_images")
    assert [(each.request.first, each.request.last) for each in chunks] == [
        (0, 128), (128, 200), (200, 328), (328, 400), (400, 528), (528, 600),
    ]  # fmt: skip
    assert [each.request.generator.tuning for each in chunks] == [tuning.id for tuning in tunings for _ in range(2)]


def test_an_adapter_of_the_set_is_named_and_written_as_before_there_were_others() -> None:
    aloud = planned(REAL, synthetic(tune=Tuning(images=CuratedImages(arm="real"), per="set")))
    (step,) = of_kind(aloud, "tune_generator")
    assert "class_id" not in step.stored
    assert step.id in {
        each.id for each in planned(REAL, synthetic(tune=Tuning(images=CuratedImages(arm="real")))).steps
    }


@pytest.mark.parametrize(("per", "adapters"), [("set", 1), ("class", 3)])
def test_the_estimate_counts_the_tuning_of_every_adapter(per: Any, adapters: int) -> None:
    tune = Tuning(images=CuratedImages(arm="real"), per=per, lora=LoraSettings(steps=10, batch_size=4))
    arms = (REAL, synthetic(tune=tune, image_size=256))
    experiment = resolved(arms=arms, sizes=(6,), targets=("fine",))
    work = workload(experiment, plan_experiment(experiment))
    assert work.images_tuned_on == adapters * 10 * 4 / 4
    plain, tuned = (gpu_hours(each, THROUGHPUTS)[0] for each in (work.model_copy(update={"images_tuned_on": 0}), work))
    assert tuned.generate > plain.generate
    assert plan_size(experiment).steps >= len(plan_experiment(experiment).steps) - 6  # the upstream's


def with_train_split() -> ResolvedExperiment:
    lookup = DictLookup()
    fine = lookup.targets["fine"]
    splits = fine.splits.model_copy(update={"train": source("fine-train")})
    lookup.targets["fine"] = fine.model_copy(update={"splits": splits})
    arms = (synthetic(tune=Tuning(images=TargetTrainImages())),)
    return resolve(spec(arms=arms, sizes=(6,), targets=("fine",)), lookup)


def test_tuning_on_the_targets_own_training_split_reads_that_split() -> None:
    experiment = with_train_split()
    check_fair(experiment)
    plan = plan_experiment(experiment)

    (step,) = of_kind(plan, "tune_generator")
    assert [each.role for each in plan.steps if each.id in step.inputs] == ["fine/train/ingest"]


@pytest.mark.parametrize(
    ("arms", "pointer", "reason"),
    [
        ((REAL, perturbed(parent="nobody")), "/arms/1/parent", "no arm named 'nobody'"),
        ((perturbed(parent="moved"),), "/arms/0/parent", "from itself"),
        ((perturbed(parent="b"), perturbed(name="b", parent="moved")), "/arms/0/parent", "from itself"),
        ((NoTraining(), perturbed(parent="none")), "/arms/1/parent", "yields no images"),
        ((synthetic(prompts=RetrievedCaptions(arm="nobody")),), "/arms/0/prompts/arm", "no arm named"),
        ((synthetic(prompts=RetrievedCaptions(arm="fake")),), "/arms/0/prompts/arm", "from itself"),
        ((NoTraining(), synthetic(prompts=RetrievedCaptions(arm="none"))), "/arms/1/prompts/arm", "only a retrieval"),
        ((synthetic(tune=Tuning(images=CuratedImages(arm="x"))),), "/arms/0/tune/images/arm", "no arm named"),
        ((synthetic(tune=Tuning(images=TargetTrainImages())),), "/arms/0/tune/images", "no training split"),
    ],
)
def test_an_arm_of_what_is_not_there_is_refused_with_its_pointer(
    arms: tuple[Any, ...], pointer: str, reason: str
) -> None:
    with pytest.raises(Invalid) as refused:
        check_fair(resolved(arms=arms, sizes=(1,)))
    assert refused.value.code == "impossible_arm"
    assert refused.value.errors[0].pointer == pointer
    assert reason in refused.value.errors[0].detail


def test_a_perturbing_generator_of_another_upstream_is_unfair() -> None:
    with pytest.raises(Unfair) as refused:
        check_fair(resolved(arms=(REAL, perturbed(generator="stranger")), sizes=(1,)))
    assert refused.value.errors[0].pointer == "/arms/1/generator"


def test_a_perturbing_generator_nobody_registered_is_pointed_at() -> None:
    with pytest.raises(Invalid) as refused:
        resolved(arms=(REAL, perturbed(generator="nothing")))
    assert [error.pointer for error in refused.value.errors] == ["/arms/1/generator"]


def test_a_perturbation_leaves_at_most_what_its_parent_leaves() -> None:
    few = Retrieval(name="real", strategy=RandomDraw(images_per_class=2))
    experiment = resolved(arms=(few, perturbed()), sizes=(1,))
    parent, child = (most_images(arm, experiment.targets[0], experiment) for arm in experiment.spec.arms)
    assert parent == child > 0


@pytest.mark.parametrize(
    ("gamma", "steps", "allowed"), [(0.0, 5, True), (0.2, 5, True), (0.1, 5, False), (1.0, 1, True)]
)
def test_a_gamma_that_reaches_no_step_cannot_be_written_down(gamma: float, steps: int, allowed: bool) -> None:
    if allowed:
        assert perturbed(gamma=gamma, sampler=Sampler(steps=steps)).gamma == gamma
        return
    with pytest.raises(ValidationError, match="is no step"):
        perturbed(gamma=gamma, sampler=Sampler(steps=steps))

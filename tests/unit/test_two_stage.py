"""The recipe of two stages: what it is made of, what it costs, which images its head is trained on."""

from typing import Any

import pytest
from pydantic import ValidationError
from support.specs import DictLookup, source, spec
from touchstone_contracts.arms.mixture import Count, Mixture, Part, Share
from touchstone_contracts.arms.retrieval import Retrieval
from touchstone_contracts.arms.target_train import TargetTrain
from touchstone_contracts.problems import Invalid
from touchstone_contracts.recipes.class_labels import CutMix
from touchstone_contracts.recipes.cross_entropy import CrossEntropy
from touchstone_contracts.recipes.two_stage import HeadStage, TwoStage
from touchstone_planning.estimate import workload
from touchstone_planning.fairness import check_fair
from touchstone_planning.plan import plan_experiment
from touchstone_planning.resolve import resolve
from touchstone_planning.resolved import ResolvedExperiment

REAL = Retrieval(name="real")


def two_stage(images: int = 3, **changes: Any) -> TwoStage:
    return TwoStage(**({"head": HeadStage(images=images), "epochs": 2, "batch_size": 4} | changes))


def experiment(*arms: Any, recipe: Any = None, train: int | None = 12) -> ResolvedExperiment:
    """With a training split of `train` images of three classes, all of which curation keeps."""
    lookup = DictLookup()
    fine = lookup.targets["fine"]
    split = source("fine-train", train) if train else None
    lookup.targets["fine"] = fine.model_copy(update={"splits": fine.splits.model_copy(update={"train": split})})
    fields = {"arms": arms, "sizes": (6,), "seeds": (0,), "targets": ("fine",), "recipe": recipe or two_stage()}
    return resolve(spec(**fields, curation={"filter": {"kind": "keep_all"}}), lookup)


def test_the_stages_are_the_recipes_they_would_be_alone() -> None:
    recipe = two_stage(interpolation=0.5, crop_scale=0.8, learning_rates=(1e-4,))
    assert recipe.first_stage == CrossEntropy(
        epochs=2,
        batch_size=4,
        interpolation=0.5,
        crop_scale=0.8,
        learning_rates=(1e-4,),
        batch_augmentation=CutMix(probability=0.5),
    )
    assert recipe.second_stage == CrossEntropy(
        epochs=10, batch_size=32, crop_scale=0.8, learning_rates=(1e-2,), weight_decay=0.01
    )


def test_the_work_is_that_of_both_stages_and_no_gradient_reaches_the_tower_in_the_second() -> None:
    work = two_stage(40).work(size=6, validation=10)
    assert work.updates == 2 * 2 + 10 * 2
    assert work.images_trained == 2 * 6
    assert work.images_evaluated == 2 * 10 + 10 * 40 + 10 * 10


def test_the_estimate_counts_both_stages() -> None:
    resolved = experiment(REAL)
    assert workload(resolved, plan_experiment(resolved)).updates == two_stage().work(6, 10).updates


def test_every_arm_trains_its_head_on_the_same_curated_images_of_the_target() -> None:
    mixture = Mixture(
        name="both",
        mode="additive",
        parts=(Part(arm="target_train", amount=Count(images=3)), Part(arm="real", amount=Share(share=1.0))),
    )
    plan = plan_experiment(experiment(REAL, TargetTrain(), mixture))
    pools = {step.request.target_pool for step in plan.steps if step.kind == "adapt_encoder"}  # type: ignore[attr-defined]
    assert pools == {plan.curations["fine", "target_train"]}
    assert len([step for step in plan.steps if step.kind == "curate_images"]) == 2


def test_the_targets_images_are_curated_also_where_no_arm_is_made_of_them() -> None:
    plan = plan_experiment(experiment(REAL))
    (run,) = (step for step in plan.steps if step.kind == "adapt_encoder")
    roles = {step.id: step.role for step in plan.steps}
    assert {roles[step] for step in run.inputs} >= {"fine/real/curate", "fine/target_train/curate"}


def test_other_recipes_need_no_images_of_the_target() -> None:
    plan = plan_experiment(experiment(REAL, recipe=CrossEntropy()))
    (run,) = (step for step in plan.steps if step.kind == "adapt_encoder")
    assert "target_pool" not in run.stored
    assert not [step for step in plan.steps if step.role == "fine/target_train/curate"]


@pytest.mark.parametrize(("train", "images", "most"), [(None, 3, 0), (12, 13, 12)])
def test_more_images_than_the_target_has_are_refused(train: int | None, images: int, most: int) -> None:
    with pytest.raises(Invalid) as refused:
        check_fair(experiment(REAL, recipe=two_stage(images), train=train))
    (error,) = refused.value.errors
    assert error.pointer == "/recipe"
    assert f"asks for {images} images of the target's training split, 'fine' can leave at most {most}" in error.detail


def test_the_images_of_the_second_stage_have_no_default() -> None:
    with pytest.raises(ValidationError, match="head"):
        TwoStage.model_validate({"kind": "two_stage"})
    with pytest.raises(ValidationError, match="images"):
        TwoStage.model_validate({"kind": "two_stage", "head": {}})

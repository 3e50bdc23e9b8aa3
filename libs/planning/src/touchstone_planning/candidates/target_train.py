"""The target's own training images: nothing to make, the split is ingested for the linear probe anyway."""

from touchstone_contracts.problems import Invalid

from touchstone_planning.candidates.image_set import PlannedImages
from touchstone_planning.dag import TargetContext


def plan_target_train(context: TargetContext) -> list[PlannedImages]:
    if context.train is None:  # refused with a pointer by arm_checks before anything is planned
        raise Invalid(f"target {context.target.name!r} has no training split", code="no_train_split")
    return [PlannedImages(context.train, f"{context.target.name}/train")]

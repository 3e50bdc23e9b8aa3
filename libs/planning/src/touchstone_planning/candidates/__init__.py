"""From an arm to the steps that yield its candidates, one file per kind of arm."""

from touchstone_contracts.arms import Arm
from touchstone_contracts.curation import Curation, KeepAll

from touchstone_planning.candidates.generation import plan_generation
from touchstone_planning.candidates.image_set import PlannedImages, PoolOf
from touchstone_planning.candidates.perturbation import plan_perturbation
from touchstone_planning.candidates.retrieval import plan_retrieval
from touchstone_planning.candidates.target_train import plan_target_train
from touchstone_planning.dag import TargetContext


def plan_candidates(arm: Arm, context: TargetContext, role: str, pool_of: PoolOf) -> list[PlannedImages]:
    """The steps whose images curation will choose from; their order is part of the curation's identity."""
    if arm.kind == "retrieval":
        return plan_retrieval(arm, context, role)
    if arm.kind == "generation":
        return plan_generation(arm, context, role, pool_of)
    if arm.kind == "perturbation":
        return plan_perturbation(arm, context, role, pool_of)
    if arm.kind == "target_train":
        return plan_target_train(context)
    return []


def curation_rules(arm: Arm, rules: Curation) -> Curation:
    """The experiment's rules; a perturbation's parent was filtered and capped, so only the other rules are left."""
    if arm.kind == "perturbation":
        return rules.model_copy(update={"filter": KeepAll(), "per_class_cap": None})
    return rules

"""The encoder as it is: nothing is sourced, nothing is trained."""

from touchstone_contracts.arms.nothing import NoTraining
from touchstone_contracts.catalogue import Target
from touchstone_contracts.values import StepId

from touchstone_planning.arms.planner import ArmPlanner, Needs
from touchstone_planning.dag import PoolOf, TargetContext
from touchstone_planning.resolved import ResolvedExperiment


class NoTrainingPlanner(ArmPlanner[NoTraining]):
    spec = NoTraining
    offers = frozenset()

    def describe(self, arm: NoTraining) -> str:
        return "the encoder as it is, without training"

    def needs(self, arm: NoTraining) -> Needs:
        return Needs(text_tower=False)

    def most_candidates(self, arm: NoTraining, target: Target, resolved: ResolvedExperiment) -> int:
        return 0

    def most_images(self, arm: NoTraining, target: Target, resolved: ResolvedExperiment) -> int:
        return 0

    def plan_pool(self, arm: NoTraining, context: TargetContext, pool_of: PoolOf) -> StepId:
        raise ValueError(f"arm {arm.name!r} does not train, so it has no pool")

"""The target's own training images: nothing to make, the split is ingested for the linear probe anyway."""

from touchstone_contracts.arms.target_train import TargetTrain
from touchstone_contracts.catalogue import Target
from touchstone_contracts.problems import Invalid

from touchstone_planning.arms.planner import ByClassPlanner, Needs
from touchstone_planning.dag import PlannedImages, PoolOf, TargetContext
from touchstone_planning.resolved import ResolvedExperiment


class TargetTrainPlanner(ByClassPlanner[TargetTrain]):
    spec = TargetTrain

    def describe(self, arm: TargetTrain) -> str:
        return "the target's own real training images"

    def needs(self, arm: TargetTrain) -> Needs:
        return Needs(train_split="")

    def most_per_class(self, arm: TargetTrain, target: Target, resolved: ResolvedExperiment) -> int:
        return target.splits.train.images if target.splits.train is not None else 0

    def most_candidates(self, arm: TargetTrain, target: Target, resolved: ResolvedExperiment) -> int:
        return self.most_per_class(arm, target, resolved)

    def most_images(self, arm: TargetTrain, target: Target, resolved: ResolvedExperiment) -> int:
        return min(super().most_images(arm, target, resolved), self.most_per_class(arm, target, resolved))

    def plan_candidates(
        self, arm: TargetTrain, context: TargetContext, role: str, pool_of: PoolOf
    ) -> list[PlannedImages]:
        if context.train is None:  # refused with a pointer by fairness.py before anything is planned
            raise Invalid(f"target {context.target.name!r} has no training split", code="no_train_split")
        return [PlannedImages(context.train, f"{context.target.name}/train")]

"""Upstream images by their true class: one step joins the table of classes with the upstream."""

from touchstone_contracts.arms.labelled import Labelled
from touchstone_contracts.catalogue import Target
from touchstone_contracts.steps import FIND_LABELLED, FindLabelled

from touchstone_planning.arms.planner import ByClassPlanner, Needs
from touchstone_planning.dag import PlannedImages, PoolOf, TargetContext
from touchstone_planning.downloads import downloaded
from touchstone_planning.resolved import ResolvedExperiment


class LabelledPlanner(ByClassPlanner[Labelled]):
    spec = Labelled
    offers = frozenset({"images", "captions", "unmixed"})

    def describe(self, arm: Labelled) -> str:
        return "real images of the upstream by their true class, as a table says it"

    def needs(self, arm: Labelled) -> Needs:
        return Needs(upstream=True)

    def most_per_class(self, arm: Labelled, target: Target, resolved: ResolvedExperiment) -> int:
        return min(arm.labels.images, resolved.upstream.images)

    def most_candidates(self, arm: Labelled, target: Target, resolved: ResolvedExperiment) -> int:
        return arm.labels.images

    def most_images(self, arm: Labelled, target: Target, resolved: ResolvedExperiment) -> int:
        return min(super().most_images(arm, target, resolved), arm.labels.images)

    def most_steps(self, arm: Labelled, target: Target, resolved: ResolvedExperiment) -> int:
        return 1 + (2 * len(target.classes) if resolved.upstream.has_links else 1)

    def names_shards(self, arm: Labelled) -> bool:
        return True

    def counts_upstream(self, arm: Labelled) -> bool:
        return True

    def plan_candidates(self, arm: Labelled, context: TargetContext, role: str, pool_of: PoolOf) -> list[PlannedImages]:
        request = FindLabelled(
            upstream=tuple(shard.images for shard in context.upstream.shards),
            labels=arm.labels,
            target=context.target.name,
            classes=len(context.target.classes),
        )
        found = context.plan.add(FIND_LABELLED, request, f"{role}/find")
        if context.resolved.upstream.has_links:
            return downloaded(found, found, context, role)
        return [PlannedImages(found, role)]

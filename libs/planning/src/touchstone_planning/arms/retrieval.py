"""Retrieved candidates: one step asks the index; of an upstream of links, one step per class fetches the images."""

from collections.abc import Iterator

from touchstone_contracts.arms.retrieval import Retrieval, Strategy
from touchstone_contracts.catalogue import Target
from touchstone_contracts.problems import FieldError
from touchstone_contracts.steps import RETRIEVE_IMAGES, RetrieveImages
from touchstone_contracts.values import StepId

from touchstone_planning.arms.planner import ByClassPlanner, Needs, pointer_to
from touchstone_planning.class_names import in_words, plan_names, without_choice
from touchstone_planning.dag import PlannedImages, PoolOf, TargetContext
from touchstone_planning.downloads import downloaded
from touchstone_planning.resolved import ResolvedExperiment
from touchstone_planning.strategies import rules_of


class RetrievalPlanner(ByClassPlanner[Retrieval]):
    spec = Retrieval
    offers = frozenset({"images", "captions", "unmixed"})

    def describe(self, arm: Retrieval) -> str:
        return f"real images of the upstream, found by {rules_of(arm.strategy).words}{in_words(arm.names)}"

    def needs(self, arm: Retrieval) -> Needs:
        return Needs(upstream=True)

    def impossible(self, arm: Retrieval, resolved: ResolvedExperiment) -> Iterator[FieldError]:
        pointer = f"{pointer_to(arm, resolved)}/strategy"
        yield from rules_of(arm.strategy).impossible(arm.strategy, resolved, pointer)
        yield from without_choice(arm.names, resolved, f"{pointer_to(arm, resolved)}/names")

    def images_compared(self, arm: Retrieval, resolved: ResolvedExperiment) -> Iterator[tuple[str, str]]:
        for pointer, instead in rules_of(arm.strategy).images_compared(arm.strategy):
            yield f"{pointer_to(arm, resolved)}/strategy{pointer}", instead

    def patterns(self, arm: Retrieval) -> Iterator[tuple[str, str]]:
        return rules_of(arm.strategy).patterns(arm.strategy, "/strategy")

    def most_per_class(self, arm: Retrieval, target: Target, resolved: ResolvedExperiment) -> int:
        # An image may be found for several classes, so upstream bounds each class rather than the sum.
        return min(rules_of(arm.strategy).most_per_class(arm.strategy, target), resolved.upstream.images)

    def names_shards(self, arm: Retrieval) -> bool:
        """To count names in captions."""
        return arm.names != "given"

    def most_steps(self, arm: Retrieval, target: Target, resolved: ResolvedExperiment) -> int:
        return 2 + (2 * len(target.classes) if resolved.upstream.has_links else 2)

    def counts_upstream(self, arm: Retrieval) -> bool:
        return rules_of(arm.strategy).by_class

    def plan_candidates(
        self, arm: Retrieval, context: TargetContext, role: str, pool_of: PoolOf
    ) -> list[PlannedImages]:
        names = plan_names(arm.names, context)
        found = _retrieved(arm.strategy, names, context, f"{role}/retrieve")
        if not context.resolved.upstream.has_links:
            return [PlannedImages(found, role)]
        reserve = _retrieved(rules_of(arm.strategy).deeper(arm.strategy), names, context, f"{role}/retrieve deeper")
        return downloaded(found, reserve, context, role)


def _retrieved(strategy: Strategy, names: StepId | None, context: TargetContext, role: str) -> StepId:
    request = RetrieveImages(
        index=context.upstream.index,
        shards=context.upstream.shards,
        encoder=context.plan.model(context.resolved.index_encoder),
        classes=context.target.classes,
        templates=context.target.templates.retrieval,
        strategy=strategy,
        seed=context.resolved.spec.sampling_seed,
        names=names,
    )
    return context.plan.add(RETRIEVE_IMAGES, request, role)

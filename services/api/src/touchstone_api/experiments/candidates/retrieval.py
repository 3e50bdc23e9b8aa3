"""Retrieved candidates: one step asks the index."""

from touchstone_contracts.arms.retrieval import Retrieval
from touchstone_contracts.steps import RETRIEVE_IMAGES, ModelRef, RetrieveImages

from touchstone_api.experiments.candidates.image_set import PlannedImages
from touchstone_api.experiments.dag import TargetContext


def plan_retrieval(arm: Retrieval, context: TargetContext, role: str) -> list[PlannedImages]:
    assert context.upstream is not None  # plan_experiment indexes it whenever an arm retrieves
    request = RetrieveImages(
        index=context.upstream.index,
        shards=context.upstream.shards,
        encoder=ModelRef.of(context.resolved.index_encoder),
        classes=context.target.classes,
        templates=context.target.templates.retrieval,
        strategy=arm.strategy,
        seed=context.resolved.spec.sampling_seed,
    )
    return [PlannedImages(context.plan.add(RETRIEVE_IMAGES, request, f"{role}/retrieve"), role)]

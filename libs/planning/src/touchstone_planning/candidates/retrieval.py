"""Retrieved candidates: one step asks the index; of an upstream of links, one step per class fetches the images."""

from touchstone_contracts.arms.retrieval import RandomDraw, Retrieval, Strategy, Union
from touchstone_contracts.steps import DOWNLOAD_IMAGES, RETRIEVE_IMAGES, DownloadImages, ModelRef, RetrieveImages
from touchstone_contracts.values import StepId

from touchstone_planning.candidates.image_set import PlannedImages
from touchstone_planning.dag import TargetContext

DEPTH_OF_RESERVE = 2
"""How many times as many hits a strategy is asked for, so that others can stand in for links that have rotted: half to
three quarters of LAION's still gave an image in 2023-2024."""
MOST_RESULTS = 100_000
"""The most the contract lets a strategy ask for."""


def plan_retrieval(arm: Retrieval, context: TargetContext, role: str) -> list[PlannedImages]:
    assert context.upstream is not None  # plan_experiment indexes it whenever an arm retrieves
    found = _retrieved(arm.strategy, context, f"{role}/retrieve")
    if not context.upstream.has_links:
        return [PlannedImages(found, role)]
    reserve = _retrieved(deeper(arm.strategy), context, f"{role}/retrieve deeper")
    return [
        PlannedImages(_downloaded(found, reserve, label.id, context, role), f"{role}[{label.id}]")
        for label in context.target.classes
    ]


def _retrieved(strategy: Strategy, context: TargetContext, role: str) -> StepId:
    assert context.upstream is not None
    request = RetrieveImages(
        index=context.upstream.index,
        shards=context.upstream.shards,
        encoder=ModelRef.of(context.resolved.index_encoder),
        classes=context.target.classes,
        templates=context.target.templates.retrieval,
        strategy=strategy,
        seed=context.resolved.spec.sampling_seed,
    )
    return context.plan.add(RETRIEVE_IMAGES, request, role)


def _downloaded(found: StepId, reserve: StepId, class_id: int, context: TargetContext, role: str) -> StepId:
    request = DownloadImages(wanted=found, reserve=reserve, class_id=class_id)
    return context.plan.add(DOWNLOAD_IMAGES, request, f"{role}/download[{class_id}]")


def deeper(strategy: Strategy) -> Strategy:
    """The same strategy, asked for more of the same list."""
    if isinstance(strategy, Union):
        parts = {"text_match": deeper(strategy.text_match), "semantic": deeper(strategy.semantic)}
        return strategy.model_copy(update=parts)
    size = "images_per_class" if isinstance(strategy, RandomDraw) else "results_per_query"
    return strategy.model_copy(update={size: min(DEPTH_OF_RESERVE * getattr(strategy, size), MOST_RESULTS)})

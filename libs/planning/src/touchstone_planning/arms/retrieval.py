"""Retrieved candidates: one step asks the index; of an upstream of links, one step per class fetches the images."""

from collections.abc import Iterator

from touchstone_contracts.arms.retrieval import RandomDraw, Retrieval, Semantic, Strategy, TextMatch, Union
from touchstone_contracts.catalogue import Target
from touchstone_contracts.problems import FieldError
from touchstone_contracts.steps import DOWNLOAD_IMAGES, RETRIEVE_IMAGES, DownloadImages, ModelRef, RetrieveImages
from touchstone_contracts.values import StepId

from touchstone_planning.arms.planner import ArmPlanner, Needs, place_of
from touchstone_planning.dag import PlannedImages, PoolOf, TargetContext
from touchstone_planning.pointers import escaped, unknown_classes
from touchstone_planning.resolved import ResolvedExperiment

DEPTH_OF_RESERVE = 2
"""How many times as many hits a strategy is asked for, so that others can stand in for links that have rotted: half to
three quarters of LAION's still gave an image in 2023-2024."""
MOST_RESULTS = 100_000
"""The most the contract lets a strategy ask for."""


class RetrievalPlanner(ArmPlanner[Retrieval]):
    spec = Retrieval
    offers = frozenset({"images", "captions", "unmixed"})

    def describe(self, arm: Retrieval) -> str:
        return f"real images of the upstream, found by {STRATEGY_WORDS[type(arm.strategy)]}"

    def needs(self, arm: Retrieval) -> Needs:
        return Needs(upstream=True)

    def impossible(self, arm: Retrieval, resolved: ResolvedExperiment) -> Iterator[FieldError]:
        yield from _queries(resolved, arm.strategy, f"{place_of(arm, resolved)}/strategy")

    def most_per_class(self, arm: Retrieval, target: Target, resolved: ResolvedExperiment) -> int:
        # An image may be found for several classes, so upstream bounds each class rather than the sum.
        return min(_most_found_per_class(arm.strategy, target), resolved.upstream.images)

    def most_steps(self, arm: Retrieval, target: Target, resolved: ResolvedExperiment) -> int:
        return 2 + (2 * len(target.classes) if resolved.upstream.has_links else 2)

    def plan_candidates(
        self, arm: Retrieval, context: TargetContext, role: str, pool_of: PoolOf
    ) -> list[PlannedImages]:
        found = _retrieved(arm.strategy, context, f"{role}/retrieve")
        if not context.resolved.upstream.has_links:
            return [PlannedImages(found, role)]
        reserve = _retrieved(deeper(arm.strategy), context, f"{role}/retrieve deeper")
        return [
            PlannedImages(_downloaded(found, reserve, label.id, context, role), f"{role}[{label.id}]")
            for label in context.target.classes
        ]


STRATEGY_WORDS: dict[type, str] = {
    TextMatch: "words of their captions",
    Semantic: "similarity to the class texts",
    Union: "words of their captions and similarity to the class texts",
    RandomDraw: "chance",
}


def _retrieved(strategy: Strategy, context: TargetContext, role: str) -> StepId:
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


def _most_found_per_class(strategy: Strategy, target: Target) -> int:
    if isinstance(strategy, TextMatch):
        asked = [1 + len(label.aliases) for label in target.classes] + [len(own) for own in strategy.queries.values()]
        return max(asked) * strategy.results_per_query
    if isinstance(strategy, Semantic):
        templates = strategy.templates or target.templates.retrieval
        return len(templates) * len(strategy.indexes) * strategy.results_per_query
    if isinstance(strategy, RandomDraw):
        # Draws are labelled after the fact, so one class may get the draws of all.
        return strategy.images_per_class * len(target.classes)
    return _most_found_per_class(strategy.text_match, target) + _most_found_per_class(strategy.semantic, target)


def _queries(resolved: ResolvedExperiment, strategy: Strategy, pointer: str) -> Iterator[FieldError]:
    if isinstance(strategy, Union):
        yield from _queries(resolved, strategy.text_match, f"{pointer}/text_match")
    if not isinstance(strategy, TextMatch):
        return
    yield from unknown_classes(resolved, strategy.queries, f"{pointer}/queries")
    if strategy.mode == "regex":
        for key, patterns in strategy.queries.items():
            for position, pattern in enumerate(patterns):
                if problem := _pattern_problem(pattern):
                    yield FieldError(pointer=f"{pointer}/queries/{escaped(key)}/{position}", detail=problem)


def _pattern_problem(pattern: str) -> str:
    """What the engine that will search the captions says; empty if it accepts the pattern."""
    # Imported here: it is large, and few requests hold a pattern.
    import pyarrow as pa
    import pyarrow.compute as pc

    try:
        pc.match_substring_regex(pa.scalar(""), pattern, ignore_case=True)
    except pa.ArrowInvalid as error:
        return str(error)
    return ""

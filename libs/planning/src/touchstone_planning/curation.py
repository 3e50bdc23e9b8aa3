"""The step that curates an arm's candidates, with everything they are compared with."""

from collections.abc import Iterator, Sequence

from touchstone_contracts.catalogue import MAIN_TEST_SET
from touchstone_contracts.curation import AllOf, Curation
from touchstone_contracts.problems import FieldError
from touchstone_contracts.steps import CURATE_IMAGES, CurateImages, EmbeddedShard, ModelRef
from touchstone_contracts.values import StepId

from touchstone_planning.dag import PlannedImages, TargetContext, embedded, reembedded_upstream
from touchstone_planning.downloads import are_downloaded, placeholder_links_of
from touchstone_planning.pointers import unknown_classes
from touchstone_planning.resolved import ResolvedExperiment


def plan_curation(
    candidates: Sequence[PlannedImages], rules: Curation, context: TargetContext, role: str, *, synthetic: bool
) -> StepId:
    """`rules`: those that apply to the arm; `synthetic`: whether its images are compared with the upstream."""
    resolved = context.resolved
    request = CurateImages(
        candidates=tuple(
            embedded(context.plan, images.step, resolved.encoder_for_scores, images.role) for images in candidates
        ),
        encoder=context.plan.model(resolved.encoder_for_scores),
        classes=context.target.classes,
        templates=context.target.templates.filter,
        test=held_out(context, context.test, MAIN_TEST_SET),
        further_tests=tuple(held_out(context, step, name) for name, step in context.further_tests.items()),
        rules=rules.without_names(),
        copy_embeddings=_copy_embeddings(context, candidates),
        validation=held_out(context, context.validation, "validation") if "validation" in rules.leak_splits else None,
        upstream=_upstream(context) if rules.needs_upstream and synthetic else (),
        placeholder_links=placeholder_links_of(context) if are_downloaded(candidates, context) else None,
    )
    return context.plan.add(CURATE_IMAGES, request, f"{role}/curate")


def held_out(context: TargetContext, split: StepId, name: str) -> EmbeddedShard:
    """A split of the target as images are compared with it."""
    return embedded(context.plan, split, context.resolved.encoder_for_copies, f"{context.target.name}/{name}")


def _copy_embeddings(context: TargetContext, candidates: Sequence[PlannedImages]) -> tuple[StepId, ...]:
    """None of their own where one encoder does both."""
    encoder = context.resolved.encoder_for_copies
    if ModelRef.of(encoder) == ModelRef.of(context.resolved.encoder_for_scores):
        return ()
    return tuple(embedded(context.plan, images.step, encoder, images.role).embeddings for images in candidates)


def _upstream(context: TargetContext) -> tuple[EmbeddedShard, ...]:
    """As retrieval searches it where that is the same encoder."""
    resolved, encoder = context.resolved, context.resolved.encoder_for_copies
    if ModelRef.of(encoder) == ModelRef.of(resolved.index_encoder):
        return context.upstream.shards
    return reembedded_upstream(context.plan, resolved.upstream, context.upstream, encoder, resolved.hosts_of_links)


def most_kept(candidates: int, rules: Curation) -> int:
    """Upper bound of what curation keeps of so many candidates of a class."""
    kept = candidates
    for rule in rules.score_rules:
        kept = rule.most_kept(kept)
    return min(kept, rules.per_class_cap) if rules.per_class_cap is not None else kept


def most_kept_together(candidates: int, classes: int, rules: Curation) -> int:
    """Upper bound of what curation keeps of so many candidates of all classes together."""
    kept = candidates
    for rule in rules.score_rules:
        kept = rule.most_kept_together(kept, classes)
    return min(kept, classes * rules.per_class_cap) if rules.per_class_cap is not None else kept


def impossible_rules(resolved: ResolvedExperiment) -> Iterator[FieldError]:
    curation = resolved.spec.curation
    for position, rule in enumerate(curation.score_rules):
        rule_pointer = f"/rules/{position}" if isinstance(curation.filter, AllOf) else ""
        for field, keys in rule.classes_named().items():
            yield from unknown_classes(resolved, keys, f"/curation/filter{rule_pointer}/{field}")

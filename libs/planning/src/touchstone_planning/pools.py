"""From an arm to the step that leaves its curated pool: of its own candidates, or of a mixture's parts."""

from touchstone_contracts.arms import Arm
from touchstone_contracts.arms.mixture import Mixture
from touchstone_contracts.catalogue import MAIN_TEST_SET
from touchstone_contracts.steps import (
    CURATE_IMAGES,
    MIX_POOLS,
    CurateImages,
    EmbeddedShard,
    MixPools,
    ModelRef,
)
from touchstone_contracts.values import StepId

from touchstone_planning.candidates import curation_rules, plan_candidates
from touchstone_planning.candidates.image_set import PlannedImages
from touchstone_planning.dag import TargetContext, embedded, embedded_upstream

REAL = ("retrieval", "target_train")
"""Kinds of arms that are never compared with the upstream: a retrieved image is one of it."""


def plan_pool(arm: Arm, context: TargetContext) -> StepId:
    if arm.kind == "mixture":
        return _plan_mixture(arm, context)
    return _plan_curation(arm, context)


def _plan_mixture(arm: Mixture, context: TargetContext) -> StepId:
    arms = {other.name: other for other in context.resolved.spec.arms}
    pools = tuple(plan_pool(arms[part.arm], context) for part in arm.parts)
    return context.plan.add(MIX_POOLS, MixPools(pools=pools), f"{context.target.name}/{arm.name}/mix")


def _plan_curation(arm: Arm, context: TargetContext) -> StepId:
    role = f"{context.target.name}/{arm.name}"
    resolved, rules = context.resolved, context.resolved.spec.curation
    arms = {other.name: other for other in resolved.spec.arms}
    candidates = plan_candidates(arm, context, role, pool_of=lambda name: plan_pool(arms[name], context))
    request = CurateImages(
        candidates=tuple(
            embedded(context.plan, images.step, resolved.encoder_for_scores, images.role) for images in candidates
        ),
        encoder=ModelRef.of(resolved.encoder_for_scores),
        classes=context.target.classes,
        templates=context.target.templates.filter,
        test=_held_out(context, context.test, MAIN_TEST_SET),
        further_tests=tuple(_held_out(context, step, name) for name, step in context.further_tests.items()),
        rules=curation_rules(arm, rules).without_names(),
        copy_embeddings=_copy_embeddings(context, candidates),
        validation=_held_out(context, context.validation, "validation") if "validation" in rules.leak_splits else None,
        upstream=_upstream(context) if rules.needs_upstream and arm.kind not in REAL else (),
    )
    return context.plan.add(CURATE_IMAGES, request, f"{role}/curate")


def _held_out(context: TargetContext, split: StepId, name: str) -> EmbeddedShard:
    return embedded(context.plan, split, context.resolved.encoder_for_copies, f"{context.target.name}/{name}")


def _copy_embeddings(context: TargetContext, candidates: list[PlannedImages]) -> tuple[StepId, ...]:
    """None of their own where one encoder does both."""
    encoder = context.resolved.encoder_for_copies
    if ModelRef.of(encoder) == ModelRef.of(context.resolved.encoder_for_scores):
        return ()
    return tuple(embedded(context.plan, images.step, encoder, images.role).embeddings for images in candidates)


def _upstream(context: TargetContext) -> tuple[EmbeddedShard, ...]:
    """With its captions where retrieval's embeddings can be used, which have them."""
    resolved, encoder = context.resolved, context.resolved.encoder_for_copies
    searched = ModelRef.of(encoder) == ModelRef.of(resolved.index_encoder)
    return embedded_upstream(context.plan, resolved.upstream, encoder, captions=searched)

"""The step that measures the labels of an arm's curated pool, and the judge that it asks."""

from collections.abc import Iterator

from touchstone_contracts.arms import Arm
from touchstone_contracts.catalogue import MAIN_TEST_SET, Encoder
from touchstone_contracts.problems import FieldError
from touchstone_contracts.steps import AUDIT_POOL, AuditPool, CurateImages, EmbeddedShard, MixPools, ModelRef
from touchstone_contracts.values import StepId

from touchstone_planning.arms.planner import planner_of
from touchstone_planning.dag import Plan, TargetContext, embedded
from touchstone_planning.resolved import ResolvedExperiment


def plan_audit(arm: Arm, pool: StepId, context: TargetContext) -> StepId:
    spec, judge = context.resolved.spec, context.resolved.judge_encoder
    encoder = judge or context.resolved.encoder_for_scores
    role = f"{context.target.name}/{arm.name}/audit"
    request = AuditPool(
        pool=pool,
        embedded=_embedded(context.plan, pool, encoder, role),
        judge=judge and context.plan.model(judge),
        test=embedded(context.plan, context.test, encoder, f"{context.target.name}/{MAIN_TEST_SET}"),
        classes=context.target.classes,
        templates=context.target.templates.zero_shot,
        sizes=spec.sizes,
        rules=spec.curation.without_names(),
        mixing=planner_of(arm).mixing(arm),
    )
    return context.plan.add(AUDIT_POOL, request, role)


def _embedded(plan: Plan, pool: StepId, encoder: Encoder, role: str) -> tuple[EmbeddedShard, ...]:
    """The pool's candidates by `encoder`; what is embedded already, for another arm or purpose, is not again."""
    return tuple(
        embedded(plan, images, encoder, f"{role}[{number}]")
        for number, images in enumerate(dict.fromkeys(_candidates(plan, pool)))
    )


def _candidates(plan: Plan, pool: StepId) -> Iterator[StepId]:
    """The steps that made them; a pool of another kind is embedded itself."""
    request = plan.step(pool).request
    if isinstance(request, MixPools):
        for part in request.pools:
            yield from _candidates(plan, part)
    elif isinstance(request, CurateImages):
        yield from (shard.images for shard in request.candidates)
    else:
        yield pool


def partial_judges(resolved: ResolvedExperiment) -> Iterator[FieldError]:
    """A judge that has a part in what it judges."""
    judge = resolved.judge_encoder
    if judge is None:
        return
    for encoder, part in ((resolved.encoder, "is adapted"), (resolved.encoder_for_scores, "filters the images")):
        if ModelRef.of(encoder) == ModelRef.of(judge):
            detail = f"encoder {judge.name!r} {part} in this experiment: name another one, or leave judge_encoder out"
            yield FieldError(pointer="/judge_encoder", detail=detail)
            return

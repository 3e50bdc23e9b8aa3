"""The plan of an experiment: its upstream, then of each target the splits, each arm's pool and the grid of runs."""

from touchstone_contracts.arms import Arm
from touchstone_contracts.catalogue import Encoder, Target, Upstream
from touchstone_contracts.steps import (
    ADAPT_ENCODER,
    CURATE_IMAGES,
    EVALUATE_ENCODER,
    Adaptation,
    AdaptEncoder,
    CurateImages,
    EvaluateEncoder,
    ModelRef,
)
from touchstone_contracts.values import Name, StepId

from touchstone_api.experiments.candidates import curation_rules, plan_candidates
from touchstone_api.experiments.dag import Cell, IndexedUpstream, Plan, TargetContext, embedded, indexed, ingested
from touchstone_api.experiments.resolve import ResolvedExperiment


def plan_upstream(upstream: Upstream, index_encoder: Encoder) -> Plan:
    """Ingest, embed and index every shard."""
    plan = Plan()
    indexed(plan, upstream, index_encoder)
    return plan


def plan_experiment(resolved: ResolvedExperiment) -> Plan:
    plan = Plan()
    needs_upstream = any(arm.kind == "retrieval" for arm in resolved.spec.arms)
    found = indexed(plan, resolved.upstream, resolved.index_encoder) if needs_upstream else None
    for target in resolved.targets:
        _TargetPlanner(_context(plan, resolved, target, found)).add_all()
    return plan


def _context(
    plan: Plan, resolved: ResolvedExperiment, target: Target, upstream: IndexedUpstream | None
) -> TargetContext:
    splits, name = target.splits, target.name
    return TargetContext(
        plan=plan,
        resolved=resolved,
        target=target,
        upstream=upstream,
        validation=ingested(plan, splits.validation, f"{name}/validation"),
        test=ingested(plan, splits.test, f"{name}/test"),
        train=ingested(plan, splits.train, f"{name}/train") if splits.train else None,
    )


class _TargetPlanner:
    """Plans one target: each arm's pool, then the grid of runs."""

    def __init__(self, context: TargetContext) -> None:
        self.context, self.plan, self.target = context, context.plan, context.target
        self.spec, self.encoder = context.resolved.spec, ModelRef.of(context.resolved.encoder)
        self.plan.tests[self.target.name] = context.test

    def add_all(self) -> None:
        for arm in self.spec.arms:
            if arm.kind == "none":
                self._evaluate(arm.name, 0, ())
            else:
                pool = self._curate(arm)
                self.plan.curations[self.target.name, arm.name] = pool
                for size in self.spec.sizes:
                    self._evaluate(arm.name, size, self._adapt(arm.name, pool, size))

    def _curate(self, arm: Arm) -> StepId:
        role = f"{self.target.name}/{arm.name}"
        encoder = self.context.resolved.encoder
        request = CurateImages(
            candidates=tuple(
                embedded(self.plan, images.step, encoder, images.role)
                for images in plan_candidates(arm, self.context, role, self._pool_of)
            ),
            encoder=self.encoder,
            classes=self.target.classes,
            templates=self.target.templates.filter,
            test=embedded(self.plan, self.context.test, encoder, f"{self.target.name}/test"),
            rules=curation_rules(arm, self.spec.curation),
        )
        return self.plan.add(CURATE_IMAGES, request, f"{role}/curate")

    def _pool_of(self, name: Name) -> StepId:
        return self._curate(next(arm for arm in self.spec.arms if arm.name == name))

    def _adapt(self, arm: str, pool: StepId, size: int) -> tuple[Adaptation, ...]:
        """One run per learning rate and seed."""
        runs = []
        for rate in self.spec.recipe.learning_rates:
            for seed in self.spec.seeds:
                request = AdaptEncoder(
                    pool=pool,
                    size=size,
                    seed=seed,
                    learning_rate=rate,
                    # Without the rest of the grid: adding a rate later must not repeat this run.
                    recipe=self.spec.recipe.model_copy(update={"learning_rates": (rate,)}),
                    rules=self.spec.curation,
                    encoder=self.encoder,
                    classes=self.target.classes,
                    templates=self.target.templates.zero_shot,
                    validation=self.context.validation,
                )
                role = f"{self.target.name}/{arm}/adapt n={size} seed={seed} lr={rate:g}"
                runs.append(Adaptation(learning_rate=rate, seed=seed, step=self.plan.add(ADAPT_ENCODER, request, role)))
        return tuple(runs)

    def _evaluate(self, arm: str, size: int, adaptations: tuple[Adaptation, ...]) -> None:
        for seed in self.spec.seeds:
            request = EvaluateEncoder(
                adaptations=adaptations,
                seed=seed,
                encoder=self.encoder,
                classes=self.target.classes,
                templates=self.target.templates.zero_shot,
                train=self.context.train,
                validation=self.context.validation,
                test=self.context.test,
                evaluation=self.spec.evaluation,
            )
            role = f"{self.target.name}/{arm}/evaluate n={size} seed={seed}"
            step = self.plan.add(EVALUATE_ENCODER, request, role)
            self.plan.evaluations[Cell(self.target.name, arm, size, seed)] = step

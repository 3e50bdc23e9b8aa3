"""The plan of an experiment: its upstream, then of each target the splits, each arm's pool and the grid of runs."""

from touchstone_contracts.arms import Arm
from touchstone_contracts.catalogue import Encoder, Target, Upstream
from touchstone_contracts.layout import Adaptation, Cell
from touchstone_contracts.steps import ADAPT_ENCODER, EVALUATE_ENCODER, AdaptEncoder, EvaluateEncoder, ModelRef
from touchstone_contracts.values import StepId

from touchstone_planning.dag import IndexedUpstream, Plan, TargetContext, indexed, ingested
from touchstone_planning.pools import plan_pool
from touchstone_planning.resolve import ResolvedExperiment


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
        tests={test_set: ingested(plan, split, f"{name}/{test_set}") for test_set, split in splits.tests.items()},
        train=ingested(plan, splits.train, f"{name}/train") if splits.train else None,
    )


class _TargetPlanner:
    """Plans one target: each arm's pool, then the grid of runs."""

    def __init__(self, context: TargetContext) -> None:
        self.context, self.plan, self.target = context, context.plan, context.target
        self.spec, self.encoder = context.resolved.spec, ModelRef.of(context.resolved.encoder)
        self.plan.tests |= {(self.target.name, test_set): step for test_set, step in context.tests.items()}

    def add_all(self) -> None:
        for arm in self.spec.arms:
            if arm.kind == "none":
                self._evaluate(arm.name, 0, ())
            else:
                pool = plan_pool(arm, self.context)
                self.plan.curations[self.target.name, arm.name] = pool
                for size in self.spec.sizes:
                    self._evaluate(arm.name, size, self._adapt(arm, pool, size))

    def _adapt(self, arm: Arm, pool: StepId, size: int) -> tuple[Adaptation, ...]:
        """One run per learning rate, where the recipe has one, and seed."""
        runs = []
        for rate, recipe in self.spec.recipe.runs():
            for seed in self.spec.seeds:
                request = AdaptEncoder(
                    pool=pool,
                    size=size,
                    seed=seed,
                    learning_rate=rate,
                    recipe=recipe,
                    rules=self.spec.curation.without_names(),
                    encoder=self.encoder,
                    classes=self.target.classes,
                    templates=self.target.templates.zero_shot,
                    validation=self.context.validation,
                    mixing=arm.mixing if arm.kind == "mixture" else None,
                )
                role = f"{self.target.name}/{arm.name}/adapt n={size} seed={seed}" + (f" lr={rate:g}" if rate else "")
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
                further_tests=self.context.further_tests,
            )
            role = f"{self.target.name}/{arm}/evaluate n={size} seed={seed}"
            step = self.plan.add(EVALUATE_ENCODER, request, role)
            self.plan.evaluations[Cell(target=self.target.name, arm=arm, size=size, seed=seed)] = step

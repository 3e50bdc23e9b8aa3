"""The plan of an experiment: of each target the splits, each arm's pool and the grid of runs."""

from collections.abc import Callable, Mapping
from functools import cache

from touchstone_contracts.arms import Arm
from touchstone_contracts.arms.target_train import TargetTrain
from touchstone_contracts.catalogue import Encoder, Target, TargetSplit, Upstream
from touchstone_contracts.experiment import SPREAD
from touchstone_contracts.layout import Adaptation, Cell
from touchstone_contracts.sources import Host
from touchstone_contracts.steps import (
    ADAPT_ENCODER,
    EVALUATE_ENCODER,
    JUDGE_EXPERIMENT,
    AdaptEncoder,
    AnyContract,
    EvaluateEncoder,
)
from touchstone_contracts.values import Name, StepId

from touchstone_planning.arms.planner import planner_of
from touchstone_planning.audit import plan_audit
from touchstone_planning.class_names import plan_names
from touchstone_planning.dag import Judgement, Plan, TargetContext, UpstreamLayout, index_upstream, ingested
from touchstone_planning.layout import StoredPlan, judge_requests, layout_of
from touchstone_planning.resolved import ResolvedExperiment
from touchstone_planning.source_probe import plan_source_probe
from touchstone_planning.split_check import plan_split_check, plan_split_comparison

NO_CONTRACTS: Mapping[str, AnyContract] = {}


def plan_upstream(
    upstream: Upstream,
    index_encoder: Encoder,
    hosts: tuple[Host, ...] | None = None,
    *,
    contracts: Mapping[str, AnyContract] = NO_CONTRACTS,
) -> Plan:
    """Ingest, embed and index every shard. `hosts`: those that its project allows for links, None where nothing narrows
    them; `contracts` as in plan_experiment."""
    plan = Plan(contracts)
    plan.upstream = index_upstream(plan, upstream, index_encoder, hosts)
    return plan


def plan_experiment(
    resolved: ResolvedExperiment,
    upstream: UpstreamLayout | None = None,
    *,
    contracts: Mapping[str, AnyContract] = NO_CONTRACTS,
    audited: bool = True,
) -> Plan:
    """`upstream`: where the upstream's own plan leaves it, and the experiment waits for that; left out, indexing it is
    part of this plan. `contracts`: by kind, those of an earlier release, which it would have been planned with.
    `audited`: whether pools are measured, which was not planned before decisions 0039 and 0045."""
    plan = Plan(contracts)

    @cache
    def indexed() -> UpstreamLayout:
        plan.upstream = upstream or index_upstream(
            plan, resolved.upstream, resolved.index_encoder, resolved.hosts_of_links
        )
        return plan.upstream

    spread = None if JUDGE_EXPERIMENT.name in contracts else SPREAD
    for target in resolved.targets:
        context = _context(plan, resolved, target, indexed)
        if spread is not None:  # earlier judgements read no checks
            plan_split_check(context)
        _TargetPlanner(context).add_all(audited)
        if spread is not None:
            plan_split_comparison(context)
    for request, role in judge_requests(resolved, layout_of(plan), spread):
        step = plan.add(JUDGE_EXPERIMENT, request, role)
        complete = not request.left_out and request.first_seeds is None
        plan.judgements.append(Judgement(step=step, seeds=request.first_seeds or len(request.seeds), complete=complete))
    return plan


def stored_plan(plan: Plan) -> StoredPlan:
    """Of an experiment's plan."""
    return StoredPlan(
        layout=layout_of(plan),
        judgements=tuple(plan.judgements),
        versions={step.kind: step.contract.version for step in plan.steps},
    )


def _context(
    plan: Plan, resolved: ResolvedExperiment, target: Target, indexed: Callable[[], UpstreamLayout]
) -> TargetContext:
    splits, name = target.splits, target.name

    def ingested_split(split: TargetSplit, role: str) -> StepId:
        return ingested(plan, split, f"{name}/{role}", target.most_losses, len(target.classes))

    return TargetContext(
        plan=plan,
        resolved=resolved,
        target=target,
        indexed=indexed,
        validation=ingested_split(splits.validation, "validation"),
        tests={test_set: ingested_split(split, test_set) for test_set, split in splits.tests.items()},
        train=ingested_split(splits.train, "train") if splits.train else None,
    )


class _TargetPlanner:
    """Plans one target: each arm's pool, then the grid of runs."""

    def __init__(self, context: TargetContext) -> None:
        self.context, self.plan, self.target = context, context.plan, context.target
        self.spec, self.encoder = context.resolved.spec, context.plan.model(context.resolved.encoder)
        self._pools: dict[Name, StepId] = {}
        self._runs: dict[tuple[Name, int], tuple[Adaptation, ...]] = {}
        self._rules = self.spec.curation.without_names()
        self._names = plan_names(self.spec.zero_shot_names, context)
        self.plan.tests |= {(self.target.name, test_set): step for test_set, step in context.tests.items()}
        self.plan.validations[self.target.name] = context.validation
        self.plan.clusters |= {
            (self.target.name, test_set): split.cluster
            for test_set, split in self.target.splits.tests.items()
            if split.cluster is not None
        }

    def add_all(self, audited: bool) -> None:
        for arm in self.spec.arms:
            if not arm.trains:
                self._evaluate(arm.name, 0, ())
                continue
            pool = self._pool(arm.name)
            self.plan.curations[self.target.name, arm.name] = pool
            if audited:
                self.plan.audits[self.target.name, arm.name] = plan_audit(arm, pool, self.context)
            for size in self.spec.sizes:
                self._runs[arm.name, size] = self._adapt(arm, pool, size)
                self._evaluate(arm.name, size, self._runs[arm.name, size])
        if audited:
            plan_source_probe(self.context, self._pools, self._runs, self._names)

    def _pool(self, name: Name) -> StepId:
        arm = self.context.resolved.arm(name)
        if name not in self._pools:
            self._pools[name] = planner_of(arm).plan_pool(arm, self.context, self._pool)
        return self._pools[name]

    def _target_pool(self) -> StepId | None:
        """Curated as every arm: the same steps as of an arm `target_train`, where the experiment has one. None where
        the recipe asks for none."""
        if not self.spec.recipe.target_images:
            return None
        own = TargetTrain()
        return planner_of(own).plan_pool(own, self.context, self._pool)

    def _adapt(self, arm: Arm, pool: StepId, size: int) -> tuple[Adaptation, ...]:
        """One run per learning rate, where the recipe has one, and seed."""
        runs, role = [], f"{self.target.name}/{arm.name}/adapt n={size}"
        every_run = AdaptEncoder(
            pool=pool,
            size=size,
            seed=0,
            learning_rate=None,
            recipe=self.spec.recipe,
            rules=self._rules,
            encoder=self.encoder,
            classes=self.target.classes,
            templates=self.target.templates.zero_shot,
            validation=self.context.validation,
            mixing=planner_of(arm).mixing(arm),
            target_pool=self._target_pool(),
            names=self._names,
        )
        for rate, recipe in self.spec.recipe.runs():
            for seed, draw, optimisation in self.spec.seed_sources:
                own = {"seed": optimisation, "draw_seed": None if draw == optimisation else draw}
                request = every_run.model_copy(update={**own, "learning_rate": rate, "recipe": recipe})
                step = self.plan.add(ADAPT_ENCODER, request, f"{role} seed={seed}" + (f" lr={rate:g}" if rate else ""))
                runs.append(Adaptation(learning_rate=rate, seed=seed, step=step))
        return tuple(runs)

    def _evaluate(self, arm: str, size: int, adaptations: tuple[Adaptation, ...]) -> None:
        every_seed = EvaluateEncoder(
            adaptations=adaptations,
            seed=0,
            encoder=self.encoder,
            classes=self.target.classes,
            templates=self.target.templates.zero_shot,
            train=self.context.train,
            validation=self.context.validation,
            test=self.context.test,
            evaluation=self.spec.evaluation,
            further_tests=self.context.further_tests,
            names=self._names,
        )
        for seed in self.spec.seeds:
            role = f"{self.target.name}/{arm}/evaluate n={size} seed={seed}"
            step = self.plan.add(EVALUATE_ENCODER, every_seed.model_copy(update={"seed": seed}), role)
            self.plan.evaluations[Cell(target=self.target.name, arm=arm, size=size, seed=seed)] = step

"""The step that looks for what tells the images of the compared arms apart."""

from collections.abc import Mapping

from touchstone_contracts.layout import Adaptation
from touchstone_contracts.steps import PROBE_SOURCES, ProbeSources
from touchstone_contracts.values import Name, StepId

from touchstone_planning.dag import TargetContext

Runs = Mapping[tuple[Name, int], tuple[Adaptation, ...]]
"""(arm, size) -> the grid of learning rates and seeds."""


def plan_source_probe(context: TargetContext, pools: Mapping[Name, StepId], runs: Runs, names: StepId | None) -> None:
    """Of the first seed at the largest size. `names`: the step that chose those of the classes. Nothing where
    fewer than two of the compared arms train."""
    spec, target, comparison = context.resolved.spec, context.target, context.resolved.spec.primary
    if comparison is None or not {comparison.a, comparison.b} <= pools.keys():
        return
    a, b, size = comparison.a, comparison.b, max(spec.sizes)
    request = ProbeSources(
        pools=(pools[a], pools[b]),
        adaptations=(runs[a, size], runs[b, size]),
        seed=spec.seeds[0],
        encoder=context.plan.model(context.resolved.encoder),
        classes=target.classes,
        templates=target.templates.zero_shot,
        test=context.test,
        names=names,
    )
    role = f"{target.name}/probe sources of {a} and {b}"
    context.plan.probes[target.name, a, b] = context.plan.add(PROBE_SOURCES, request, role)

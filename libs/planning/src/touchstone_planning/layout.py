"""Which step of a plan measures which cell, as it is stored with the experiment, and what the judge is asked."""

from collections.abc import Iterator

from touchstone_contracts.layout import CellStep, Grid, PlanLayout, PoolStep, SplitStep
from touchstone_contracts.steps import EvaluateEncoder, JudgeExperiment

from touchstone_planning.dag import Plan
from touchstone_planning.resolve import ResolvedExperiment

FEWEST_SEEDS = 2
"""An interval needs two."""


def layout_of(plan: Plan) -> PlanLayout:
    return PlanLayout(
        cells=tuple(CellStep(cell=cell, step=step) for cell, step in plan.evaluations.items()),
        grids=tuple(_grids(plan)),
        pools=tuple(PoolStep(target=target, arm=arm, step=step) for (target, arm), step in plan.curations.items()),
        tests=tuple(
            SplitStep(target=target, test_set=test_set, step=step) for (target, test_set), step in plan.tests.items()
        ),
    )


def _grids(plan: Plan) -> Iterator[Grid]:
    """One per (target, arm, size): every seed of it chooses from the same runs."""
    evaluations = {(cell.target, cell.arm, cell.size): step for cell, step in plan.evaluations.items()}
    for (target, arm, size), step in evaluations.items():
        request = plan.step(step).request
        assert isinstance(request, EvaluateEncoder)
        if request.adaptations:
            yield Grid(target=target, arm=arm, size=size, adaptations=request.adaptations)


def judge_request(resolved: ResolvedExperiment, layout: PlanLayout, first_seeds: int | None = None) -> JudgeExperiment:
    """`first_seeds`: judge the arms compared on so many of the spec's seeds alone; only what that takes is an input.

    Raises ValueError when those are fewer than two or not fewer than all, or nothing is compared."""
    spec = resolved.spec
    comparison = spec.primary
    if first_seeds is not None:
        if comparison is None or not FEWEST_SEEDS <= first_seeds < len(spec.seeds):
            raise ValueError(f"{first_seeds} of {len(spec.seeds)} seeds cannot be judged before the others")
        layout = _of_seeds(layout, (comparison.a, comparison.b), spec.seeds[:first_seeds])
    return JudgeExperiment(
        layout=layout,
        targets=spec.targets,
        metrics=spec.evaluation.metrics,
        sizes=spec.sizes,
        seeds=spec.seeds,
        arms=tuple(arm.name for arm in spec.training_arms),
        untouched=spec.untouched,
        comparison=comparison,
        leaks_checked=spec.curation.leak_cosine is not None,
        first_seeds=first_seeds,
    )


def _of_seeds(layout: PlanLayout, arms: tuple[str, str], seeds: tuple[int, ...]) -> PlanLayout:
    """What the primary comparison on some seeds needs: no other arm, and no learning rates to swap."""
    return PlanLayout(
        cells=tuple(entry for entry in layout.cells if entry.cell.arm in arms and entry.cell.seed in seeds),
        pools=tuple(entry for entry in layout.pools if entry.arm in arms),
        tests=layout.tests,
    )

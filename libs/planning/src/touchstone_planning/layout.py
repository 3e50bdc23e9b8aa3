"""What is stored of a plan, so that results are read the same by every later release."""

from collections.abc import Collection, Iterator, Sequence

from touchstone_contracts.experiment import FEWEST_SEEDS, SPREAD, Comparison, Spread
from touchstone_contracts.layout import CellStep, CheckStep, Grid, PlanLayout, PoolStep, ProbeStep, SplitStep
from touchstone_contracts.steps import EvaluateEncoder, JudgeExperiment
from touchstone_contracts.values import Name, Strict

from touchstone_planning.arms.planner import planner_of
from touchstone_planning.dag import Judgement, Plan
from touchstone_planning.draws import drawing_of, share_draws
from touchstone_planning.lineage import given_images
from touchstone_planning.resolved import ResolvedExperiment


class StoredPlan(Strict):
    layout: PlanLayout
    judgements: tuple[Judgement, ...]
    """In the order in which they supersede each other; the last one is complete."""
    versions: dict[str, int]
    """Of the contract of each kind of step."""


def layout_of(plan: Plan) -> PlanLayout:
    return PlanLayout(
        cells=tuple(CellStep(cell=cell, step=step) for cell, step in plan.evaluations.items()),
        grids=tuple(_grids(plan)),
        pools=tuple(PoolStep(target=target, arm=arm, step=step) for (target, arm), step in plan.curations.items()),
        tests=tuple(
            SplitStep(target=target, test_set=name, step=step, cluster=plan.clusters.get((target, name)))
            for (target, name), step in plan.tests.items()
        ),
        audits=tuple(PoolStep(target=target, arm=arm, step=step) for (target, arm), step in plan.audits.items()),
        probes=tuple(ProbeStep(target=target, arms=(a, b), step=step) for (target, a, b), step in plan.probes.items()),
        checks=tuple(CheckStep(target=target, step=step) for target, step in plan.checks.items()),
        likenesses=tuple(CheckStep(target=target, step=step) for target, step in plan.likenesses.items()),
        validations=tuple(
            SplitStep(target=target, test_set="validation", step=step) for target, step in plan.validations.items()
        ),
    )


def _grids(plan: Plan) -> Iterator[Grid]:
    """One per target, arm and size: every seed chooses from the same."""
    seen = set()
    for cell, step in plan.evaluations.items():
        key = (cell.target, cell.arm, cell.size)
        request = plan.step(step).request
        assert isinstance(request, EvaluateEncoder)
        if request.adaptations and key not in seen:
            seen.add(key)
            yield Grid(target=cell.target, arm=cell.arm, size=cell.size, adaptations=request.adaptations)


def judge_request(
    resolved: ResolvedExperiment,
    layout: PlanLayout,
    *,
    compared_alone: bool = False,
    first_seeds: int | None = None,
    spread: Spread | None = SPREAD,
) -> JudgeExperiment:
    """`compared_alone`: without waiting for arms that the comparison does not name; `first_seeds`: nor for later seeds
    of those that it does; `spread`: of a comparison that does not say, None as before there was a choice. Raises
    ValueError when the first seeds are fewer than two or all of them."""
    spec, comparison = resolved.spec, resolved.spec.primary
    if comparison is not None and comparison.spread is None:
        comparison = comparison.model_copy(update={"spread": spread})
    if first_seeds is not None and (comparison is None or not FEWEST_SEEDS <= first_seeds < len(spec.seeds)):
        raise ValueError(f"{first_seeds} of {len(spec.seeds)} seeds cannot be judged before the others")
    training = tuple(arm.name for arm in spec.training_arms)
    told = comparison if spread is not None else None  # verdicts of before there was a choice tell less
    given = tuple(given_images(resolved, told.a, told.b)) if told else ()
    unchecked = spec.curation.unchecked if told else ()
    judged, layout = (
        training,
        layout.model_copy(
            update={
                "probes": (),
                "checks": layout.checks if told else (),
                "likenesses": layout.likenesses if told else (),
                "validations": layout.validations if "validation" in unchecked else (),
            }
        ),
    )
    untouched = spec.untouched if first_seeds is None else None
    if comparison is not None and (compared_alone or first_seeds is not None):
        judged = tuple(arm for arm in training if arm in (comparison.a, comparison.b))
        seeds = None if first_seeds is None else spec.seeds[:first_seeds]
        layout = layout.part((*judged, untouched) if untouched else judged, seeds)
    return JudgeExperiment(
        layout=layout,
        targets=spec.targets,
        metrics=spec.evaluation.metrics,
        sizes=tuple(sorted(spec.sizes)),
        seeds=spec.seeds,
        arms=judged,
        untouched=untouched,
        comparison=comparison,
        draw_seeds=spec.draw_seeds,
        optimisation_seeds=spec.optimisation_seeds,
        upstream_arm=_upstream_arm(resolved, judged),
        leaks_checked=spec.curation.leak_cosine is not None,
        left_out=tuple(arm for arm in training if arm not in judged),
        first_seeds=first_seeds,
        paired=spread is not None and comparison is not None and share_draws(resolved, comparison.a, comparison.b),
        drawing=None if spread is None else drawing_of(resolved, judged),
        given=given,
        unchecked=unchecked,
        copies_in=judged if unchecked else (),
        upstream=resolved.upstream.name if given else None,
        movement=told is not None and untouched is not None,
    )


def _upstream_arm(resolved: ResolvedExperiment, arms: Collection[Name]) -> Name | None:
    """The first of `arms` that holds the upstream's images of each class."""
    names = (arm.name for arm in resolved.spec.arms if arm.name in arms and planner_of(arm).counts_upstream(arm))
    return next(names, None)


def judge_requests(
    resolved: ResolvedExperiment, layout: PlanLayout, spread: Spread | None = SPREAD
) -> Iterator[tuple[JudgeExperiment, str]]:
    """Every judgement of an experiment with what it is for; the last waits for everything. `spread` as for
    judge_request."""
    spec, comparison = resolved.spec, resolved.spec.primary
    if comparison is not None:
        for seeds in _early_looks(comparison, len(spec.seeds)):
            yield judge_request(resolved, layout, first_seeds=seeds, spread=spread), f"judge after {seeds} seeds"
    if comparison is not None and any(arm.name not in (comparison.a, comparison.b) for arm in spec.training_arms):
        request = judge_request(resolved, layout, compared_alone=True, spread=spread)
        yield request, f"judge {comparison.a} against {comparison.b}"
    yield judge_request(resolved, layout, spread=spread), "judge"


def _early_looks(comparison: Comparison, seeds: int) -> Sequence[int]:
    """Numbers of seeds that are judged before all are in."""
    if comparison.stopping == "anytime":
        return range(FEWEST_SEEDS, seeds)
    return comparison.looks[:-1]

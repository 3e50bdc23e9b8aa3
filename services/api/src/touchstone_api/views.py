"""From stored things to what the HTTP API answers."""

from collections.abc import Sequence

from sqlalchemy.orm import Session
from touchstone_contracts.catalogue import Target, Upstream
from touchstone_contracts.problems import Problem
from touchstone_contracts.views import ExperimentDetail, ExperimentView, TargetSummary, UpstreamView
from touchstone_planning.state import phase_of
from touchstone_store.experiments import Experiment, require_experiment
from touchstone_store.layouts import upstream_plan_id
from touchstone_store.steps import owned_steps, problems_of, tallies

SUBRESOURCES = ("steps", "events", "results", "verdict", "scaling", "cancel", "retry", "clone")


def experiment_views(session: Session, experiments: Sequence[Experiment]) -> list[ExperimentView]:
    problems = problems_of(session, [experiment.id for experiment in experiments])
    return [_experiment_view(experiment, problems.get(experiment.id, ())) for experiment in experiments]


def _experiment_view(experiment: Experiment, problems: tuple[Problem, ...]) -> ExperimentView:
    place = f"/v1/experiments/{experiment.id}"
    return ExperimentView(
        id=experiment.id,
        identity=experiment.identity,
        name=experiment.resolved.spec.name,
        phase=experiment.phase,
        spec=experiment.resolved.spec,
        created_at=experiment.created_at,
        finished_at=experiment.finished_at,
        steps=experiment.tally.counts(),
        reused_by_kind=experiment.tally.reused_by_kind(),
        problems=problems,
        links={"self": place, "dashboard": f"/experiments/{experiment.id}"}
        | {name: f"{place}/{name}" for name in SUBRESOURCES},
    )


def experiment_detail(session: Session, experiment: str) -> ExperimentDetail:
    """Raises NotFound."""
    found = require_experiment(session, experiment)
    view = experiment_views(session, [found])[0]
    steps = tuple(owned.view() for owned in owned_steps(session, experiment))
    return ExperimentDetail(**dict(view), step_list=steps)


def upstream_views(session: Session, upstreams: Sequence[Upstream]) -> list[UpstreamView]:
    plans = [upstream_plan_id(upstream.name) for upstream in upstreams]
    tally_of, problems = tallies(session, plans), problems_of(session, plans)
    return [
        UpstreamView(
            name=upstream.name,
            images=upstream.images,
            phase=phase_of(tally_of[plan].states(), cancelled=False),
            steps=tally_of[plan].counts(),
            upstream=upstream,
            problems=problems.get(plan, ()),
        )
        for upstream, plan in zip(upstreams, plans, strict=True)
    ]


def target_summary(target: Target) -> TargetSummary:
    return TargetSummary(
        name=target.name, description=target.description, classes=len(target.classes), splits=target.splits
    )

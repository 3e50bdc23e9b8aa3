"""From stored things to what the HTTP API answers."""

from collections.abc import Sequence

from pydantic import ValidationError
from sqlalchemy.orm import Session
from touchstone_contracts.catalogue import Target, Upstream
from touchstone_contracts.problems import Problem
from touchstone_contracts.registration import Registration
from touchstone_contracts.takedowns import Takedown
from touchstone_contracts.views import (
    ExperimentDetail,
    ExperimentView,
    TargetSummary,
    UpstreamProgress,
    UpstreamView,
)
from touchstone_planning.state import ACTIVE
from touchstone_runtime.logs import get_logger
from touchstone_store.catalogue import Registered
from touchstone_store.experiments import (
    Experiment,
    PlanState,
    plan_states,
    registration_of,
    require_experiment,
)
from touchstone_store.layouts import upstream_of, upstream_plan_id
from touchstone_store.listing import headlines_of, tags_of
from touchstone_store.plans import BROKEN
from touchstone_store.steps import outages_of, owned_steps, problems_of
from touchstone_store.stored_bytes import bytes_of_plan
from touchstone_store.takedowns import takedowns_of

log = get_logger(__name__)

SUBRESOURCES = ("steps", "events", "results", "verdict", "scaling", "registration", "cancel", "retry", "clone")


def experiment_views(session: Session, experiments: Sequence[Experiment]) -> list[ExperimentView]:
    problems, waiting = _problems(session, experiments), _waiting(session, experiments)
    ids = [each.id for each in experiments]
    takedowns, tags, headlines = takedowns_of(session, ids), tags_of(session, ids), headlines_of(session, ids)
    active = [each for each in experiments if each.phase in ACTIVE]
    outages = outages_of(session, [each.id for each in active] + [each.needs for each in active if each.needs])
    return [
        _experiment_view(
            each,
            problems[each.id],
            waiting.get(each.id),
            outages.get(each.id, ()) or outages.get(each.needs or "", ()),
            takedowns.get(each.id, ()),
            tags.get(each.id, ()),
            headlines.get(each.id),
        )
        for each in experiments
    ]


def _waiting(session: Session, experiments: Sequence[Experiment]) -> dict[str, UpstreamProgress]:
    """By experiment, of those whose upstream is not ready."""
    unfinished = [each for each in experiments if each.phase not in ("succeeded", "cancelled")]
    needed = {each.id: each.needs for each in unfinished if each.needs}
    states = plan_states(session, set(needed.values()))
    return {
        experiment: UpstreamProgress(name=upstream_of(plan), phase=states[plan].phase, steps=states[plan].counts)
        for experiment, plan in needed.items()
        if states[plan].phase != "succeeded"
    }


def _experiment_view(
    experiment: Experiment,
    problems: tuple[Problem, ...],
    waits_for: UpstreamProgress | None,
    outages: tuple[Problem, ...],
    takedowns: tuple[Takedown, ...],
    tags: tuple[str, ...],
    headline: str | None,
) -> ExperimentView:
    path = f"/v1/experiments/{experiment.id}"
    return ExperimentView(
        id=experiment.id,
        identity=experiment.identity,
        name=experiment.name,
        phase=experiment.phase,
        spec=experiment.spec,
        created_at=experiment.created_at,
        finished_at=experiment.finished_at,
        steps=experiment.counts,
        reused_by_kind=experiment.reused_by_kind,
        waits_for=waits_for,
        problems=problems,
        outages=outages,
        takedowns=takedowns,
        tags=tags,
        headline=headline,
        archived_at=experiment.archived_at,
        links={"self": path, "dashboard": f"/experiments/{experiment.id}"}
        | {name: f"{path}/{name}" for name in SUBRESOURCES},
    )


def _problems(session: Session, experiments: Sequence[Experiment]) -> dict[str, tuple[Problem, ...]]:
    """By experiment: a row that cannot be read, failed steps, and the failed upstream that it waits for."""
    needed = {each.needs for each in experiments if each.needs and each.phase == "failed"}
    broken = {plan: state.phase for plan, state in plan_states(session, needed).items() if state.phase in BROKEN}
    of_steps = problems_of(session, [each.id for each in experiments if each.counts.failed] + sorted(broken))
    found: dict[str, tuple[Problem, ...]] = {}
    for each in experiments:
        problems = ((each.problem,) if each.problem else ()) + of_steps.get(each.id, ())
        if each.needs in broken and (each.counts.waiting or each.counts.leased):
            ended = "was cancelled" if broken[each.needs] == "cancelled" else "failed"
            problems += _upstream_failed(each, of_steps.get(each.needs, ()), ended)
        found[each.id] = problems
    return found


def _upstream_failed(experiment: Experiment, reasons: tuple[Problem, ...], ended: str) -> tuple[Problem, ...]:
    """The problem of the experiment, then those of the upstream. `ended`: what became of its ingest, in words."""
    name = upstream_of(experiment.needs or "")
    because = f" ({reasons[0].title}: {reasons[0].detail})" if reasons else ""
    detail = (
        f"the ingest of upstream {name!r}, which this experiment needs, {ended}{because}. Once the cause is gone, "
        f"POST /v1/experiments/{experiment.id}/retry tries the upstream's failed steps again, and every experiment "
        "that waits for it goes on"
    )
    return (Problem(title="Upstream failed", status=409, code="upstream_failed", detail=detail), *reasons)


def experiment_detail(session: Session, experiment: str) -> ExperimentDetail:
    """Raises NotFound."""
    found = require_experiment(session, experiment)
    view = experiment_views(session, [found])[0]
    steps = tuple(owned.view() for owned in owned_steps(session, experiment))
    return ExperimentDetail(
        **dict(view),
        step_list=steps,
        stored=bytes_of_plan(session, experiment),
        registration=read_registration(session, experiment),
    )


def read_registration(session: Session, experiment: str) -> Registration | None:
    """None where none was kept, or where it cannot be read."""
    text = registration_of(session, experiment)
    try:
        return None if text is None else Registration.read(text)
    except ValidationError as error:
        log.error("registration.unreadable", experiment=experiment, reason=str(error))
        return None


def upstream_views(session: Session, upstreams: Sequence[Registered[Upstream]]) -> list[UpstreamView]:
    plans = [upstream_plan_id(each.entry.name, each.project) for each in upstreams]
    states = plan_states(session, plans)
    problems = problems_of(session, [plan for plan, state in states.items() if state.counts.failed])
    return [
        UpstreamView(
            name=each.entry.name,
            images=each.entry.images,
            phase=states.get(plan, PlanState()).phase,
            steps=states.get(plan, PlanState()).counts,
            upstream=each.entry,
            stored=bytes_of_plan(session, plan),
            problems=problems.get(plan, ()),
        )
        for each, plan in zip(upstreams, plans, strict=True)
    ]


def target_summary(target: Target) -> TargetSummary:
    return TargetSummary(
        name=target.name, description=target.description, classes=len(target.classes), splits=target.splits
    )

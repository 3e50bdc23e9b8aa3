"""/v1/experiments: post, look, cancel, retry, clone, delete."""

from collections import Counter
from datetime import UTC, datetime
from typing import Annotated, Any

from fastapi import APIRouter, Body, Depends, Query, Response
from pydantic import Field, StringConstraints, ValidationError
from sqlalchemy.orm import Session
from touchstone_contracts.changes import apply_changes
from touchstone_contracts.experiment import ExperimentSpec
from touchstone_contracts.power import DeclaredSpread
from touchstone_contracts.views import (
    Estimation,
    ExperimentChanges,
    ExperimentDetail,
    ExperimentPage,
    ExperimentView,
    Validation,
)
from touchstone_planning.estimate import gpu_hours, planned_images, workload_of
from touchstone_planning.fairness import exhausted_sizes
from touchstone_planning.plan import plan_experiment
from touchstone_planning.step_times import StepTimes, estimate_time
from touchstone_planning.throughput import ASSUMPTIONS, SLOWEST, THROUGHPUTS
from touchstone_store.deletion import delete_experiment
from touchstone_store.experiments import experiment_with_identity, require_experiment, require_presence
from touchstone_store.listing import change_experiment, list_experiments
from touchstone_store.live_workers import live_workers
from touchstone_store.measured import measured_steps
from touchstone_store.plans import cancel_plan, lock_plans
from touchstone_store.registering import survey

from touchstone_api.access.authorise import BY_READERS, PrincipalHere
from touchstone_api.bootstrap import Services
from touchstone_api.busy import planning_slot
from touchstone_api.conditional import require_match
from touchstone_api.cursors import PositionHere
from touchstone_api.dependencies import ServicesHere
from touchstone_api.parameters import IdempotencyKey, IfMatch
from touchstone_api.problems import documented, invalid_body
from touchstone_api.results.dependencies import ResultsHere
from touchstone_api.results.power import expected_power
from touchstone_api.retries import experiment_owner, retry_failed_steps
from touchstone_api.search import WantedHere
from touchstone_api.submission import Submitted, prepare, resolve_fairly, submit_experiment
from touchstone_api.views import experiment_detail, experiment_views

router = APIRouter(prefix="/v1/experiments", tags=["experiments"])

EXAMPLE_SPEC: dict[str, Any] = {
    "name": "Do generated flags beat retrieved ones?",
    "upstream": "miniverse",
    "encoder": "mini-clip",
    "targets": ["flags"],
    "arms": [
        {"kind": "none"},
        {"kind": "retrieval", "name": "retrieved", "strategy": {"kind": "union"}},
        {"kind": "generation", "name": "synthetic", "generator": "mini-diffusion", "images": 1800},
    ],
    "sizes": [240, 480],
    "seeds": [0, 1, 2],
    "recipe": {"kind": "cross_entropy", "learning_rates": [0.0001], "epochs": 5, "batch_size": 64},
    "comparison": {"a": "synthetic", "b": "retrieved", "metric": "zero_shot", "delta": 0.01},
}
Spec = Annotated[
    ExperimentSpec, Body(openapi_examples={"flags": {"summary": "Two arms on flags", "value": EXAMPLE_SPEC}})
]
ChangedField = Annotated[str, StringConstraints(max_length=64)]
Changes = Annotated[
    dict[ChangedField, Any],
    Field(max_length=100),
    Body(openapi_examples={"sizes": {"summary": "Other sizes", "value": {"sizes": [120, 240]}}}),
]
Renaming = Annotated[
    ExperimentChanges,
    Body(
        openapi_examples={
            "tags": {"summary": "Another name and a tag", "value": {"name": "Flags, second try", "tags": ["paper"]}}
        }
    ),
]
PLANS = [Depends(planning_slot)]


REFUSED = documented(400, 403, 409, 413, 422, 503)


@router.post("", status_code=201, dependencies=PLANS, responses={200: {"model": ExperimentView}, **REFUSED})
def create_experiment(
    spec: Spec,
    response: Response,
    principal: PrincipalHere,
    services: ServicesHere,
    idempotency_key: IdempotencyKey = None,
) -> ExperimentView:
    """201 for a new experiment; 200 and the first one for the same spec again."""
    return _answer(services, submit_experiment(services, principal.project, spec, idempotency_key), response)


def _answer(services: Services, submitted: Submitted, response: Response) -> ExperimentView:
    response.headers["Location"] = f"/v1/experiments/{submitted.id}"
    response.status_code = 201 if submitted.created else 200
    return _view(services, submitted.id)


def _view(services: Services, experiment: str) -> ExperimentView:
    with services.store.read() as session:
        return experiment_views(session, [require_experiment(session, experiment)])[0]


@router.post("/validate", dependencies=PLANS, openapi_extra=BY_READERS, responses=REFUSED)
def validate_experiment(spec: Spec, principal: PrincipalHere, services: ServicesHere) -> Validation:
    """What posting this spec would do. Creates nothing."""
    with services.store.read() as session:
        prepared = prepare(session, principal.project, spec, services.settings)
        known = experiment_with_identity(session, prepared.identity)
    plan = prepared.plan
    found = survey(services.store, services.artifacts, plan)
    return Validation(
        identity=prepared.identity,
        experiment=known.id if known else None,
        steps=len(plan.steps),
        steps_by_kind=Counter(step.kind for step in plan.steps),
        reused_by_kind=Counter(step.kind for step in plan.steps if step.id in found.verified),
        exhausted=tuple(exhausted_sizes(prepared.resolved)),
    )


@router.post("/estimate", dependencies=PLANS, openapi_extra=BY_READERS, responses=REFUSED)
def estimate_experiment(
    spec: Spec,
    principal: PrincipalHere,
    services: ServicesHere,
    reader: ResultsHere,
    spread: Annotated[DeclaredSpread, Query()],
) -> Estimation:
    """What posting this spec would cost and could show. Creates nothing.

    Cost: images, updates, GPU hours by class of GPU. Work on the upstream that has not been done yet is part of it.
    `time`: minutes on the workers that run now, from the durations of finished steps.
    `power`: the smallest difference that the declared comparison finds in four of five experiments. The spread between
    seeds and test images is the one of the query, of earlier experiments, or assumed; the answer says which."""
    with services.store.read() as session:
        resolved = resolve_fairly(session, principal.project, spec, services.settings)
    plan = plan_experiment(resolved)
    reused = survey(services.store, services.artifacts, plan).verified
    images = planned_images(resolved, plan)
    work = workload_of(plan, images, reused)
    with services.store.read() as session:
        measured = measured_steps(session, {step.kind for step in plan.steps if step.id not in reused})
        workers = live_workers(session, datetime.now(UTC))
    return Estimation(
        steps_by_kind=Counter(step.kind for step in plan.steps),
        reused_by_kind=Counter(step.kind for step in plan.steps if step.id in reused),
        work=work,
        gpu_hours=gpu_hours(work, THROUGHPUTS),
        assumptions=ASSUMPTIONS,
        power=expected_power(reader, principal.project, resolved, spread),
        time=estimate_time(plan, reused, images, StepTimes(measured, SLOWEST), workers),
    )


@router.get("", responses=documented(422, 503))
def get_experiments(
    principal: PrincipalHere,
    services: ServicesHere,
    position: PositionHere,
    wanted: WantedHere,
    limit: Annotated[int, Query(ge=1, le=200)] = 50,
) -> ExperimentPage:
    """Those that meet all conditions, of the project and of others that share them. The cursor of a page belongs to the
    same conditions and order."""
    with services.store.read() as session:
        found = list_experiments(session, principal.project, after=position.after, limit=limit + 1, wanted=wanted)
        page, following = position.cut(found, limit, lambda experiment: experiment.id)
        return ExperimentPage(items=tuple(experiment_views(session, page)), next_cursor=following)


@router.get("/{experiment}", responses=documented(404, 503))
def get_experiment(experiment: str, services: ServicesHere) -> ExperimentDetail:
    with services.store.read() as session:
        return experiment_detail(session, experiment)


@router.patch("/{experiment}", responses=documented(400, 404, 412, 413, 422, 503))
def change_name_or_tags(
    experiment: str, changes: Renaming, services: ServicesHere, if_match: IfMatch = None
) -> ExperimentView:
    """Renames it, replaces its tags, or archives it, which takes it off the lists. Its results and what it declared
    stay as they are; for other settings there is `clone`."""
    with services.store.write() as session:
        _require_match(session, experiment, if_match)
        change_experiment(session, experiment, changes, datetime.now(UTC))
    return _view(services, experiment)


@router.delete("/{experiment}", status_code=204, responses=documented(404, 409, 412, 503))
def remove_experiment(experiment: str, services: ServicesHere, if_match: IfMatch = None) -> None:
    """The experiment, its history and its verdict are gone. What it computed stays until it is collected, and whoever
    needs it before reuses it. 409 while it is active: cancel it first."""
    with services.store.write() as session:
        _require_match(session, experiment, if_match)
        delete_experiment(session, experiment)


def _require_match(session: Session, experiment: str, if_match: str | None) -> None:
    """Its row stays locked, so of several calls with one ETag only the first finds it unchanged. Raises NotFound."""
    lock_plans(session, [experiment])
    require_presence(session, experiment)
    require_match(if_match, lambda: experiment_detail(session, experiment))


@router.post("/{experiment}/cancel", responses=documented(404, 412, 503))
def cancel_experiment(experiment: str, services: ServicesHere, if_match: IfMatch = None) -> ExperimentView:
    """Steps that no other experiment needs stop soon. An experiment that has ended stays as it is."""
    with services.store.write() as session:
        _require_match(session, experiment, if_match)
        cancel_plan(session, experiment, datetime.now(UTC))
    return _view(services, experiment)


@router.post("/{experiment}/retry", responses=documented(404, 409, 412, 503))
def retry_experiment(experiment: str, services: ServicesHere, if_match: IfMatch = None) -> ExperimentView:
    """Failed steps get all their attempts again; a cancelled experiment goes on. 409 `facts_missing`: post the
    experiment again first."""

    def as_seen(session: Session) -> None:
        require_match(if_match, lambda: experiment_detail(session, experiment))

    retry_failed_steps(services, lambda session: experiment_owner(session, experiment), as_seen)
    return _view(services, experiment)


@router.post(
    "/{experiment}/clone",
    status_code=201,
    dependencies=PLANS,
    responses={200: {"model": ExperimentView}, **documented(400, 403, 404, 409, 413, 422, 503)},
)
def clone_experiment(
    experiment: str,
    changes: Changes,
    response: Response,
    principal: PrincipalHere,
    services: ServicesHere,
    reader: ResultsHere,
    idempotency_key: IdempotencyKey = None,
) -> ExperimentView:
    """A new experiment from this one's spec and what differs: objects merge, anything else replaces, null too, and an
    object of another `kind` begins anew. What both need is not done again. The clone's registration says which results
    of this one were in.
    """
    with services.store.read() as session:
        original = require_experiment(session, experiment).readable_spec
    document = apply_changes(original.model_dump(mode="json"), changes)
    try:
        spec = ExperimentSpec.model_validate(document)
    except ValidationError as error:
        raise invalid_body(error, document) from None
    parent = reader.as_parent(experiment)
    return _answer(services, submit_experiment(services, principal.project, spec, idempotency_key, parent), response)

"""/v1/experiments: post, look, cancel, retry, clone."""

from collections import Counter
from datetime import UTC, datetime
from typing import Annotated, Any

from fastapi import APIRouter, Body, Header, Query, Response
from pydantic import ValidationError
from touchstone_contracts.changes import apply_changes
from touchstone_contracts.experiment import ExperimentSpec
from touchstone_contracts.power import DeclaredSpread
from touchstone_contracts.views import Estimation, ExperimentDetail, ExperimentPage, ExperimentView, Validation
from touchstone_planning.estimate import gpu_hours, workload
from touchstone_planning.plan import plan_experiment
from touchstone_planning.throughput import ASSUMPTIONS, THROUGHPUTS
from touchstone_store.experiments import experiment_with_identity, list_experiments, require_experiment
from touchstone_store.plans import cancel_plan

from touchstone_api.bootstrap import Services
from touchstone_api.cursors import cut_page, decode_cursor
from touchstone_api.dependencies import ServicesHere
from touchstone_api.problems import documented, invalid_body
from touchstone_api.results.dependencies import ResultsHere
from touchstone_api.results.power import expected_power
from touchstone_api.retries import experiment_owner, retry_failed_steps
from touchstone_api.submission import Submitted, prepare, submit_experiment, survey
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
        {"kind": "generation", "name": "synthetic", "generator": "mini-diffusion", "images": 1500},
    ],
    "sizes": [240, 480],
    "seeds": [0, 1, 2],
    "recipe": {"kind": "cross_entropy", "learning_rates": [0.0001], "epochs": 5, "batch_size": 64},
    "comparison": {"a": "synthetic", "b": "retrieved", "metric": "zero_shot", "delta": 0.01},
}
Spec = Annotated[
    ExperimentSpec, Body(openapi_examples={"flags": {"summary": "Two arms on flags", "value": EXAMPLE_SPEC}})
]
Changes = Annotated[
    dict[str, Any],
    Body(openapi_examples={"sizes": {"summary": "Other sizes", "value": {"sizes": [120, 240]}}}),
]
IdempotencyKey = Annotated[str | None, Header(min_length=1, max_length=200)]


@router.post("", status_code=201, responses={200: {"model": ExperimentView}, **documented(400, 409, 413, 422, 503)})
def create_experiment(
    spec: Spec, response: Response, services: ServicesHere, idempotency_key: IdempotencyKey = None
) -> ExperimentView:
    """201 for a new experiment; 200 and the first one for the same spec again."""
    return _answer(services, submit_experiment(services, spec, idempotency_key), response)


def _answer(services: Services, submitted: Submitted, response: Response) -> ExperimentView:
    response.headers["Location"] = f"/v1/experiments/{submitted.id}"
    response.status_code = 201 if submitted.created else 200
    return _view(services, submitted.id)


def _view(services: Services, experiment: str) -> ExperimentView:
    with services.store.read() as session:
        return experiment_views(session, [require_experiment(session, experiment)])[0]


@router.post("/validate", responses=documented(400, 409, 413, 422, 503))
def validate_experiment(spec: Spec, services: ServicesHere) -> Validation:
    """What posting this spec would do. Creates nothing."""
    with services.store.read() as session:
        prepared = prepare(session, spec, services.settings.max_plan_steps)
        known = experiment_with_identity(session, prepared.identity)
    plan = prepared.plan
    found = survey(services.store, services.artifacts, plan)
    return Validation(
        identity=prepared.identity,
        experiment=known.id if known else None,
        steps=len(plan.steps),
        steps_by_kind=Counter(step.kind for step in plan.steps),
        reused_by_kind=Counter(step.kind for step in plan.steps if step.id in found.verified),
    )


@router.post("/estimate", responses=documented(400, 409, 413, 422, 503))
def estimate_experiment(
    spec: Spec, services: ServicesHere, reader: ResultsHere, spread: Annotated[DeclaredSpread, Query()]
) -> Estimation:
    """What posting this spec would cost and could show. Creates nothing.

    Cost: images, updates, GPU hours by class of GPU. Work on the upstream that has not been done yet is part of it.
    `power`: the smallest difference that the declared comparison finds in four of five experiments. The spread between
    seeds and test images is the one of the query, of earlier experiments, or assumed; the answer says which."""
    with services.store.read() as session:
        resolved = prepare(session, spec, services.settings.max_plan_steps).resolved
    plan = plan_experiment(resolved)
    reused = survey(services.store, services.artifacts, plan).verified
    work = workload(resolved, plan, reused)
    return Estimation(
        steps_by_kind=Counter(step.kind for step in plan.steps),
        reused_by_kind=Counter(step.kind for step in plan.steps if step.id in reused),
        work=work,
        gpu_hours=gpu_hours(work, THROUGHPUTS),
        assumptions=ASSUMPTIONS,
        power=expected_power(reader, resolved, spread),
    )


@router.get("", responses=documented(422, 503))
def get_experiments(
    services: ServicesHere, cursor: str | None = None, limit: Annotated[int, Query(ge=1, le=200)] = 50
) -> ExperimentPage:
    """Newest first."""
    with services.store.read() as session:
        found = list_experiments(session, before=decode_cursor(cursor), limit=limit + 1)
        page, following = cut_page(found, limit, lambda experiment: experiment.id)
        return ExperimentPage(items=tuple(experiment_views(session, page)), next_cursor=following)


@router.get("/{experiment}", responses=documented(404, 503))
def get_experiment(experiment: str, services: ServicesHere) -> ExperimentDetail:
    with services.store.read() as session:
        return experiment_detail(session, experiment)


@router.post("/{experiment}/cancel", responses=documented(404, 503))
def cancel_experiment(experiment: str, services: ServicesHere) -> ExperimentView:
    """Steps that no other experiment needs stop soon. An experiment that has ended stays as it is."""
    with services.store.write() as session:
        require_experiment(session, experiment)
        cancel_plan(session, experiment, datetime.now(UTC))
    return _view(services, experiment)


@router.post("/{experiment}/retry", responses=documented(404, 409, 503))
def retry_experiment(experiment: str, services: ServicesHere) -> ExperimentView:
    """Failed steps get all their attempts again; a cancelled experiment goes on. 409 `facts_missing`: post the
    experiment again first."""
    retry_failed_steps(services, lambda session: experiment_owner(session, experiment))
    return _view(services, experiment)


@router.post(
    "/{experiment}/clone",
    status_code=201,
    responses={200: {"model": ExperimentView}, **documented(400, 404, 409, 413, 422, 503)},
)
def clone_experiment(
    experiment: str, changes: Changes, response: Response, services: ServicesHere, reader: ResultsHere
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
    return _answer(services, submit_experiment(services, spec, parent=reader.as_parent(experiment)), response)

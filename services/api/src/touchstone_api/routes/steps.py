"""/v1/experiments/{experiment}/steps and /v1/upstreams/{name}/steps: list, look into one, retry one."""

from typing import Annotated

from fastapi import APIRouter, Query
from touchstone_contracts.values import StepId
from touchstone_contracts.views import StepDetail, StepPage, StepState
from touchstone_store.keys import Principal
from touchstone_store.plan_steps import list_steps

from touchstone_api.access.authorise import PrincipalHere
from touchstone_api.bootstrap import Services
from touchstone_api.cursors import Position, PositionHere
from touchstone_api.dependencies import ServicesHere
from touchstone_api.problems import documented
from touchstone_api.retries import FindOwner, experiment_owner, require_step, retry_step, upstream_owner

router = APIRouter(prefix="/v1")

OF_EXPERIMENT, OF_UPSTREAM = "/experiments/{experiment}/steps", "/upstreams/{name}/steps"
LISTED, FOUND, RETRIED = documented(404, 422, 503), documented(404, 503), documented(404, 409, 503)

Limit = Annotated[int, Query(ge=1, le=1000)]
State = Annotated[StepState | None, Query(description="Only steps in this state")]
Prefix = Annotated[str, Query(max_length=64, description="Only steps whose id begins with this")]


@router.get(OF_EXPERIMENT, tags=["experiments"], responses=LISTED)
def get_experiment_steps(
    experiment: str,
    services: ServicesHere,
    position: PositionHere,
    state: State = None,
    prefix: Prefix = "",
    limit: Limit = 200,
) -> StepPage:
    """In an order in which they can be done; what the upstream's ingest does is at /v1/upstreams/{name}/steps."""
    return _page(services, _experiment(experiment), state, prefix, position, limit)


@router.get(f"{OF_EXPERIMENT}/{{step}}", tags=["experiments"], responses=FOUND)
def get_experiment_step(experiment: str, step: str, services: ServicesHere) -> StepDetail:
    """With its inputs, worker and times and, where an attempt failed, the problem and the end of the worker's log."""
    return _detail(services, _experiment(experiment), step)


@router.post(f"{OF_EXPERIMENT}/{{step}}/retry", tags=["experiments"], responses=RETRIED)
def retry_experiment_step(experiment: str, step: str, services: ServicesHere) -> StepDetail:
    """A failed step gets all its attempts again, and the experiments that had ended with it go on."""
    return _retried(services, _experiment(experiment), step)


@router.get(OF_UPSTREAM, tags=["upstreams"], responses=LISTED)
def get_upstream_steps(
    name: str,
    principal: PrincipalHere,
    services: ServicesHere,
    position: PositionHere,
    state: State = None,
    prefix: Prefix = "",
    limit: Limit = 200,
) -> StepPage:
    """The steps of the ingest, in an order in which they can be done."""
    return _page(services, _upstream(name, principal), state, prefix, position, limit)


@router.get(f"{OF_UPSTREAM}/{{step}}", tags=["upstreams"], responses=FOUND)
def get_upstream_step(name: str, step: str, principal: PrincipalHere, services: ServicesHere) -> StepDetail:
    """With its inputs, worker and times and, where an attempt failed, the problem and the end of the worker's log."""
    return _detail(services, _upstream(name, principal), step)


@router.post(f"{OF_UPSTREAM}/{{step}}/retry", tags=["upstreams"], responses=RETRIED)
def retry_upstream_step(name: str, step: str, principal: PrincipalHere, services: ServicesHere) -> StepDetail:
    """A failed step gets all its attempts again, and an ingest that had ended with it goes on."""
    return _retried(services, _upstream(name, principal), step)


def _experiment(experiment: str) -> FindOwner:
    return lambda session: experiment_owner(session, experiment)


def _upstream(name: str, principal: Principal) -> FindOwner:
    return lambda session: upstream_owner(session, name, principal.project)


def _page(
    services: Services, find_owner: FindOwner, state: StepState | None, prefix: str, position: Position, limit: int
) -> StepPage:
    with services.store.read() as session:
        plan = find_owner(session).plan
        found = list_steps(session, plan, after=position.row, limit=limit + 1, state=state, prefix=prefix)
    page, following = position.cut(found, limit, lambda owned: str(owned.position))
    return StepPage(items=tuple(owned.view() for owned in page), next_cursor=following)


def _detail(services: Services, find_owner: FindOwner, step: StepId) -> StepDetail:
    with services.store.read() as session:
        return require_step(session, find_owner(session), step)


def _retried(services: Services, find_owner: FindOwner, step: StepId) -> StepDetail:
    retry_step(services, find_owner, step)
    return _detail(services, find_owner, step)

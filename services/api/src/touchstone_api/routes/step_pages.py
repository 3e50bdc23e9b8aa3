"""/experiments/{experiment}/steps and /runs: every step with its attempts and problems, and the curves of trainings."""

from typing import Annotated, Any, get_args
from urllib.parse import urlencode

from fastapi import APIRouter, Query
from fastapi.responses import HTMLResponse
from touchstone_contracts.problems import Invalid
from touchstone_contracts.suggestions import unknown
from touchstone_contracts.views import StepState
from touchstone_store.experiments import require_experiment
from touchstone_store.plan_steps import list_steps

from touchstone_api.access.authorise import PageReader, may_change
from touchstone_api.cursors import PositionHere
from touchstone_api.dashboard.curves import Run, draw_accuracy, draw_loss, rate_words
from touchstone_api.dashboard.facts import KIND_WORDS
from touchstone_api.dashboard.rendering import html_page
from touchstone_api.dependencies import ServicesHere
from touchstone_api.results.dependencies import ResultsHere
from touchstone_api.results.runs import training_runs
from touchstone_api.routes.arms import TargetName

router = APIRouter(prefix="/experiments/{experiment}", include_in_schema=False)

STEPS_PER_PAGE = 100


@router.get("/steps", response_class=HTMLResponse)
def show_steps(
    experiment: str,
    principal: PageReader,
    services: ServicesHere,
    position: PositionHere,
    state: Annotated[str, Query(max_length=20)] = "",
) -> HTMLResponse:
    """In an order in which they can be done; `state` chooses."""
    chosen: StepState | None = next((known for known in get_args(StepState) if known == state), None)
    if state and chosen is None:
        raise Invalid(unknown("state", state, get_args(StepState)))
    with services.store.read() as session:
        found = require_experiment(session, experiment)
        steps = list_steps(session, experiment, after=position.row, limit=STEPS_PER_PAGE + 1, state=chosen)
        may_retry = may_change(session, principal, experiment) and found.phase != "cancelled"
        facts: dict[str, Any] = {"experiment": found.id, "name": found.name, "may_retry": may_retry}
    page, following = position.cut(steps, STEPS_PER_PAGE, lambda owned: str(owned.position))
    asked = {"state": state} if state else {}
    facts |= {
        "steps": page,
        "steps_address": f"/v1/experiments/{experiment}/steps",
        "kind_words": KIND_WORDS,
        "state": state,
        "states": get_args(StepState),
        "following": following and f"?{urlencode(asked | {'cursor': following})}",
    }
    return html_page("steps.html", csrf=principal.csrf, **facts)


@router.get("/runs", response_class=HTMLResponse)
def show_runs(
    experiment: str,
    principal: PageReader,
    reader: ResultsHere,
    target: TargetName = None,
    arm: Annotated[str | None, Query(max_length=200)] = None,
    size: Annotated[str, Query(max_length=12)] = "",
) -> HTMLResponse:
    """Of one arm at one size; without a choice the first arm at the first target and the largest size."""
    spec = reader.planned(experiment).spec
    if size and size not in (sizes := [str(each) for each in spec.sizes]):
        raise Invalid(unknown("size", size, sizes))
    first = next((each.name for each in spec.training_arms), "")
    found = training_runs(reader, experiment, arm or first, int(size) if size else None, target or spec.targets[0])
    runs: list[Run] = [*found.runs, *found.unfinished]
    facts: dict[str, Any] = {
        "spec": spec,
        "experiment": experiment,
        "found": found,
        "loss": draw_loss(runs),
        "accuracy": draw_accuracy(runs),
        "rate_words": rate_words,
        "rates": sorted({run.learning_rate or 0.0 for run in runs if run.epochs}),
    }
    return html_page("runs.html", csrf=principal.csrf, **facts)

"""Results of an experiment that were lost are computed again when somebody asks for them."""

from datetime import UTC, datetime

from touchstone_contracts.problems import Problem, Transient, section_address
from touchstone_runtime.logs import get_logger
from touchstone_runtime.objects import MissingObject
from touchstone_store.losses import heal_plan
from touchstone_store.plans import Require, nothing

from touchstone_api.bootstrap import Services

log = get_logger(__name__)


def heal(services: Services, plan: str, require: Require = nothing) -> int:
    """How many steps of an experiment (or of an upstream) are computed again. `require`: see `heal_plan`. Raises
    Transient."""
    lost = heal_plan(services.store, plan, services.artifacts.present, datetime.now(UTC), require)
    if lost:
        log.warning("plan.heals", plan=plan, steps=len(lost))
    return len(lost)


def healing_problem(services: Services, experiment: str, error: MissingObject) -> Problem:
    """What to answer where a result could not be read: that it is being made again, if it is."""
    problem = error.problem()
    try:
        steps = heal(services, experiment)
    except Transient as outage:
        log.warning("experiment.not_healed", experiment=experiment, error=str(outage))
        return problem
    if not steps:
        return problem
    detail = (
        f"{problem.detail}. Results of this experiment were lost from the object store: {steps} of its steps are being "
        f"computed again; GET /v1/experiments/{experiment} says when they are done"
    )
    healing = {"title": "Being computed again", "code": "healing", "type": section_address("healing")}
    return problem.model_copy(update={**healing, "detail": detail})

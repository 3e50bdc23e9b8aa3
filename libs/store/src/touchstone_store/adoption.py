"""Brings what release 0.1.0 stored into today's form: plans that had no layout get one, experiments their judgements.

That release planned an experiment again whenever its results were asked for. Here it is planned once more, with the
contracts of then, and what comes out is stored. The steps themselves stay as they are: workers still serve them."""

from collections.abc import Iterable
from datetime import UTC, datetime

from pydantic import BaseModel, ValidationError
from sqlalchemy import select
from sqlalchemy.orm import Session
from touchstone_contracts.access import DEFAULT_PROJECT
from touchstone_contracts.catalogue import Encoder, Upstream
from touchstone_contracts.problems import NotFound
from touchstone_contracts.steps import EARLIER, JUDGE_EXPERIMENT
from touchstone_contracts.values import STORED
from touchstone_planning.dag import PlannedStep
from touchstone_planning.plan import plan_experiment, plan_upstream, stored_plan
from touchstone_planning.resolved import ResolvedExperiment
from touchstone_runtime.logs import get_logger

from touchstone_store.catalogue import require_entry
from touchstone_store.database import Store
from touchstone_store.layouts import UPSTREAM_PLANS, upstream_of
from touchstone_store.plans import Survey, create_plan
from touchstone_store.tables import ExperimentRow, PlanRow, PlanStepRow

log = get_logger(__name__)

CONTRACTS_BEFORE = {
    # Of several earlier versions the first, which that release knew.
    contract.name: contract
    for contract in sorted(EARLIER.values(), key=lambda contract: contract.version, reverse=True)
}
JUDGEMENTS = "judgement/"
"""Prefix of the plans that judge experiments of that release: their own plans stay as they ended."""


def adopt_earlier_plans(store: Store) -> int:
    """How many plans were adopted. Harmless when there are none; each is adopted in a transaction of its own."""
    earlier = PlanRow.layout.is_(None) & PlanRow.id.not_like(JUDGEMENTS + "%")
    with store.read() as session:
        plans = list(session.scalars(select(PlanRow.id).where(earlier).order_by(PlanRow.id)))
    adopted = 0
    for plan in plans:
        with store.write() as session:
            row = session.get_one(PlanRow, plan, with_for_update=True)
            if row.layout is not None:
                continue
            layout = _readable_layout(session, plan)
            if layout is not None:
                row.layout = layout.model_dump(mode="json")
                adopted += 1
    if adopted:
        log.info("plans.adopted", count=adopted)
    return adopted


def _readable_layout(session: Session, plan: str) -> BaseModel | None:
    """A plan that cannot be read, or whose names are not registered, stays without a layout and hinders no other."""
    try:
        return _layout(session, plan)
    except (ValidationError, NotFound) as error:
        log.error("plan.not_adopted", plan=plan, reason=str(error))
        return None


def _layout(session: Session, plan: str) -> BaseModel | None:
    """None, with a word in the log, where planning again does not give the steps that are stored."""
    if plan.startswith(UPSTREAM_PLANS):
        upstream = require_entry(session, Upstream, upstream_of(plan), DEFAULT_PROJECT)
        encoder = require_entry(session, Encoder, upstream.index_encoder, DEFAULT_PROJECT)
        planned = plan_upstream(upstream, encoder, contracts=CONTRACTS_BEFORE)
        return planned.upstream if _is_stored(session, plan, planned.steps) else None
    experiment = session.get(ExperimentRow, plan)
    if experiment is None:
        return None
    resolved = ResolvedExperiment.model_validate(experiment.resolved, context=STORED)
    planned = plan_experiment(resolved, contracts=CONTRACTS_BEFORE, audited=False)
    judging = [step for step in planned.steps if step.kind == JUDGE_EXPERIMENT.name]
    if not _is_stored(session, plan, [step for step in planned.steps if step.kind != JUDGE_EXPERIMENT.name]):
        return None
    create_plan(session, JUDGEMENTS + plan, judging, Survey(), datetime.now(UTC))
    return stored_plan(planned)


def _is_stored(session: Session, plan: str, steps: Iterable[PlannedStep]) -> bool:
    stored = set(session.scalars(select(PlanStepRow.step_id).where(PlanStepRow.plan_id == plan)))
    missing = [step.role for step in steps if step.id not in stored]
    if missing:
        log.error("plan.not_adopted", plan=plan, missing=missing[:3], count=len(missing))
    return not missing

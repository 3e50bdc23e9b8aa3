"""Results that the object store has lost: their steps are computed again."""

from collections.abc import Callable, Collection
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime

from sqlalchemy import select
from sqlalchemy.orm import Session
from touchstone_contracts.values import StepId
from touchstone_planning import transitions

from touchstone_store.database import Store
from touchstone_store.plans import Require, StepChange, lock_owners, nothing, save_steps
from touchstone_store.steps import batches, find_rows, to_step
from touchstone_store.tables import PlanRow, PlanStepRow, StepRow

LOOKS_AT_ONCE = 8

Look = Callable[[StepId], object]
"""None where a step's result, or a part of it, is gone. Raises Transient."""


def heal_plan(store: Store, plan: str, look: Look, now: datetime, require: Require = nothing) -> list[StepId]:
    """Looks at every finished step of a plan and of the one that it waits for. Returns those that are computed again;
    every plan that needs one of them goes on. `require` is asked in the transaction of the first change, once all that
    it changes is locked. Raises Transient."""
    with store.read() as session:
        needs = session.scalar(select(PlanRow.needs).where(PlanRow.id == plan))
        done = _succeeded_of(session, [plan, needs] if needs else [plan])
    with ThreadPoolExecutor(LOOKS_AT_ONCE) as threads:
        lost = [step for step, found in zip(done, threads.map(look, done), strict=True) if found is None]
    forget_results(store, lost, now, [plan], require)
    return lost


def forget_results(
    store: Store, lost: Collection[StepId], now: datetime, plans: Collection[str] = (), require: Require = nothing
) -> None:
    """Of those of `lost` that had finished: they are computed again. `require`: see `heal_plan`, of `plans`."""
    for number, batch in enumerate(batches(sorted(lost))):
        with store.write() as session:
            rows = find_rows(session, batch, lock=True)
            if number == 0:
                lock_owners(session, rows, plans)
                require(session)
            save_steps(
                session, [StepChange(row, transitions.forget_result(to_step(row))) for row in rows.values()], now
            )


def _succeeded_of(session: Session, plans: Collection[str]) -> list[StepId]:
    query = (
        select(StepRow.id)
        .join(PlanStepRow, PlanStepRow.step_id == StepRow.id)
        .where(PlanStepRow.plan_id.in_(plans), StepRow.state == "succeeded")
        .distinct()
    )
    return list(session.scalars(query))

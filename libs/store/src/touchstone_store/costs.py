"""What steps cost, and which steps a pool is made from: sums that the dashboard asks for, without reading requests."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from sqlalchemy import select
from sqlalchemy.orm import Session
from touchstone_contracts.values import StepId
from touchstone_planning.ancestry import with_ancestors

from touchstone_store.steps import batches
from touchstone_store.tables import StepInputRow, StepRow


@dataclass(frozen=True)
class StepCost:
    cpu_seconds: float
    gpu_seconds: float | None
    """None: finished before this was kept here; the step's manifest says it."""


def ancestors_of(session: Session, steps: Collection[StepId]) -> Mapping[StepId, frozenset[StepId]]:
    """Each of `steps` with everything that it is made from, directly or not, itself included."""
    inputs = _inputs_below(session, steps)
    return {step: frozenset(with_ancestors(step, inputs.__getitem__)) for step in steps}


def _inputs_below(session: Session, steps: Collection[StepId]) -> dict[StepId, list[StepId]]:
    """The inputs of `steps`, of these, and so on, one level a query."""
    found: dict[StepId, list[StepId]] = {}
    level = set(steps)
    while level:
        found |= {step: [] for step in level}
        for batch in batches(level):
            query = select(StepInputRow.step_id, StepInputRow.input_id).where(StepInputRow.step_id.in_(batch))
            for step, needed in session.execute(query).all():
                found[step].append(needed)
        level = {needed for step in level for needed in found[step]} - set(found)
    return found


def costs_of(session: Session, steps: Collection[StepId]) -> dict[StepId, StepCost]:
    """Of those of `steps` that have succeeded, whichever experiment they were computed for."""
    found: dict[StepId, StepCost] = {}
    for batch in batches(steps):
        query = select(StepRow.id, StepRow.cpu_seconds, StepRow.gpu_seconds).where(
            StepRow.id.in_(batch), StepRow.state == "succeeded"
        )
        found |= {step: StepCost(cpu or 0.0, gpu) for step, cpu, gpu in session.execute(query).all()}
    return found

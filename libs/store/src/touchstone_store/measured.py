"""How long finished steps took, with what they had to do: the latest of each kind, from an index."""

from collections.abc import Collection

from sqlalchemy import literal_column, select
from sqlalchemy.orm import Session
from touchstone_contracts.values import StepId
from touchstone_planning.amounts import SIZED_KINDS, amount_of, image_sets_of, images_of
from touchstone_planning.step_times import MeasuredStep

from touchstone_store.steps import batches
from touchstone_store.tables import StepRow

LATEST = 50
"""Steps of each kind that are looked at."""

# A literal, because a database can use the index of finished steps only where it sees which state is meant.
_HAS_SUCCEEDED = StepRow.state == literal_column("'succeeded'")


def measured_steps(session: Session, kinds: Collection[str]) -> list[MeasuredStep]:
    """The latest of each kind, whichever project they were computed for."""
    found = [measured for kind in kinds for measured in _latest(session, kind)]
    named = {step for kind, request, _ in found for step in image_sets_of(kind, request)}
    images = _images(session, named)
    return [MeasuredStep(kind, amount_of(kind, request, images), seconds) for kind, request, seconds in found]


def _latest(session: Session, kind: str) -> list[tuple[str, dict[str, object], float]]:
    """(kind, request, seconds); without the request where nothing in it says how much there was to do."""
    query = (
        select(StepRow.seconds, *([StepRow.request] if kind in SIZED_KINDS else []))
        .where(StepRow.kind == kind, _HAS_SUCCEEDED, StepRow.finished_at.is_not(None), StepRow.seconds > 0)
        .order_by(StepRow.finished_at.desc())
        .limit(LATEST)
    )
    return [(kind, request[0] if request else {}, seconds) for seconds, *request in session.execute(query).all()]


def _images(session: Session, steps: Collection[StepId]) -> dict[StepId, int]:
    found: dict[StepId, int] = {}
    for batch in batches(steps):
        query = select(StepRow.id, StepRow.kind, StepRow.request).where(StepRow.id.in_(batch))
        for step, kind, request in session.execute(query).all():
            count = images_of(kind, request)
            if count is not None:
                found[step] = count
    return found

"""How long finished steps took, with what they had to do: the latest of each kind, from an index.

Requests are read as text, and what cannot be read has no amount: an estimate does not fail because of an old row."""

import json
from collections.abc import Callable, Collection
from typing import Any, ParamSpec, TypeVar

from sqlalchemy import Text, cast, literal_column, select
from sqlalchemy.orm import Session
from touchstone_contracts.values import StepId
from touchstone_planning.amounts import SIZED_KINDS, amount_of, image_sets_of, images_of
from touchstone_planning.step_times import MeasuredStep

from touchstone_store.steps import batches
from touchstone_store.tables import StepRow

Asked = ParamSpec("Asked")
SaidT = TypeVar("SaidT")

LATEST = 50
"""Steps of each kind that are looked at."""

_REQUEST = cast(StepRow.request, Text)
# A literal, because a database can use the index of finished steps only where it sees which state is meant.
_HAS_SUCCEEDED = StepRow.state == literal_column("'succeeded'")


def measured_steps(session: Session, kinds: Collection[str]) -> list[MeasuredStep]:
    """The latest of each kind, whichever project they were computed for."""
    found = [measured for kind in kinds for measured in _latest(session, kind)]
    named = {step for kind, request, _ in found for step in _said(image_sets_of, kind, request) or ()}
    images = _images(session, named)
    return [MeasuredStep(kind, _said(amount_of, kind, request, images), seconds) for kind, request, seconds in found]


def _said(read: Callable[Asked, SaidT], *asked: Asked.args, **named: Asked.kwargs) -> SaidT | None:
    """What `read` finds in a stored request; None where that has not the form that today's have."""
    try:
        return read(*asked, **named)
    except (KeyError, TypeError, AttributeError, ValueError):
        return None


def _latest(session: Session, kind: str) -> list[tuple[str, Any, float]]:
    """(kind, request, seconds); without the request where nothing in it says how much there was to do."""
    query = (
        select(StepRow.seconds, *([_REQUEST] if kind in SIZED_KINDS else []))
        .where(StepRow.kind == kind, _HAS_SUCCEEDED, StepRow.finished_at.is_not(None), StepRow.seconds > 0)
        .order_by(StepRow.finished_at.desc())
        .limit(LATEST)
    )
    return [(kind, _parsed(*request), seconds or 0.0) for seconds, *request in session.execute(query).all()]


def _parsed(request: str | None = None) -> Any:
    return None if request is None else _said(json.loads, request)


def _images(session: Session, steps: Collection[StepId]) -> dict[StepId, int]:
    found: dict[StepId, int] = {}
    for batch in batches(steps):
        query = select(StepRow.id, StepRow.kind, _REQUEST).where(StepRow.id.in_(batch))
        for step, kind, request in session.execute(query).all():
            count = _said(images_of, kind, _parsed(request))
            if count is not None:
                found[step] = count
    return found

"""/v1/experiments/{experiment}/events: the history as server-sent events, resumable.

The streams are sse-starlette's and not FastAPI's own, because they end when the server is told to stop; with FastAPI's
own the server goes on until the last reader has left."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Annotated

from fastapi import APIRouter, Header, Query, Response
from fastapi.concurrency import run_in_threadpool
from sse_starlette import EventSourceResponse, ServerSentEvent
from touchstone_contracts.values import StepId
from touchstone_contracts.views import Event
from touchstone_store.database import Store
from touchstone_store.events import STEP_PROGRESSED, events_after
from touchstone_store.experiments import require_experiment
from touchstone_store.steps import Progress, progress_of
from touchstone_store.tables import PlanRow

from touchstone_api.dependencies import ServicesHere
from touchstone_api.problems import documented

router = APIRouter(prefix="/v1/experiments", tags=["experiments"])

PING_SECONDS = 3
PROGRESS_SECONDS = 2.0
"""Progress is told at most this often."""
EVENT_STREAM = "text/event-stream"


@dataclass
class ProgressTeller:
    """What one stream has told of the steps at work: only what is new is told."""

    clock: Callable[[], float] = time.monotonic
    _told: dict[StepId, tuple[int, int, int | None]] = field(default_factory=dict)
    _looked_at: float = float("-inf")

    def is_due(self) -> bool:
        return self.clock() - self._looked_at >= PROGRESS_SECONDS

    def news(self, found: list[Progress]) -> Iterator[Progress]:
        self._looked_at = self.clock()
        before, self._told = self._told, {each.step: (each.attempt, each.done, each.total) for each in found}
        for each in found:
            # A step that has just begun has nothing to tell beyond that.
            if before.get(each.step, (each.attempt, 0, None)) != self._told[each.step]:
                yield each


@dataclass(frozen=True)
class Look:
    events: list[Event]
    progress: list[Progress]
    finished: bool
    """The experiment had ended before the events were read."""


def _look(store: Store, experiment: str, after: int, *, progress: bool) -> Look:
    with store.read() as session:
        finished = session.get_one(PlanRow, experiment).finished_at is not None
        at_work = progress_of(session, experiment) if progress and not finished else []
        return Look(events_after(session, experiment, after), at_work, finished)


async def stream(
    store: Store, experiment: str, after: int, poll_seconds: float, teller: ProgressTeller
) -> AsyncIterator[ServerSentEvent]:
    """The history after an id, then what is added to it, until the experiment ends; progress in between."""
    while True:
        due = teller.is_due()
        look = await run_in_threadpool(_look, store, experiment, after, progress=due)
        for event in look.events:
            after = event.id
            yield ServerSentEvent(id=str(event.id), event=event.event, data=event.model_dump_json())
        for each in teller.news(look.progress) if due else ():
            yield _progress(each, after)
        if not look.events:
            if look.finished:
                return
            await asyncio.sleep(poll_seconds)


def _progress(progress: Progress, after: int) -> ServerSentEvent:
    """Without an id of the stream, because it is no part of the history: `after` is where a reader resumes."""
    data = {
        "step": progress.step,
        "kind": progress.kind,
        "role": progress.role,
        "done": progress.done,
        "total": progress.total,
    }
    event = Event(id=after, event=STEP_PROGRESSED, at=datetime.now(UTC), data=data)
    return ServerSentEvent(event=STEP_PROGRESSED, data=event.model_dump_json())


@router.get(
    "/{experiment}/events",
    response_class=EventSourceResponse,
    responses={
        200: {"description": "Events until the experiment ends", "content": {EVENT_STREAM: {}}},
        204: {"description": "The experiment has ended and there is nothing after the given id"},
        **documented(404, 422, 503),
    },
)
async def get_experiment_events(
    experiment: str,
    services: ServicesHere,
    last_event_id: Annotated[int | None, Header(ge=0)] = None,
    after: Annotated[int, Query(ge=0)] = 0,
) -> Response:
    """Each event's data is a JSON object with id, event, at and data. `Last-Event-ID` (or `after`) resumes.

    `step.progress` is told while a step works and is not kept: its id is that of the event before it. Of an experiment
    that ended a while ago, phases and failures are told."""
    start = after if last_event_id is None else last_event_id

    def look() -> Look:
        with services.store.read() as session:
            require_experiment(session, experiment)
        return _look(services.store, experiment, start, progress=False)

    first = await run_in_threadpool(look)
    if first.finished and not first.events:
        # 204 is how a server tells a browser's EventSource not to connect again.
        return Response(status_code=204, media_type=EVENT_STREAM)
    told = stream(services.store, experiment, start, services.settings.event_poll_seconds, ProgressTeller())
    return EventSourceResponse(told, ping=PING_SECONDS)

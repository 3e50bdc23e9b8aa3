"""/v1/experiments/{experiment}/events: the history as server-sent events, resumable.

The streams are sse-starlette's and not FastAPI's own, because they end when the server is told to stop; with FastAPI's
own the server goes on until the last reader has left."""

import asyncio
from collections.abc import AsyncIterator
from typing import Annotated

from fastapi import APIRouter, Header, Query, Response
from fastapi.concurrency import run_in_threadpool
from sse_starlette import EventSourceResponse, ServerSentEvent
from touchstone_contracts.views import Event
from touchstone_store.database import Store
from touchstone_store.events import events_after
from touchstone_store.experiments import require_experiment
from touchstone_store.tables import PlanRow

from touchstone_api.dependencies import ServicesHere
from touchstone_api.problems import documented

router = APIRouter(prefix="/v1/experiments", tags=["experiments"])

PING_SECONDS = 3
EVENT_STREAM = "text/event-stream"


def _history(store: Store, experiment: str, after: int) -> tuple[list[Event], bool]:
    """Events after the id, and whether the experiment had ended before they were read."""
    with store.read() as session:
        finished = session.get_one(PlanRow, experiment).finished_at is not None
        return events_after(session, experiment, after), finished


async def _stream(store: Store, experiment: str, after: int, poll_seconds: float) -> AsyncIterator[ServerSentEvent]:
    while True:
        events, finished = await run_in_threadpool(_history, store, experiment, after)
        for event in events:
            after = event.id
            yield ServerSentEvent(id=str(event.id), event=event.event, data=event.model_dump_json())
        if not events:
            if finished:
                return
            await asyncio.sleep(poll_seconds)


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
    """Each event's data is a JSON object with id, event, at and data. `Last-Event-ID` (or `after`) resumes."""
    start = after if last_event_id is None else last_event_id

    def look() -> tuple[list[Event], bool]:
        with services.store.read() as session:
            require_experiment(session, experiment)
        return _history(services.store, experiment, start)

    events, finished = await run_in_threadpool(look)
    if finished and not events:
        # 204 is how a server tells a browser's EventSource not to connect again.
        return Response(status_code=204, media_type=EVENT_STREAM)
    stream = _stream(services.store, experiment, start, services.settings.event_poll_seconds)
    return EventSourceResponse(stream, ping=PING_SECONDS)

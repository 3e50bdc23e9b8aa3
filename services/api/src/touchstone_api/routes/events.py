"""/v1/experiments/{experiment}/events: the history as server-sent events, resumable.

The streams are sse-starlette's and not FastAPI's own, because they end when the server is told to stop; with FastAPI's
own the server goes on until the last reader has left."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime

from fastapi import APIRouter, Request, Response
from fastapi.concurrency import run_in_threadpool
from sse_starlette import EventSourceResponse, ServerSentEvent
from touchstone_contracts.views import Event
from touchstone_store.events import STEP_PROGRESSED, events_after
from touchstone_store.experiments import require_experiment
from touchstone_store.steps import Progress
from touchstone_store.tables import PlanRow

from touchstone_api.bootstrap import Services
from touchstone_api.dependencies import ServicesHere
from touchstone_api.event_hub import EventHub
from touchstone_api.parameters import After, LastEventId
from touchstone_api.problems import documented

router = APIRouter(prefix="/v1/experiments", tags=["experiments"])

PING_SECONDS = 3
SEND_SECONDS = 30
"""A reader that takes nothing for so long is given up."""
EVENT_STREAM = "text/event-stream"


async def stream(hub: EventHub, experiment: str, after: int) -> AsyncIterator[ServerSentEvent]:
    """The history after an id, then what is added to it, until the experiment ends; progress in between."""
    async for told, position in hub.listen(experiment, after):
        if isinstance(told, Progress):
            yield _progress(told, position)
        else:
            yield ServerSentEvent(id=str(told.id), event=told.event, data=told.model_dump_json())


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


def _has_news(services: Services, experiment: str, after: int) -> bool:
    """Whether there is anything to wait for. Raises NotFound."""
    with services.store.read() as session:
        require_experiment(session, experiment)
        finished = session.get_one(PlanRow, experiment).finished_at is not None
        return not finished or bool(events_after(session, experiment, after, limit=1))


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
    request: Request,
    services: ServicesHere,
    last_event_id: LastEventId = None,
    after: After = 0,
) -> Response:
    """Each event's data is a JSON object with id, event, at and data. `Last-Event-ID` (or `after`) resumes.

    `step.progress` is told while a step works and is not kept: its id is that of the event before it. Of an experiment
    that ended a while ago, phases and failures are told. 503 where too many streams are open."""
    start = after if last_event_id is None else last_event_id
    hub: EventHub = request.app.state.events
    hub.require_room()
    if not await run_in_threadpool(_has_news, services, experiment, start):
        # 204 is how a server tells a browser's EventSource not to connect again.
        return Response(status_code=204, media_type=EVENT_STREAM)
    return EventSourceResponse(stream(hub, experiment, start), ping=PING_SECONDS, send_timeout=SEND_SECONDS)

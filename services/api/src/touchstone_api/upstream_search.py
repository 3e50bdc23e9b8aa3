"""Searching an upstream: a worker computes the answer, which is waited for a moment; the same search again is answered
from what was computed."""

import asyncio
import math
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import NamedTuple
from urllib.parse import quote

from fastapi import Request
from fastapi.concurrency import run_in_threadpool
from sqlalchemy.orm import Session
from touchstone_contracts.catalogue import Encoder, Upstream
from touchstone_contracts.problems import FieldError, Invalid, NotFound, Problem
from touchstone_contracts.search import SearchHit, UpstreamSearch
from touchstone_contracts.steps import SEARCH_UPSTREAM, UpstreamSearched
from touchstone_contracts.values import StepId
from touchstone_contracts.views import FoundImage, SearchView
from touchstone_planning.dag import Plan
from touchstone_planning.resolve import Found
from touchstone_planning.search import StoredSearch, plan_search
from touchstone_planning.state import ACTIVE
from touchstone_runtime.objects import MissingObject
from touchstone_store.catalogue import Registered, RegisteredNames, require_entry, require_registered
from touchstone_store.contention import created_or_found
from touchstone_store.experiments import PlanState, plan_states
from touchstone_store.layouts import upstream_plan_id
from touchstone_store.plans import create_plan, retry_plan
from touchstone_store.registering import survey
from touchstone_store.searches import Search, active_searches, find_search, search_plan_id, searchable_shards
from touchstone_store.steps import outages_of, problems_of

from touchstone_api.allowed import ProjectPolicy
from touchstone_api.bootstrap import Services
from touchstone_api.healing import heal
from touchstone_api.quota import QuotaExceeded, require_search_quota

LOOK_SECONDS = 0.2
MOST_WAITING = 64
"""Requests that wait for a search at the same moment; the others are told at once that theirs is under way."""
MOST_ACTIVE = 20
"""Searches of a project that are under way at once."""
OF_A_FIELD = {"undecodable_image": "/image", "unknown_image": "/like"}
"""Codes of a search's failure -> what of the request was at fault."""


class NotIngested(Invalid):
    """There is nothing to search yet."""

    code = "not_ingested"
    status = 409
    title = "Not ingested yet"


class SearchFailed(Invalid):
    code = "search_failed"
    status = 409
    title = "The search failed"


@dataclass(frozen=True)
class _Prepared:
    project: str
    plan: Plan
    stored: StoredSearch
    plan_id: str


def submit_search(services: Services, project: str, name: str, asked: UpstreamSearch) -> StepId:
    """The id of the search, which workers compute unless it is known; one that failed is tried again. Raises NotFound,
    NotIngested, SourceNotAllowed, QuotaExceeded or Transient."""
    with services.store.read() as session:
        prepared = _prepared(session, services, project, name, asked)
        known = find_search(session, prepared.plan_id)
        if known is None:
            _require_room(session, services, project)
    # Also of a known one: what is there is not written again, and what was lost is.
    services.artifacts.put_facts(prepared.plan.facts.blobs)
    if known is None or known.phase in ("failed", "cancelled"):
        created_or_found(lambda: _create_or_retry(services, prepared), "the same search is being created")
    elif known.phase == "succeeded":
        heal(services, known.plan)
    return prepared.stored.step


def _prepared(session: Session, services: Services, project: str, name: str, asked: UpstreamSearch) -> _Prepared:
    found = require_registered(session, Upstream, name, project)
    encoder = require_entry(session, Encoder, found.entry.index_encoder, found.project)
    names = RegisteredNames(session, found.project)
    entries = [Found("", entry) for entry in (names.upstream(name), names.encoder(encoder.name)) if entry is not None]
    ProjectPolicy(session, project, services.settings.allowed_sources).require_registered(entries, names)
    shards, all_files = searchable_shards(session, upstream_plan_id(name, found.project))
    if not shards:
        raise _not_ingested(session, found)
    plan, stored = plan_search(name, encoder, shards, all_files, asked)
    return _Prepared(project, plan, stored, search_plan_id(project, found.project, name, stored.step))


def _not_ingested(session: Session, found: Registered[Upstream]) -> NotIngested:
    name, plan = found.entry.name, upstream_plan_id(found.entry.name, found.project)
    state = plan_states(session, [plan]).get(plan, PlanState())
    if state.phase in ACTIVE:
        done = f"{state.counts.succeeded} of {state.counts.total} steps are done"
        remedy = f"its ingest is under way ({done}): search once GET /v1/upstreams/{name} tells of an ingested file"
    else:
        remedy = f"its ingest has {state.phase}: POST /v1/upstreams/{name}/retry, and search once a file is ingested"
    return NotIngested(f"no file of upstream {name!r} is ingested, so there is nothing to search; {remedy}")


def _require_room(session: Session, services: Services, project: str) -> None:
    require_search_quota(session, project, services.settings.quota_bytes, datetime.now(UTC))
    active = active_searches(session, project)
    if active >= MOST_ACTIVE:
        raise QuotaExceeded(
            f"{active} searches of this project are under way, as many as there may be: wait for one to end"
        )


def _create_or_retry(services: Services, prepared: _Prepared) -> None:
    found = survey(services.store, services.artifacts, prepared.plan)
    with services.store.write() as session:
        now, known = datetime.now(UTC), find_search(session, prepared.plan_id)
        if known is None:
            plan_id, steps = prepared.plan_id, prepared.plan.steps
            create_plan(session, plan_id, steps, found, now, project=prepared.project, layout=prepared.stored)
        elif known.phase in ("failed", "cancelled"):
            retry_plan(session, known.plan, now)


def _require_search(session: Session, project: str, name: str, search: StepId) -> Search:
    """Raises NotFound, for another project's too."""
    owner = require_registered(session, Upstream, name, project).project
    found = find_search(session, search_plan_id(project, owner, name, search))
    if found is None:
        raise NotFound(
            f"upstream {name!r} has no search {search!r}: searches are removed after a while; POST "
            f"/v1/upstreams/{name}/search asks again"
        )
    return found


def is_under_way(services: Services, project: str, name: str, search: StepId) -> bool:
    """Raises NotFound."""
    with services.store.read() as session:
        return _require_search(session, project, name, search).phase in ACTIVE


def view_of_search(services: Services, project: str, name: str, search: StepId) -> SearchView:
    """Raises NotFound, or Transient."""
    with services.store.read() as session:
        found = _require_search(session, project, name, search)
        problems = problems_of(session, [found.plan]).get(found.plan, ())
        if found.phase in ACTIVE:
            problems = outages_of(session, [found.plan]).get(found.plan, ())
    done = _result(services, found) if found.phase == "succeeded" else None
    asked = found.asked
    return SearchView(
        id=asked.step,
        upstream=asked.upstream,
        text=asked.text,
        image=asked.image,
        like=asked.like,
        search_in=asked.search_in,
        limit=asked.limit,
        # A result that was lost is being computed again.
        phase="running" if found.phase == "succeeded" and done is None else found.phase,
        files=asked.files,
        all_files=asked.all_files,
        searched=None if done is None else done.images,
        results=() if done is None else tuple(_found_image(asked, hit) for hit in done.hits),
        problems=problems,
        created_at=found.created_at,
    )


def _result(services: Services, search: Search) -> UpstreamSearched | None:
    """None where it was lost, and is computed again."""
    try:
        return services.artifacts.result(SEARCH_UPSTREAM, search.asked.step)
    except MissingObject:
        heal(services, search.plan)
        return None


def _found_image(asked: StoredSearch, hit: SearchHit) -> FoundImage:
    images = f"/v1/upstreams/{asked.upstream}/searches/{asked.step}/images"
    return FoundImage(
        id=hit.image,
        score=None if hit.score is None or math.isnan(hit.score) else hit.score,
        caption=hit.caption,
        source_key=hit.source_key,
        url=f"{images}/{quote(hit.image, safe='')}" if hit.shard else None,
        link=None if hit.shard else hit.source_key,
    )


def read_found_image(services: Services, project: str, name: str, search: StepId, image: str) -> bytes:
    """By range from its shard, compared with its digest. Raises NotFound, or Transient."""
    with services.store.read() as session:
        found = _require_search(session, project, name, search)
    done = _result(services, found) if found.phase == "succeeded" else None
    hit = next((each for each in (done.hits if done else ()) if each.image == image and each.shard), None)
    if hit is None or hit.shard is None:
        raise NotFound(f"this search has found no image {image!r}, or the image is behind a link")
    return services.artifacts.get_image(image, hit.shard, hit.offset, hit.length)


def failure_of(view: SearchView) -> Invalid:
    """Why a search that was waited for failed, with what of the request was at fault."""
    problem = view.problems[0] if view.problems else _CANCELLED
    if problem.code in OF_A_FIELD:
        error = FieldError(pointer=OF_A_FIELD[problem.code], detail=problem.detail)
        return Invalid(problem.detail, code=problem.code, errors=(error,))
    return SearchFailed(f"{problem.title}: {problem.detail}")


_CANCELLED = Problem(title="Cancelled", status=409, code="search_failed", detail="the search was cancelled")


class Answered(NamedTuple):
    view: SearchView
    in_time: bool


class Waiting:
    """Those who wait for a search. A wait takes no thread: between looks at one row it sleeps on the event loop."""

    def __init__(self, patience: float) -> None:
        self._patience, self._waiting = patience, 0

    async def until(self, is_over: Callable[[], bool]) -> bool:
        """Whether it was over in time."""
        with_patience = self._waiting < MOST_WAITING
        ends = time.monotonic() + (self._patience if with_patience else 0)
        async with self._one_more():
            while not await run_in_threadpool(is_over):
                if time.monotonic() >= ends:
                    return False
                await asyncio.sleep(min(LOOK_SECONDS, self._patience))
        return True

    @asynccontextmanager
    async def _one_more(self) -> AsyncIterator[None]:
        self._waiting += 1
        try:
            yield
        finally:
            self._waiting -= 1


async def search_now(request: Request, services: Services, project: str, name: str, asked: UpstreamSearch) -> Answered:
    """Submits a search and waits a moment for its end. Raises as `submit_search` does."""
    search = await run_in_threadpool(submit_search, services, project, name, asked)
    waiting: Waiting = request.app.state.searches
    await waiting.until(lambda: not is_under_way(services, project, name, search))
    view = await run_in_threadpool(view_of_search, services, project, name, search)
    return Answered(view, view.phase not in ACTIVE)

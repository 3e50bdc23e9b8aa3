"""Searches of upstreams in SQL: each is a plan of one step, of the project that asked, until it is collected."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Select, func, select
from sqlalchemy.orm import Session
from touchstone_contracts.identity import identity
from touchstone_contracts.steps import EmbeddedShard
from touchstone_contracts.values import StepId
from touchstone_contracts.views import Phase
from touchstone_planning.search import StoredSearch
from touchstone_planning.state import ACTIVE

from touchstone_store.database import Store
from touchstone_store.deletion import delete_plan
from touchstone_store.layouts import upstream_layout
from touchstone_store.plans import lock_plans
from touchstone_store.steps import succeeded_among
from touchstone_store.tables import PlanRow

SEARCH_PLANS = "search/"
"""Prefix of the ids of plans that search an upstream."""
_ID_DIGITS = 40
_DELETED_AT_A_TIME = 200
_SEARCHES = PlanRow.id.startswith(SEARCH_PLANS, autoescape=True)


@dataclass(frozen=True)
class Search:
    plan: str
    asked: StoredSearch
    phase: Phase
    created_at: datetime


def search_plan_id(project: str, owner: str, upstream: str, step: StepId) -> str:
    """`project`: who searches; `owner`: who registered the upstream."""
    return SEARCH_PLANS + identity([project, owner, upstream, step])[:_ID_DIGITS]


def find_search(session: Session, plan: str) -> Search | None:
    row = session.get(PlanRow, plan, populate_existing=True)
    if row is None or row.layout is None:
        return None
    phase: Phase = row.phase  # type: ignore[assignment]  # the column holds nothing else
    return Search(plan, StoredSearch.model_validate(row.layout), phase, row.created_at)


def active_searches(session: Session, project: str) -> int:
    query = select(func.count()).where(PlanRow.project_id == project, PlanRow.phase.in_(sorted(ACTIVE)), _SEARCHES)
    return session.scalar(query) or 0


def searchable_shards(session: Session, upstream_plan: str) -> tuple[Sequence[EmbeddedShard], int]:
    """The shards of an upstream that are ingested and embedded, and how many it has. Raises NotFound."""
    shards = upstream_layout(session, upstream_plan).shards
    done = succeeded_among(session, {step for shard in shards for step in (shard.images, shard.embeddings)})
    return [shard for shard in shards if {shard.images, shard.embeddings} <= done], len(shards)


def old_searches(before: datetime) -> Select[str]:
    """The plans of searches that have ended and were asked for before."""
    return select(PlanRow.id).where(_SEARCHES, PlanRow.phase.not_in(sorted(ACTIVE)), PlanRow.created_at < before)


def delete_searches(store: Store, plans: Sequence[str]) -> int:
    """Those of `plans` that have ended still; how many. Their steps stay until they are collected."""
    deleted = 0
    for first in range(0, len(plans), _DELETED_AT_A_TIME):
        with store.write() as session:
            rows = lock_plans(session, plans[first : first + _DELETED_AT_A_TIME])
            ended = [plan for plan, row in rows.items() if row.phase not in ACTIVE]
            for plan in ended:
                delete_plan(session, plan)
            deleted += len(ended)
    return deleted

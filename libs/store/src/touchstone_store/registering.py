"""Putting an entry into the catalogue, with the ingest of an upstream: gather what exists, then create everything in
one transaction or nothing."""

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime

from sqlalchemy.orm import Session
from touchstone_contracts.catalogue import Encoder, Entry, Upstream
from touchstone_contracts.messages import StepManifest
from touchstone_contracts.values import StepId
from touchstone_planning.dag import Plan
from touchstone_planning.plan import plan_upstream
from touchstone_runtime.artifacts import Artifacts

from touchstone_store.catalogue import find_entry, kind_of, register
from touchstone_store.contention import created_or_found
from touchstone_store.database import Store
from touchstone_store.idempotency import digest_of_posted, remember
from touchstone_store.layouts import upstream_plan_id
from touchstone_store.plans import Survey, create_plan
from touchstone_store.projects import limits_of
from touchstone_store.steps import succeeded_among

SURVEY_THREADS = 8


def survey(store: Store, artifacts: Artifacts, plan: Plan) -> Survey:
    """Which of the plan's results the object store has, whatever SQL believes: their manifests are read, of their blobs
    existence and sizes are compared. Raises Transient."""
    ids = [step.id for step in plan.steps]
    with store.read() as session:
        believed = succeeded_among(session, ids)
    with ThreadPoolExecutor(SURVEY_THREADS) as pool:
        results = pool.map(artifacts.present, ids)
        verified: dict[StepId, StepManifest] = {
            step: manifest for step, manifest in zip(ids, results, strict=True) if manifest is not None
        }
    return Survey(verified=verified, lost=believed - set(verified))


def register_entry(store: Store, project: str, entry: Entry, idempotency_key: str | None = None) -> bool:
    """What takes no steps. Whether it is new. Raises KeyReused, NameTaken or Transient."""

    def attempt() -> bool:
        with store.write() as session:
            return _register(session, project, entry, idempotency_key, datetime.now(UTC))

    return created_or_found(attempt, "the same is being registered by others")


def register_upstream(
    store: Store,
    artifacts: Artifacts,
    project: str,
    upstream: Upstream,
    encoder: Encoder,
    idempotency_key: str | None = None,
    traceparent: str | None = None,
) -> bool:
    """With the start of its ingest; `encoder` is its index encoder. Whether it is new. Raises KeyReused, NameTaken or
    Transient."""
    with store.read() as session:
        known = find_entry(session, Upstream, upstream.name, project) is not None
        sources = limits_of(session, project).sources if upstream.has_links else None
    plan = plan_upstream(upstream, encoder, None if sources is None else sources.hosts_of_links)
    artifacts.put_facts(plan.facts.blobs)

    def attempt() -> bool:
        found = Survey() if known else survey(store, artifacts, plan)
        with store.write() as session:
            now = datetime.now(UTC)
            if created := _register(session, project, upstream, idempotency_key, now):
                create_plan(
                    session,
                    upstream_plan_id(upstream.name, project),
                    plan.steps,
                    found,
                    now,
                    traceparent,
                    project=project,
                    layout=plan.upstream,
                )
        return created

    return created_or_found(attempt, "other work with the same steps is being created")


def _register(session: Session, project: str, entry: Entry, idempotency_key: str | None, now: datetime) -> bool:
    if idempotency_key:
        remember(session, project, idempotency_key, digest_of_posted(kind_of(type(entry)), entry), now)
    return register(session, entry, project, now)

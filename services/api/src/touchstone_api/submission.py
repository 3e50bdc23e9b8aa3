"""Posting work: gather what exists, decide, create everything in one transaction or nothing."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime

from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session
from touchstone_contracts.catalogue import Encoder, Upstream
from touchstone_contracts.experiment import ExperimentSpec
from touchstone_contracts.identity import identity
from touchstone_contracts.messages import StepManifest
from touchstone_contracts.problems import FieldError, Invalid, Transient
from touchstone_contracts.registration import Parent
from touchstone_contracts.values import StepId
from touchstone_planning.dag import Plan
from touchstone_planning.fairness import check_fair
from touchstone_planning.layout import StoredPlan
from touchstone_planning.limits import check_size
from touchstone_planning.plan import plan_experiment, plan_upstream, stored_plan
from touchstone_planning.resolve import resolve
from touchstone_planning.resolved import ResolvedExperiment
from touchstone_runtime.artifacts import Artifacts
from touchstone_store.catalogue import RegisteredNames, find_entry, register
from touchstone_store.database import Store
from touchstone_store.experiments import experiment_with_identity, new_experiment_id
from touchstone_store.layouts import upstream_layout, upstream_plan_id
from touchstone_store.plans import Survey, create_plan
from touchstone_store.steps import succeeded_among
from touchstone_store.tables import ExperimentRow, IdempotencyKeyRow

from touchstone_api.bootstrap import Services
from touchstone_api.registration import registered_facts

SURVEY_THREADS = 8
DIGEST_SAMPLES = 24
"""Found steps of which one blob is read and hashed; of the others existence and sizes are compared."""
TRIES = 4
"""Another process may create the same steps at the same moment; the second try finds them."""


@dataclass(frozen=True)
class Submitted:
    id: str
    created: bool


def survey(store: Store, artifacts: Artifacts, plan: Plan) -> Survey:
    """Which of the plan's results the object store has, whatever SQL believes. Raises Transient."""
    ids = [step.id for step in plan.steps]
    with store.read() as session:
        believed = succeeded_among(session, ids)
    with ThreadPoolExecutor(SURVEY_THREADS) as pool:
        present = [step for step, found in zip(ids, pool.map(artifacts.manifest, ids), strict=True) if found]
        stride = max(1, len(present) // DIGEST_SAMPLES)
        samples = [1 if number % stride == 0 else 0 for number in range(len(present))]
        results = pool.map(lambda step, sample: artifacts.verified(step, sample=sample), present, samples)
        verified: dict[StepId, StepManifest] = {
            step: manifest for step, manifest in zip(present, results, strict=True) if manifest is not None
        }
    return Survey(verified=verified, lost=believed - set(verified))


def submit_experiment(
    services: Services, spec: ExperimentSpec, idempotency_key: str | None = None, parent: Parent | None = None
) -> Submitted:
    """Creates the experiment and freezes what it declares, or finds the one with the same identity. `parent`: what it
    was cloned from. Raises Invalid, Unfair or Transient; then nothing has been created."""
    with services.traces.span("plan experiment") as span:
        submitted = _submit_experiment(services, spec, idempotency_key, parent, span.traceparent)
        span.tell(experiment=submitted.id, created=submitted.created)
    return submitted


@dataclass(frozen=True)
class Prepared:
    """An experiment that may be created, with everything that is to be stored of it."""

    resolved: ResolvedExperiment
    plan: Plan
    stored: StoredPlan

    @property
    def identity(self) -> str:
        """Of what is asked and of the contracts it is answered by: under later ones it is another experiment."""
        return identity({"experiment": self.resolved, "versions": self.stored.versions})


def prepare(session: Session, spec: ExperimentSpec, most_steps: int) -> Prepared:
    """Raises Invalid or Unfair with JSON pointers into the spec."""
    resolved = resolve(spec, RegisteredNames(session))
    check_fair(resolved)
    check_size(resolved, most_steps)
    plan = plan_experiment(resolved, upstream_layout(session, spec.upstream))
    return Prepared(resolved, plan, stored_plan(plan))


def _submit_experiment(
    services: Services,
    spec: ExperimentSpec,
    idempotency_key: str | None,
    parent: Parent | None,
    traceparent: str | None,
) -> Submitted:
    body_digest = identity(spec)
    with services.store.read() as session:
        if idempotency_key and (earlier := _experiment_of_key(session, idempotency_key, body_digest)):
            return Submitted(earlier, created=False)
        prepared = prepare(session, spec, services.settings.max_plan_steps)
        known = experiment_with_identity(session, prepared.identity)
    # Also of a known one: what is there is not written again, and what was lost is.
    services.artifacts.put_facts(prepared.plan.facts.blobs)
    for _ in range(TRIES):
        found = Survey() if known else survey(services.store, services.artifacts, prepared.plan)
        try:
            with services.store.write() as session:
                submitted = _create_or_find(session, prepared, found, parent, traceparent)
                if idempotency_key:
                    _remember_key(session, idempotency_key, body_digest, submitted.id)
            return submitted
        except IntegrityError:
            continue
    raise Transient("other experiments with the same steps are being created; try again", code="contended")


def _create_or_find(
    session: Session, prepared: Prepared, found: Survey, parent: Parent | None, traceparent: str | None
) -> Submitted:
    if known := experiment_with_identity(session, prepared.identity):
        return Submitted(known.id, created=False)
    experiment, now, resolved, plan = new_experiment_id(), datetime.now(UTC), prepared.resolved, prepared.plan
    needs = upstream_plan_id(resolved.upstream.name) if plan.waits_for_others else None
    create_plan(session, experiment, plan.steps, found, now, traceparent, needs=needs, layout=prepared.stored)
    registered = registered_facts(resolved.spec, prepared.identity, prepared.stored.layout, found.verified, parent, now)
    session.add(
        ExperimentRow(
            id=experiment,
            identity=prepared.identity,
            name=resolved.spec.name,
            spec=resolved.spec.model_dump(mode="json"),
            resolved=resolved.model_dump(mode="json"),
            registration=registered.text(),
            created_at=now,
        )
    )
    session.flush()
    return Submitted(experiment, created=True)


def _experiment_of_key(session: Session, key: str, body_digest: str) -> str | None:
    row = session.get(IdempotencyKeyRow, key)
    if row is None:
        return None
    if row.body_digest != body_digest:
        raise Invalid("this Idempotency-Key was used with another body", code="idempotency_key_reused")
    return row.experiment_id


def _remember_key(session: Session, key: str, body_digest: str, experiment: str) -> None:
    if _experiment_of_key(session, key, body_digest) is None:
        session.add(
            IdempotencyKeyRow(key=key, body_digest=body_digest, experiment_id=experiment, created_at=datetime.now(UTC))
        )


def submit_upstream(services: Services, upstream: Upstream) -> bool:
    """Registers the upstream and starts its ingest. Whether it is new. Raises Invalid, NameTaken or Transient."""
    with services.traces.span("plan upstream", upstream=upstream.name) as span:
        created = _submit_upstream(services, upstream, span.traceparent)
        span.tell(created=created)
    return created


def _submit_upstream(services: Services, upstream: Upstream, traceparent: str | None) -> bool:
    with services.store.read() as session:
        encoder = find_entry(session, Encoder, upstream.index_encoder)
        known = find_entry(session, Upstream, upstream.name) is not None
    if encoder is None:
        problem = FieldError(pointer="/index_encoder", detail=f"no encoder named {upstream.index_encoder!r}")
        raise Invalid("the index encoder is not registered", code="unknown_name", errors=(problem,))
    if not encoder.has_text_tower:
        problem = FieldError(pointer="/index_encoder", detail=f"encoder {encoder.name!r} has no text tower")
        raise Invalid("an upstream is searched by text", code="no_text_tower", errors=(problem,))
    plan = plan_upstream(upstream, encoder)
    services.artifacts.put_facts(plan.facts.blobs)
    for _ in range(TRIES):
        found = Survey() if known else survey(services.store, services.artifacts, plan)
        try:
            with services.store.write() as session:
                now = datetime.now(UTC)
                if created := register(session, upstream, now):
                    plan_id = upstream_plan_id(upstream.name)
                    create_plan(session, plan_id, plan.steps, found, now, traceparent, layout=plan.upstream)
            return created
        except IntegrityError:
            continue
    raise Transient("other work with the same steps is being created; try again", code="contended")

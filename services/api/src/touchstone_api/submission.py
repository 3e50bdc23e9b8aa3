"""Posting work: gather what exists, decide, create everything in one transaction or nothing."""

from dataclasses import dataclass
from datetime import UTC, datetime

from sqlalchemy.orm import Session
from touchstone_contracts.access import DEFAULT_PROJECT
from touchstone_contracts.catalogue import Encoder, Entry, Upstream
from touchstone_contracts.experiment import ExperimentSpec
from touchstone_contracts.identity import identity
from touchstone_contracts.problems import FieldError, Invalid
from touchstone_contracts.registration import Parent
from touchstone_contracts.suggestions import unknown
from touchstone_planning.dag import Plan
from touchstone_planning.fairness import check_fair
from touchstone_planning.layout import StoredPlan
from touchstone_planning.limits import check_size
from touchstone_planning.plan import plan_experiment, stored_plan
from touchstone_planning.resolve import Found, resolve_names
from touchstone_planning.resolved import ResolvedExperiment
from touchstone_store.catalogue import RegisteredNames, require_registered
from touchstone_store.contention import created_or_found
from touchstone_store.experiments import experiment_with_identity, new_experiment_id
from touchstone_store.idempotency import recall, remember
from touchstone_store.layouts import upstream_layout, upstream_plan_id
from touchstone_store.listing import facets_of
from touchstone_store.plans import Survey, create_plan
from touchstone_store.registering import register_entry, register_upstream, survey
from touchstone_store.tables import ExperimentFacetRow, ExperimentRow

from touchstone_api.allowed import ProjectPolicy
from touchstone_api.bootstrap import Services
from touchstone_api.healing import heal
from touchstone_api.quota import most_steps_of, require_quota
from touchstone_api.registration import registered_facts
from touchstone_api.settings import ApiSettings


@dataclass(frozen=True)
class Submitted:
    id: str
    created: bool


def submit_experiment(
    services: Services,
    project: str,
    spec: ExperimentSpec,
    idempotency_key: str | None = None,
    parent: Parent | None = None,
) -> Submitted:
    """Creates the experiment and freezes what it declares, or finds the project's with the same identity.

    `parent`: what it was cloned from. Raises SourceNotAllowed, Invalid, Unfair, QuotaExceeded or Transient; then
    nothing is created."""
    with services.traces.span("plan experiment") as span:
        submitted = _submit_experiment(services, project, spec, idempotency_key, parent, span.traceparent)
        span.tell(experiment=submitted.id, created=submitted.created)
    return submitted


@dataclass(frozen=True)
class Prepared:
    """An experiment that may be created, with everything that is to be stored of it."""

    project: str
    resolved: ResolvedExperiment
    plan: Plan
    stored: StoredPlan
    upstream: str
    """The id of the plan that ingests its upstream."""

    @property
    def identity(self) -> str:
        """Of what is asked and of the contracts it is answered by: under later ones it is another experiment. Every
        project has experiments of its own; steps are named without their project, so what one computed others find."""
        asked = {"experiment": self.resolved, "versions": self.stored.versions}
        return identity(asked if self.project == DEFAULT_PROJECT else asked | {"project": self.project})


def resolve_fairly(session: Session, project: str, spec: ExperimentSpec, settings: ApiSettings) -> ResolvedExperiment:
    """What may be planned; what is registered was allowed by the installation when it was, and is by its project today.
    Raises SourceNotAllowed, Invalid or Unfair with JSON pointers into the spec."""
    policy, names = ProjectPolicy(session, project, settings.allowed_sources), RegisteredNames(session, project)
    policy.require_document(spec)
    named, found = resolve_names(spec, names, names.names)
    policy.require_registered(found, names)
    resolved = named.model_copy(update={"hosts_of_links": policy.hosts_of_links(named.upstream, names)})
    check_fair(resolved)
    check_size(resolved, most_steps_of(session, project, settings.max_plan_steps))
    return resolved


def prepare(session: Session, project: str, spec: ExperimentSpec, settings: ApiSettings) -> Prepared:
    """As `resolve_fairly`."""
    resolved = resolve_fairly(session, project, spec, settings)
    upstream = upstream_plan_id(spec.upstream, require_registered(session, Upstream, spec.upstream, project).project)
    plan = plan_experiment(resolved, upstream_layout(session, upstream))
    return Prepared(project, resolved, plan, stored_plan(plan), upstream)


def _submit_experiment(
    services: Services,
    project: str,
    spec: ExperimentSpec,
    idempotency_key: str | None,
    parent: Parent | None,
    traceparent: str | None,
) -> Submitted:
    body_digest = identity(spec)
    with services.store.read() as session:
        if idempotency_key:
            earlier = recall(session, project, idempotency_key, body_digest)
            if earlier and earlier.experiment_id:
                return Submitted(earlier.experiment_id, created=False)
        prepared = prepare(session, project, spec, services.settings)
        known = experiment_with_identity(session, prepared.identity)
        if known is None:
            asked = (prepared.resolved, prepared.plan)
            require_quota(session, project, *asked, services.settings.quota_bytes, datetime.now(UTC))
    # Also of a known one: what is there is not written again, and what was lost is.
    services.artifacts.put_facts(prepared.plan.facts.blobs)
    if known and known.phase == "succeeded":
        heal(services, known.id)

    def attempt() -> Submitted:
        found = Survey() if known else survey(services.store, services.artifacts, prepared.plan)
        with services.store.write() as session:
            submitted = _create_or_find(session, prepared, found, parent, traceparent)
            if idempotency_key:
                remember(session, project, idempotency_key, body_digest, datetime.now(UTC), submitted.id)
        return submitted

    return created_or_found(attempt, "other experiments with the same steps are being created")


def _create_or_find(
    session: Session, prepared: Prepared, found: Survey, parent: Parent | None, traceparent: str | None
) -> Submitted:
    if known := experiment_with_identity(session, prepared.identity):
        return Submitted(known.id, created=False)
    experiment, now, resolved, plan = new_experiment_id(), datetime.now(UTC), prepared.resolved, prepared.plan
    create_plan(
        session,
        experiment,
        plan.steps,
        found,
        now,
        traceparent,
        project=prepared.project,
        needs=prepared.upstream if plan.waits_for_others else None,
        layout=prepared.stored,
    )
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
    session.add_all(
        ExperimentFacetRow(experiment_id=experiment, facet=facet, value=value)
        for facet, value in facets_of(resolved.spec)
    )
    return Submitted(experiment, created=True)


def submit_entry(services: Services, project: str, entry: Entry, idempotency_key: str | None = None) -> bool:
    """Registers what takes no steps. Whether it is new. Raises SourceNotAllowed, KeyReused, NameTaken or Transient."""
    with services.store.read() as session:
        ProjectPolicy(session, project, services.settings.allowed_sources).require_document(entry)
    return register_entry(services.store, project, entry, idempotency_key)


def submit_upstream(services: Services, project: str, upstream: Upstream, idempotency_key: str | None = None) -> bool:
    """Registers the upstream and starts its ingest. Whether it is new. Raises SourceNotAllowed, Invalid, NameTaken
    or Transient."""
    with services.traces.span("plan upstream", upstream=upstream.name) as span:
        with services.store.read() as session:
            policy = ProjectPolicy(session, project, services.settings.allowed_sources)
            policy.require_document(upstream)
            encoder = index_encoder(policy, upstream.index_encoder)
        created = register_upstream(
            services.store, services.artifacts, project, upstream, encoder, idempotency_key, span.traceparent
        )
        span.tell(created=created)
    return created


def index_encoder(policy: ProjectPolicy, name: str) -> Encoder:
    """Raises Invalid or SourceNotAllowed."""
    pointer, names = "/index_encoder", RegisteredNames(policy.session, policy.project)
    encoder = names.encoder(name)
    if encoder is None:
        problem = FieldError(pointer=pointer, detail=unknown("encoder", name, names.names("encoder")))
        raise Invalid("the index encoder is not registered", code="unknown_name", errors=(problem,))
    if not encoder.has_text_tower:
        problem = FieldError(pointer=pointer, detail=f"encoder {encoder.name!r} has no text tower")
        raise Invalid("an upstream is searched by text", code="no_text_tower", errors=(problem,))
    policy.require_registered([Found(pointer, encoder)], names)
    return encoder

"""The tables. SQL holds intent: what is wanted, who works on it, what happened. Results are in the object store."""

from datetime import UTC, datetime
from typing import Any

from sqlalchemy import JSON, BigInteger, Dialect, ForeignKey, Index, String, Text, UniqueConstraint, false, text
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column
from sqlalchemy.types import DateTime, TypeDecorator
from touchstone_contracts.access import DEFAULT_PROJECT


class UtcDateTime(TypeDecorator[datetime]):
    """Aware datetimes in UTC on every database; SQLite itself keeps no time zone."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        return None if value is None else value.astimezone(UTC)

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


class Base(DeclarativeBase):
    type_annotation_map = {datetime: UtcDateTime, dict[str, Any]: JSON(none_as_null=True)}  # noqa: RUF012  # SQLAlchemy's own protocol


class ProjectRow(Base):
    """Whom experiments, registered things and keys belong to."""

    __tablename__ = "projects"

    id: Mapped[str] = mapped_column(String(12), primary_key=True)
    """Never changes, and is part of the ids of the plans of its upstreams."""
    name: Mapped[str] = mapped_column(String(64), unique=True)
    limits: Mapped[dict[str, Any]]
    """See contracts/access.py."""
    created_at: Mapped[datetime]


class ApiKeyRow(Base):
    __tablename__ = "api_keys"
    __table_args__ = (Index("api_keys_by_project", "project_id", "id"),)

    id: Mapped[str] = mapped_column(String(32), primary_key=True)
    project_id: Mapped[str] = mapped_column(ForeignKey("projects.id"))
    digest: Mapped[str] = mapped_column(String(64), unique=True)
    """sha256 of the key, which is long and random."""
    prefix: Mapped[str] = mapped_column(String(16))
    label: Mapped[str] = mapped_column(String(100))
    scope: Mapped[str] = mapped_column(String(12))
    created_at: Mapped[datetime]
    expires_at: Mapped[datetime | None]
    revoked_at: Mapped[datetime | None]


class LoginRow(Base):
    """A browser that somebody has logged in with."""

    __tablename__ = "logins"

    digest: Mapped[str] = mapped_column(String(64), primary_key=True)
    """sha256 of the cookie."""
    project_id: Mapped[str] = mapped_column(ForeignKey("projects.id"))
    key_id: Mapped[str | None] = mapped_column(ForeignKey("api_keys.id"))
    """The key that it was logged in with: the login ends with the key. None for a person of an identity provider."""
    subject: Mapped[str] = mapped_column(String(200))
    scope: Mapped[str] = mapped_column(String(12))
    csrf: Mapped[str] = mapped_column(String(64))
    expires_at: Mapped[datetime]


class AuditRow(Base):
    """A request that could change something: written before it is done, its status after."""

    __tablename__ = "audit"
    __table_args__ = (Index("audit_by_project", "project_id", "id"), {"sqlite_autoincrement": True})

    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=True)
    project_id: Mapped[str] = mapped_column(ForeignKey("projects.id"))
    at: Mapped[datetime]
    actor: Mapped[str] = mapped_column(String(220))
    action: Mapped[str] = mapped_column(String(80))
    object: Mapped[str] = mapped_column(String(300))
    status: Mapped[int | None]
    request_id: Mapped[str | None] = mapped_column(String(64))


class PlanRow(Base):
    """Somebody who wants steps done: an experiment (`exp_...`), an upstream (`upstream/<name>`), a location that is
    looked at (`describe/...`) or a search (`search/...`).

    Phase and counts follow from the steps; plans.py keeps them in the transaction that changes a step. A plan is active
    while it is queued or running; only active plans' steps are handed out."""

    __tablename__ = "plans"
    __table_args__ = (
        Index("plans_by_phase", "phase", "id"),
        Index("plans_by_needs", "needs", "phase"),
        Index("plans_by_history", "history_compacted", "finished_at"),
        Index("plans_by_project", "project_id", "phase", "id"),
    )

    id: Mapped[str] = mapped_column(String(80), primary_key=True)
    created_at: Mapped[datetime]
    cancelled_at: Mapped[datetime | None]
    finished_at: Mapped[datetime | None]
    """When the phase became one that ends a plan; None while it is active."""
    phase: Mapped[str] = mapped_column(String(12), default="queued")
    waiting: Mapped[int] = mapped_column(default=0)
    leased: Mapped[int] = mapped_column(default=0)
    succeeded: Mapped[int] = mapped_column(default=0)
    failed: Mapped[int] = mapped_column(default=0)
    total: Mapped[int] = mapped_column(default=0)
    reused: Mapped[int] = mapped_column(default=0)
    reused_by_kind: Mapped[dict[str, Any]] = mapped_column(default=dict)
    needs: Mapped[str | None] = mapped_column(ForeignKey("plans.id"))
    """The plan that this one waits for: its upstream's. Its steps are not repeated here."""
    layout: Mapped[dict[str, Any] | None] = mapped_column(deferred=True)
    """Where results come from: see contracts/layout.py. Read when it is asked for, because it is long."""
    history_compacted: Mapped[bool] = mapped_column(default=False)
    """See events.py."""
    traceparent: Mapped[str | None] = mapped_column(String(55))
    """W3C context of the span that made the plan; None where traces were off."""
    project_id: Mapped[str] = mapped_column(String(12), default=DEFAULT_PROJECT, server_default=DEFAULT_PROJECT)
    shared: Mapped[bool] = mapped_column(default=False, server_default=false())
    """Whether other projects may read the experiment."""


class ExperimentRow(Base):
    __tablename__ = "experiments"

    id: Mapped[str] = mapped_column(ForeignKey("plans.id"), primary_key=True)
    identity: Mapped[str] = mapped_column(String(64), unique=True)
    name: Mapped[str] = mapped_column(String(200))
    spec: Mapped[dict[str, Any]]
    resolved: Mapped[dict[str, Any]]
    registration: Mapped[str | None] = mapped_column(Text, deferred=True)
    """See contracts/registration.py: written once, and never changed."""
    created_at: Mapped[datetime]
    archived_at: Mapped[datetime | None]
    """When it was put away; lists leave it out then."""


class ExperimentFacetRow(Base):
    """What an experiment is found by: its upstream, encoder, targets, arms, and the tags that people give it."""

    __tablename__ = "experiment_facets"
    __table_args__ = (Index("experiment_facets_by_value", "facet", "value", "experiment_id"),)

    experiment_id: Mapped[str] = mapped_column(ForeignKey("experiments.id"), primary_key=True)
    facet: Mapped[str] = mapped_column(String(10), primary_key=True)
    value: Mapped[str] = mapped_column(String(64), primary_key=True)


_LEASED = text("state = 'leased'")
_SUCCEEDED = text("state = 'succeeded'")


class StepRow(Base):
    """A step is shared by every plan that needs it."""

    __tablename__ = "steps"
    __table_args__ = (
        Index("steps_leased", "queue", "lease_expires_at", sqlite_where=_LEASED, postgresql_where=_LEASED),
        Index("steps_finished", "kind", "finished_at", sqlite_where=_SUCCEEDED, postgresql_where=_SUCCEEDED),
    )

    id: Mapped[str] = mapped_column(String(64), primary_key=True)
    kind: Mapped[str] = mapped_column(String(40))
    version: Mapped[int]
    queue: Mapped[str] = mapped_column(String(40))
    request: Mapped[dict[str, Any]]
    state: Mapped[str] = mapped_column(String(12))
    attempt: Mapped[int] = mapped_column(default=0)
    failures: Mapped[int] = mapped_column(default=0)
    lease_expires_at: Mapped[datetime | None]
    not_before: Mapped[datetime | None]
    done: Mapped[int] = mapped_column(default=0)
    total: Mapped[int | None]
    worker: Mapped[str | None] = mapped_column(String(200))
    problem: Mapped[dict[str, Any] | None]
    log_tail: Mapped[str | None] = mapped_column(Text)
    seconds: Mapped[float | None]
    cpu_seconds: Mapped[float | None]
    gpu_seconds: Mapped[float | None]
    created_at: Mapped[datetime]
    started_at: Mapped[datetime | None]
    """When the current attempt started; None while its message waits in the queue."""
    finished_at: Mapped[datetime | None]
    headline: Mapped[str | None] = mapped_column(Text)


class LiveWorkersRow(Base):
    """How many workers of a queue live, as the conductor last counted them; see live_workers.py."""

    __tablename__ = "live_workers"

    queue: Mapped[str] = mapped_column(String(40), primary_key=True)
    workers: Mapped[int]
    noted_at: Mapped[datetime]


class StepInputRow(Base):
    __tablename__ = "step_inputs"
    __table_args__ = (Index("step_inputs_by_input", "input_id"),)

    step_id: Mapped[str] = mapped_column(ForeignKey("steps.id"), primary_key=True)
    input_id: Mapped[str] = mapped_column(ForeignKey("steps.id"), primary_key=True)


class PlanStepRow(Base):
    __tablename__ = "plan_steps"
    __table_args__ = (Index("plan_steps_by_step", "step_id"),)

    plan_id: Mapped[str] = mapped_column(ForeignKey("plans.id"), primary_key=True)
    step_id: Mapped[str] = mapped_column(ForeignKey("steps.id"), primary_key=True)
    position: Mapped[int]
    """Topological order within the plan."""
    role: Mapped[str] = mapped_column(String(300))
    reused: Mapped[bool]


class EventRow(Base):
    __tablename__ = "events"
    __table_args__ = (Index("events_by_plan", "plan_id", "id"), {"sqlite_autoincrement": True})

    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=True)
    plan_id: Mapped[str] = mapped_column(ForeignKey("plans.id"))
    event: Mapped[str] = mapped_column(String(40))
    data: Mapped[dict[str, Any]]
    at: Mapped[datetime]


class CatalogueRow(Base):
    """A registered thing. A project gives a name to one body for ever: finished experiments refer to it."""

    __tablename__ = "catalogue"

    kind: Mapped[str] = mapped_column(String(20), primary_key=True)
    project_id: Mapped[str] = mapped_column(ForeignKey("projects.id"), primary_key=True)
    name: Mapped[str] = mapped_column(String(64), primary_key=True)
    body: Mapped[dict[str, Any]]
    shared: Mapped[bool] = mapped_column(default=False, server_default=false())
    """Whether other projects may use it, in experiments of their own."""
    created_at: Mapped[datetime]


class DescriptionRow(Base):
    """What is to be registered once a worker has looked at its location; see descriptions.py."""

    __tablename__ = "descriptions"

    kind: Mapped[str] = mapped_column(String(20), primary_key=True)
    """Of what it becomes in the catalogue."""
    project_id: Mapped[str] = mapped_column(ForeignKey("projects.id"), primary_key=True)
    name: Mapped[str] = mapped_column(String(64), primary_key=True)
    body: Mapped[dict[str, Any]]
    """As it was asked for, with what stood open filled in."""
    plan_id: Mapped[str] = mapped_column(ForeignKey("plans.id"))
    """Whose one step looks at the location."""
    step_id: Mapped[str] = mapped_column(String(64))
    problem: Mapped[dict[str, Any] | None]
    """Why it could not be registered."""
    notes: Mapped[dict[str, Any] | None]
    created_at: Mapped[datetime]
    registered_at: Mapped[datetime | None]


class IdempotencyKeyRow(Base):
    __tablename__ = "idempotency_keys"

    key: Mapped[str] = mapped_column(String(200), primary_key=True)
    body_digest: Mapped[str] = mapped_column(String(64))
    experiment_id: Mapped[str | None] = mapped_column(ForeignKey("experiments.id"))
    """None of a request that registered something."""
    created_at: Mapped[datetime]


class WebhookRow(Base):
    __tablename__ = "webhooks"
    __table_args__ = (UniqueConstraint("project_id", "url"),)

    id: Mapped[str] = mapped_column(String(40), primary_key=True)
    project_id: Mapped[str] = mapped_column(ForeignKey("projects.id"))
    url: Mapped[str] = mapped_column(String(1000))
    secret: Mapped[str] = mapped_column(Text)
    """Encrypted, because what is sent is signed with it; see webhook_keys.py."""
    created_at: Mapped[datetime]


class WebhookDeliveryRow(Base):
    """Written in the transaction in which an experiment ends; see webhooks.py."""

    __tablename__ = "webhook_deliveries"
    __table_args__ = (Index("webhook_deliveries_due", "state", "next_at"),)

    id: Mapped[str] = mapped_column(String(40), primary_key=True)
    webhook_id: Mapped[str] = mapped_column(ForeignKey("webhooks.id"), index=True)
    experiment: Mapped[str] = mapped_column(String(80))
    """No foreign key: it may be deleted before everybody was told of its end."""
    body: Mapped[str] = mapped_column(Text)
    state: Mapped[str] = mapped_column(String(12))
    attempts: Mapped[int] = mapped_column(default=0)
    next_at: Mapped[datetime | None]
    status: Mapped[int | None]
    problem: Mapped[str | None] = mapped_column(String(200))
    created_at: Mapped[datetime]
    delivered_at: Mapped[datetime | None]


class TakedownRow(Base):
    """What the object store says to workers (keys.takedown_key), for people."""

    __tablename__ = "takedowns"

    id: Mapped[str] = mapped_column(String(64), primary_key=True)
    body: Mapped[dict[str, Any]]
    created_at: Mapped[datetime]
    applied_at: Mapped[datetime | None]
    """When steps were last told to be computed again because of it: what was read of them before may be out of date."""


class TakedownStepRow(Base):
    """A step whose present result was computed with an image that was taken down, and stays."""

    __tablename__ = "takedown_steps"
    __table_args__ = (Index("takedown_steps_by_step", "step_id"),)

    takedown_id: Mapped[str] = mapped_column(ForeignKey("takedowns.id"), primary_key=True)
    step_id: Mapped[str] = mapped_column(ForeignKey("steps.id"), primary_key=True)


class StepBlobRow(Base):
    """What the manifest of a finished step says of its blobs, for sums that the object store would be slow to give."""

    __tablename__ = "step_blobs"
    __table_args__ = (Index("step_blobs_by_digest", "digest", "size"),)

    step_id: Mapped[str] = mapped_column(ForeignKey("steps.id"), primary_key=True)
    digest: Mapped[str] = mapped_column(String(64), primary_key=True)
    size: Mapped[int] = mapped_column(BigInteger)

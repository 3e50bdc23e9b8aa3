"""Plans, experiments, steps, events, catalogue, idempotency keys."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    _catalogue_and_plans()
    _steps()
    _experiments()
    _events()


def moment(name: str, *, nullable: bool = False) -> sa.Column:  # type: ignore[type-arg]
    return sa.Column(name, sa.DateTime(timezone=True), nullable=nullable)


def _catalogue_and_plans() -> None:
    op.create_table(
        "catalogue",
        sa.Column("kind", sa.String(20), primary_key=True),
        sa.Column("name", sa.String(64), primary_key=True),
        sa.Column("body", sa.JSON, nullable=False),
        sa.Column("digest", sa.String(64), nullable=False),
        moment("created_at"),
    )
    op.create_table(
        "plans",
        sa.Column("id", sa.String(80), primary_key=True),
        moment("created_at"),
        moment("cancelled_at", nullable=True),
        moment("finished_at", nullable=True),
    )


def _steps() -> None:
    op.create_table(
        "steps",
        sa.Column("id", sa.String(64), primary_key=True),
        sa.Column("kind", sa.String(40), nullable=False),
        sa.Column("version", sa.Integer, nullable=False),
        sa.Column("queue", sa.String(40), nullable=False),
        sa.Column("request", sa.JSON, nullable=False),
        sa.Column("state", sa.String(12), nullable=False),
        sa.Column("attempt", sa.Integer, nullable=False),
        sa.Column("failures", sa.Integer, nullable=False),
        moment("lease_expires_at", nullable=True),
        moment("not_before", nullable=True),
        sa.Column("done", sa.Integer, nullable=False),
        sa.Column("total", sa.Integer),
        sa.Column("worker", sa.String(200)),
        sa.Column("problem", sa.JSON),
        sa.Column("log_tail", sa.Text),
        sa.Column("seconds", sa.Double),
        sa.Column("cpu_seconds", sa.Double),
        moment("created_at"),
        moment("started_at", nullable=True),
        moment("finished_at", nullable=True),
    )
    op.create_index("steps_by_state", "steps", ["state", "queue"])
    op.create_table(
        "step_inputs",
        sa.Column("step_id", sa.String(64), sa.ForeignKey("steps.id"), primary_key=True),
        sa.Column("input_id", sa.String(64), sa.ForeignKey("steps.id"), primary_key=True),
    )
    op.create_index("step_inputs_by_input", "step_inputs", ["input_id"])
    op.create_table(
        "plan_steps",
        sa.Column("plan_id", sa.String(80), sa.ForeignKey("plans.id"), primary_key=True),
        sa.Column("step_id", sa.String(64), sa.ForeignKey("steps.id"), primary_key=True),
        sa.Column("position", sa.Integer, nullable=False),
        sa.Column("role", sa.String(300), nullable=False),
        sa.Column("reused", sa.Boolean, nullable=False),
    )
    op.create_index("plan_steps_by_step", "plan_steps", ["step_id"])


def _experiments() -> None:
    op.create_table(
        "experiments",
        sa.Column("id", sa.String(80), sa.ForeignKey("plans.id"), primary_key=True),
        sa.Column("identity", sa.String(64), nullable=False, unique=True),
        sa.Column("name", sa.String(200), nullable=False),
        sa.Column("spec", sa.JSON, nullable=False),
        sa.Column("resolved", sa.JSON, nullable=False),
        moment("created_at"),
    )
    op.create_table(
        "idempotency_keys",
        sa.Column("key", sa.String(200), primary_key=True),
        sa.Column("body_digest", sa.String(64), nullable=False),
        sa.Column("experiment_id", sa.String(80), sa.ForeignKey("experiments.id"), nullable=False),
        moment("created_at"),
    )


def _events() -> None:
    op.create_table(
        "events",
        sa.Column("id", sa.Integer, primary_key=True, autoincrement=True),
        sa.Column("plan_id", sa.String(80), sa.ForeignKey("plans.id"), nullable=False),
        sa.Column("event", sa.String(40), nullable=False),
        sa.Column("data", sa.JSON, nullable=False),
        moment("at"),
        sqlite_autoincrement=True,
    )
    op.create_index("events_by_plan", "events", ["plan_id", "id"])

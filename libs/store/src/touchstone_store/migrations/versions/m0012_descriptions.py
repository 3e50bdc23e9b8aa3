"""What is to be registered once a worker has looked at its location."""

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision = "0011"


def upgrade() -> None:
    op.create_table(
        "descriptions",
        sa.Column("kind", sa.String(20), primary_key=True),
        sa.Column("project_id", sa.String(12), sa.ForeignKey("projects.id"), primary_key=True),
        sa.Column("name", sa.String(64), primary_key=True),
        sa.Column("body", sa.JSON(none_as_null=True), nullable=False),
        sa.Column("plan_id", sa.String(80), sa.ForeignKey("plans.id"), nullable=False),
        sa.Column("step_id", sa.String(64), nullable=False),
        sa.Column("problem", sa.JSON(none_as_null=True)),
        sa.Column("notes", sa.JSON(none_as_null=True)),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("registered_at", sa.DateTime(timezone=True)),
    )

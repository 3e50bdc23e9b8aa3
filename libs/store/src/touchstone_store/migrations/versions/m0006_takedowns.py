"""Images that were taken down, and the steps whose results were computed with them."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    op.create_table(
        "takedowns",
        sa.Column("id", sa.String(64), primary_key=True),
        sa.Column("body", sa.JSON, nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("applied_at", sa.DateTime(timezone=True)),
    )
    op.create_table(
        "takedown_steps",
        sa.Column("takedown_id", sa.String(64), sa.ForeignKey("takedowns.id"), primary_key=True),
        sa.Column("step_id", sa.String(64), sa.ForeignKey("steps.id"), primary_key=True),
    )
    op.create_index("takedown_steps_by_step", "takedown_steps", ["step_id"])

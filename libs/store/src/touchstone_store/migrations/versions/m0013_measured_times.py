"""Durations of finished steps are found by kind, and the conductor notes how many workers live."""

import sqlalchemy as sa
from alembic import op

revision = "0013"
down_revision = "0012"


def upgrade() -> None:
    succeeded = sa.text("state = 'succeeded'")
    op.create_index(
        "steps_finished", "steps", ["kind", "finished_at"], sqlite_where=succeeded, postgresql_where=succeeded
    )
    op.create_table(
        "live_workers",
        sa.Column("queue", sa.String(40), primary_key=True),
        sa.Column("workers", sa.Integer, nullable=False),
        sa.Column("noted_at", sa.DateTime(timezone=True), nullable=False),
    )

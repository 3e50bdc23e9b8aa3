"""A plan remembers the span that made it, so that its steps belong to the same trace."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    op.add_column("plans", sa.Column("traceparent", sa.String(55)))

"""Experiments keep what was declared when they were posted; those of before have none."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    op.add_column("experiments", sa.Column("registration", sa.Text))

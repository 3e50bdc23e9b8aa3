"""Secrets of webhooks are encrypted, which makes them longer.

The key belongs to the conductor and the api, not to whoever migrates: the conductor encrypts the secrets that are there
when it starts (webhook_keys.py)."""

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"


def upgrade() -> None:
    with op.batch_alter_table("webhooks") as table:
        table.alter_column("secret", existing_type=sa.String(80), type_=sa.Text, existing_nullable=False)

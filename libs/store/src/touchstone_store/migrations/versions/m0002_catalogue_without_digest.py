"""The catalogue compares what an entry says; the digest of its body was read by nobody."""

from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    op.drop_column("catalogue", "digest")

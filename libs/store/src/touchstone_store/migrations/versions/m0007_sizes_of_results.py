"""Which blobs a step's result names, and how large they are. The next collection fills it for what had finished."""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"


def upgrade() -> None:
    op.create_table(
        "step_blobs",
        sa.Column("step_id", sa.String(64), sa.ForeignKey("steps.id"), primary_key=True),
        sa.Column("digest", sa.String(64), primary_key=True),
        sa.Column("size", sa.BigInteger, nullable=False),
    )
    op.create_index("step_blobs_by_digest", "step_blobs", ["digest", "size"])

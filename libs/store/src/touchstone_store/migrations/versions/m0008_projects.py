"""Everything belongs to a project: what was there belongs to the default one. Keys, logins and an audit log."""

from datetime import UTC, datetime

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"

DEFAULT = "default"


def upgrade() -> None:
    projects = op.create_table(
        "projects",
        sa.Column("id", sa.String(12), primary_key=True),
        sa.Column("name", sa.String(64), nullable=False, unique=True),
        sa.Column("limits", sa.JSON, nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
    )
    op.bulk_insert(projects, [{"id": DEFAULT, "name": DEFAULT, "limits": {}, "created_at": datetime.now(UTC)}])
    op.create_table(
        "api_keys",
        sa.Column("id", sa.String(32), primary_key=True),
        sa.Column("project_id", sa.String(12), sa.ForeignKey("projects.id"), nullable=False),
        sa.Column("digest", sa.String(64), nullable=False, unique=True),
        sa.Column("prefix", sa.String(16), nullable=False),
        sa.Column("label", sa.String(100), nullable=False),
        sa.Column("scope", sa.String(12), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True)),
        sa.Column("revoked_at", sa.DateTime(timezone=True)),
    )
    op.create_index("api_keys_by_project", "api_keys", ["project_id", "id"])
    op.create_table(
        "logins",
        sa.Column("digest", sa.String(64), primary_key=True),
        sa.Column("project_id", sa.String(12), sa.ForeignKey("projects.id"), nullable=False),
        sa.Column("key_id", sa.String(32), sa.ForeignKey("api_keys.id")),
        sa.Column("subject", sa.String(200), nullable=False),
        sa.Column("scope", sa.String(12), nullable=False),
        sa.Column("csrf", sa.String(64), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
    )
    op.create_table(
        "audit",
        sa.Column("id", sa.Integer, primary_key=True, autoincrement=True),
        sa.Column("project_id", sa.String(12), sa.ForeignKey("projects.id"), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("actor", sa.String(220), nullable=False),
        sa.Column("action", sa.String(80), nullable=False),
        sa.Column("object", sa.String(300), nullable=False),
        sa.Column("status", sa.Integer),
        sa.Column("request_id", sa.String(64)),
        sqlite_autoincrement=True,
    )
    op.create_index("audit_by_project", "audit", ["project_id", "id"])
    op.add_column("plans", sa.Column("project_id", sa.String(12), nullable=False, server_default=DEFAULT))
    op.add_column("plans", sa.Column("shared", sa.Boolean, nullable=False, server_default=sa.false()))
    op.create_index("plans_by_project", "plans", ["project_id", "phase", "id"])
    _give_the_catalogue_to_projects()


def _give_the_catalogue_to_projects() -> None:
    """A new table, because SQLite cannot change a primary key."""
    op.create_table(
        "catalogue_of_projects",
        sa.Column("kind", sa.String(20), primary_key=True),
        sa.Column("project_id", sa.String(12), sa.ForeignKey("projects.id"), primary_key=True),
        sa.Column("name", sa.String(64), primary_key=True),
        sa.Column("body", sa.JSON, nullable=False),
        sa.Column("shared", sa.Boolean, nullable=False, server_default=sa.false()),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
    )
    op.execute(
        "INSERT INTO catalogue_of_projects (kind, project_id, name, body, created_at) "
        f"SELECT kind, '{DEFAULT}', name, body, created_at FROM catalogue"
    )
    op.drop_table("catalogue")
    op.rename_table("catalogue_of_projects", "catalogue")

"""Alembic's entry: runs the versions on the connection that store.migrate hands over."""

from alembic import context

from touchstone_store.tables import Base

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=Base.metadata,
    transactional_ddl=True,
)
with context.begin_transaction():
    context.run_migrations()

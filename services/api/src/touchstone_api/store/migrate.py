"""Brings the database to the newest schema: `python -m touchstone_api.store.migrate`."""

from pathlib import Path
from typing import TYPE_CHECKING

from sqlalchemy import text
from touchstone_runtime.logs import configure_logs, get_logger

from touchstone_api.settings import ApiSettings
from touchstone_api.store.database import Store, open_store

# Alembic is needed for a moment at start and costs 10 MB: it is imported where it is used.
if TYPE_CHECKING:
    from alembic.config import Config

log = get_logger(__name__)

_MIGRATION_LOCK = 7_260_112_233
"""Postgres advisory lock: replicas that start together migrate one after the other."""


def _config() -> "Config":
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    return config


def migrate(store: Store) -> None:
    """Harmless when the schema is up to date; safe when several processes start at once."""
    from alembic import command

    config = _config()
    with store.writer.begin() as connection:
        if connection.dialect.name == "postgresql":
            connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _MIGRATION_LOCK})
        config.attributes["connection"] = connection
        command.upgrade(config, "head")


def is_current(store: Store) -> bool:
    """Whether the schema is the one this code was written for. Raises Transient."""
    from alembic.runtime.migration import MigrationContext
    from alembic.script import ScriptDirectory

    with store.read() as session:
        found = MigrationContext.configure(session.connection()).get_current_revision()
    return found == ScriptDirectory.from_config(_config()).get_current_head()


def main() -> None:
    settings = ApiSettings()
    configure_logs(settings.log_level, settings.log_format)
    store = open_store(settings.database_url.get_secret_value())
    migrate(store)
    log.info("database.migrated")
    store.close()


if __name__ == "__main__":
    main()

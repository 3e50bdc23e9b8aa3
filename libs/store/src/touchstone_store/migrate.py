"""Brings the database to the newest schema: `python -m touchstone_store.migrate`."""

from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from sqlalchemy import text
from touchstone_runtime.logs import configure_logs, get_logger

from touchstone_store.database import Store, open_store
from touchstone_store.outages import WrongSchema
from touchstone_store.settings import StoreSettings

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


def migrate(store: Store, revision: str = "head") -> None:
    """Harmless when the schema is up to date; safe when several processes start at once."""
    from alembic import command

    config = _config()
    with store.unhurried() as unhurried, unhurried.writer.begin() as connection:
        if connection.dialect.name == "postgresql":
            connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _MIGRATION_LOCK})
        config.attributes["connection"] = connection
        command.upgrade(config, revision)
    if revision == "head":
        # What it needs of planning is imported when there is a database to bring up to date.
        from touchstone_store.adoption import adopt_earlier_plans

        adopt_earlier_plans(store)


def is_current(store: Store) -> bool:
    """Whether the schema is the one this code was written for. Raises Transient."""
    return found_revision(store) == known_revisions()[0]


def require_current(store: Store) -> None:
    """Cheap enough to be asked each second. Raises WrongSchema, or Transient when the database does not answer."""
    found, known = found_revision(store), known_revisions()
    if found == known[0]:
        return
    if found is None:
        raise WrongSchema("has no schema: run the migration")
    if found in known:
        raise WrongSchema(f"has the schema {found} of an earlier version, not {known[0]}: run the migration")
    raise WrongSchema(
        f"has the schema {found} of a later version, this one knows {known[0]}: run the later version again, "
        "or restore a backup from before its migration"
    )


def found_revision(store: Store) -> str | None:
    """The schema of the database; None without one. Raises Transient."""
    from alembic.runtime.migration import MigrationContext

    with store.read() as session:
        return MigrationContext.configure(session.connection()).get_current_revision()


@cache
def known_revisions() -> tuple[str, ...]:
    """Newest first. They are files of this package, so they do not change while it runs."""
    from alembic.script import ScriptDirectory

    return tuple(script.revision for script in ScriptDirectory.from_config(_config()).walk_revisions())


def main() -> None:
    settings = StoreSettings()
    configure_logs(settings.log_level, settings.log_format, settings.secrets)
    store = open_store(settings.database_url.get_secret_value(), ca_file=settings.ca_file)
    migrate(store)
    log.info("database.migrated")
    store.close()


if __name__ == "__main__":
    main()

"""What every command of this service opens: its settings, its logs, the database and the bucket."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from touchstone_runtime.logs import configure_logs
from touchstone_runtime.objects import S3Objects, connect_objects
from touchstone_store.database import Store, open_store

from touchstone_conductor.settings import ConductorSettings


@dataclass(frozen=True)
class Opened:
    settings: ConductorSettings
    store: Store
    objects: S3Objects


@contextmanager
def opened() -> Iterator[Opened]:
    """By the environment; connects to neither yet. The database is let go when the block ends."""
    settings = ConductorSettings()
    configure_logs(settings.log_level, settings.log_format, settings.secrets)
    store = open_store(settings.database_url.get_secret_value(), ca_file=settings.ca_file)
    try:
        yield Opened(settings, store, connect_objects(settings))
    finally:
        store.close()

"""The api's services without servers: SQLite in a folder, objects in memory, a registered catalogue."""

from pathlib import Path

from pydantic import SecretStr
from touchstone_api.bootstrap import Services
from touchstone_api.settings import ApiSettings
from touchstone_api.store.database import open_store
from touchstone_api.store.migrate import migrate
from touchstone_runtime.artifacts import Artifacts
from touchstone_runtime.objects import MemoryObjects


def memory_services(folder: Path) -> Services:
    """Needs no socket. `create_app(memory_services(tmp_path))` is an api to talk to."""
    url = f"sqlite:///{folder / 'touchstone.db'}"
    store = open_store(url)
    migrate(store)
    return Services(
        store=store, artifacts=Artifacts(MemoryObjects()), settings=ApiSettings(database_url=SecretStr(url))
    )

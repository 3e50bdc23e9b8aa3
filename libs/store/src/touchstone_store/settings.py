"""Where the database is: environment variables TOUCHSTONE_*, read by processes that use it."""

from pydantic import SecretStr
from touchstone_runtime.settings import RuntimeSettings


class StoreSettings(RuntimeSettings):
    database_url: SecretStr = SecretStr("sqlite:///touchstone.db")
    """SQLite for one machine; `postgresql+psycopg://...` for more."""

"""Where the database is, and what its secrets are encrypted with: environment variables TOUCHSTONE_*, read by processes
that use it."""

from typing import Annotated

from pydantic import AfterValidator, SecretStr
from touchstone_runtime.settings import RuntimeSettings

SHORTEST_KEY = 20


def split_keys(setting: SecretStr | None) -> list[str]:
    return [] if setting is None else [key.strip() for key in setting.get_secret_value().split(",")]


def _long_enough(setting: SecretStr | None) -> SecretStr | None:
    if any(len(key) < SHORTEST_KEY for key in split_keys(setting)):
        raise ValueError(f"each key needs at least {SHORTEST_KEY} characters")
    return setting


class StoreSettings(RuntimeSettings):
    database_url: SecretStr = SecretStr("sqlite:///touchstone.db")
    """SQLite for one machine; `postgresql+psycopg://...` for more."""
    webhook_key: Annotated[SecretStr | None, AfterValidator(_long_enough)] = None
    """What secrets of webhooks are encrypted with in the database: random letters, the same for the api and the
    conductor. While one key replaces another both are set, the new one first, with a comma between. Unset: no webhook
    can be registered."""

    @property
    def secrets(self) -> tuple[str, ...]:
        return (*super().secrets, *split_keys(self.webhook_key))

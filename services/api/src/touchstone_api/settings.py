"""Settings of the api and the conductor: environment variables TOUCHSTONE_*, read once at bootstrap."""

from typing import Annotated

from pydantic import Field, SecretStr
from touchstone_contracts.views import Prices
from touchstone_runtime.settings import RuntimeSettings

Price = Annotated[float, Field(ge=0, le=1_000_000, allow_inf_nan=False)]


class ApiSettings(RuntimeSettings):
    database_url: SecretStr = SecretStr("sqlite:///touchstone.db")
    """SQLite for one machine; `postgresql+psycopg://...` for more."""
    migrate_on_start: bool = True
    """Off: run `python -m touchstone_api.store.migrate` before the api starts."""
    max_body_bytes: int = Field(default=8 * 1024 * 1024, gt=0)
    """Larger request bodies are refused; a target of ten thousand classes needs about 2 MiB."""
    event_poll_seconds: float = Field(default=0.5, gt=0)
    """How often an open event stream looks for new events."""
    cpu_hour_price: Price | None = None
    """An hour of one CPU core, in the currency of your choice. Unset: costs are told in seconds alone."""
    gpu_hour_price: Price | None = None
    """An hour of one GPU, in the same currency."""

    @property
    def prices(self) -> Prices:
        return Prices(cpu_hour=self.cpu_hour_price, gpu_hour=self.gpu_hour_price)


class ConductorSettings(ApiSettings):
    lease_seconds: float = Field(default=30.0, gt=0)
    """A step without a sign of life for this long is given to somebody else; well above heartbeat_seconds."""
    leases_per_worker: int = Field(default=2, ge=1)
    """Steps handed out at once per live worker of a queue: one to compute and the next. Few, so that cancelling and
    newer experiments take effect soon."""
    max_failures: int = Field(default=3, ge=1)
    """A step that failed this often stays failed."""
    retry_seconds: float = Field(default=2.0, ge=0)
    """Wait before the second attempt; doubles with every failure."""
    poll_seconds: float = Field(default=0.5, gt=0, le=4)
    """Longest wait for reports before the conductor looks at the database again. The Redis client takes a server that
    answers nothing for five seconds for dead."""

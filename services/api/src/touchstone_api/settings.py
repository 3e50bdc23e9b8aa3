"""Settings of the api: environment variables TOUCHSTONE_*, read once at bootstrap."""

from typing import Annotated

from pydantic import Field
from touchstone_contracts.views import Prices
from touchstone_store.settings import StoreSettings

Price = Annotated[float, Field(ge=0, le=1_000_000, allow_inf_nan=False)]


class ApiSettings(StoreSettings):
    migrate_on_start: bool = True
    """Off: run `python -m touchstone_store.migrate` before the api starts."""
    max_body_bytes: int = Field(default=8 * 1024 * 1024, gt=0)
    """Larger request bodies are refused; a target of ten thousand classes needs about 2 MiB."""
    max_plan_steps: int = Field(default=200_000, gt=0)
    """An experiment that takes more steps is refused with what to lower."""
    event_poll_seconds: float = Field(default=0.5, gt=0)
    """How often an open event stream looks for new events."""
    cpu_hour_price: Price | None = None
    """An hour of one CPU core, in the currency of your choice. Unset: costs are told in seconds alone."""
    gpu_hour_price: Price | None = None
    """An hour of one GPU, in the same currency."""

    @property
    def prices(self) -> Prices:
        return Prices(cpu_hour=self.cpu_hour_price, gpu_hour=self.gpu_hour_price)

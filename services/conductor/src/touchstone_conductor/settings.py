"""Settings of the conductor and its commands: environment variables TOUCHSTONE_*, read once at start."""

from typing import Literal

from pydantic import Field
from touchstone_store.settings import StoreSettings

KeptWeights = Literal["none", "chosen", "all"]


class ConductorSettings(StoreSettings):
    lease_seconds: float = Field(default=30.0, gt=0)
    """A step without a sign of life for this long is given to somebody else; well above heartbeat_seconds."""
    leases_per_worker: int = Field(default=2, ge=1)
    """Steps handed out at once per live worker of a queue: one to compute and the next. Few, so that cancelling and
    newer experiments take effect soon."""
    max_failures: int = Field(default=3, ge=1)
    """A step that failed this often stays failed."""
    retry_seconds: float = Field(default=2.0, ge=0)
    """Wait before the second attempt; doubles with every failure."""
    cycle_seconds: float = Field(default=120.0, gt=0)
    """/healthz answers 503 when no cycle has ended for so long, so that the conductor is restarted. Well above what a
    cycle takes while a server is away."""
    poll_seconds: float = Field(default=0.5, gt=0, le=4)
    """Longest wait for reports before the conductor looks at the database again. The Redis client takes a server that
    answers nothing for five seconds for dead."""
    webhook_private_addresses: bool = False
    """Whether webhooks may lead into private networks and to this machine. Whoever may register one could otherwise
    reach what only the conductor reaches."""
    keep_weights: KeptWeights = "chosen"
    """Which weights of adapted encoders outlive their evaluations: `none`, those at the learning rate that was
    `chosen`, or `all`. The collection lets the others go; a step that needs them later has them trained again."""

"""Settings every process shares: environment variables TOUCHSTONE_*, read once at bootstrap."""

import os
from pathlib import Path
from typing import Literal

from pydantic import Field, SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict


def _collector_named() -> bool:
    return bool(os.environ.get("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT") or os.environ.get("OTEL_EXPORTER_OTLP_ENDPOINT"))


class RuntimeSettings(BaseSettings):
    """Services subclass this; each variable has one name, one default and one home."""

    model_config = SettingsConfigDict(env_prefix="TOUCHSTONE_", frozen=True, extra="ignore")

    redis_url: str = "redis://127.0.0.1:6379/0"
    s3_endpoint: str = "127.0.0.1:9000"
    s3_access_key: str = "touchstone"
    s3_secret_key: SecretStr = SecretStr("")
    s3_bucket: str = "touchstone"
    s3_secure: bool = False
    library: Path = Path("miniverse")
    """Read-only folder that `library:` places are below."""
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    log_format: Literal["json", "console"] = "json"
    metrics_host: str = "127.0.0.1"
    metrics_port: int = Field(default=0, ge=0, le=65_535)
    """Where a worker or the conductor answers /metrics and /healthz; 0 turns it off."""
    traces: bool = Field(default_factory=_collector_named)
    """Whether spans are sent over OTLP/HTTP. Without a value: when OTEL_EXPORTER_OTLP_ENDPOINT names a collector.
    OpenTelemetry's own variables (OTEL_*) say the rest."""


class WorkerSettings(RuntimeSettings):
    worker_name: str = ""
    """Empty: host name and process id."""
    heartbeat_seconds: float = Field(default=5.0, gt=0)
    """How often a worker says that it lives and a busy one renews its lease; well below the conductor's
    lease_seconds."""
    exit_when_idle_seconds: float = Field(default=0.0, ge=0)
    """A worker without a step for so long ends with exit code 0, so that an autoscaler need end none; 0 is never."""
    device: str = "auto"
    """`auto` takes cuda when there is one; else a torch device name."""
    threads: int = Field(default=0, ge=0)
    """CPU threads for torch; 0 leaves torch's default. Results repeat bit for bit only at one thread count. This one
    overrides OMP_NUM_THREADS for torch alone; numpy follows that variable, so set both to the same number."""

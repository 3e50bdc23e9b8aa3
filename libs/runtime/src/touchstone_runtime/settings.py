"""Settings every process shares: environment variables TOUCHSTONE_*, read once at bootstrap."""

import os
from pathlib import Path
from typing import Annotated, Literal, TypeVar

from pydantic import AfterValidator, BeforeValidator, Field, SecretStr
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict
from touchstone_contracts.redaction import passwords_in
from touchstone_contracts.sources import EVERYTHING, AllowedSources, Bucket, Folder, Host, Repository

from touchstone_runtime.redis_urls import parse_redis_url


def _collector_named() -> bool:
    return bool(os.environ.get("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT") or os.environ.get("OTEL_EXPORTER_OTLP_ENDPOINT"))


def _split(value: object) -> object:
    return tuple(part.strip() for part in value.split(",") if part.strip()) if isinstance(value, str) else value


def _usable(url: SecretStr) -> SecretStr:
    parse_redis_url(url.get_secret_value())
    return url


PatternT = TypeVar("PatternT")
Listed = Annotated[tuple[PatternT, ...], NoDecode, BeforeValidator(_split)]
"""Written with commas between."""

STALL_SECONDS, SAVEPOINT_SECONDS = 4 * 3600.0, 120.0
MEGABYTE = 2**20
MODELS_MEGABYTES = 4096
MODELS_BYTES = MODELS_MEGABYTES * MEGABYTE


class RuntimeSettings(BaseSettings):
    """Services subclass this; each variable has one name, one default and one home."""

    # A setting that is refused may hold a password: the error does not repeat it.
    model_config = SettingsConfigDict(env_prefix="TOUCHSTONE_", frozen=True, extra="ignore", hide_input_in_errors=True)

    redis_url: Annotated[SecretStr, AfterValidator(_usable)] = SecretStr("redis://127.0.0.1:6379/0")
    """`rediss://` for TLS, `unix://`, or `sentinel://`: see redis_urls.FORMS."""
    s3_endpoint: str = Field(default="127.0.0.1:9000", pattern=r"^(https?://)?[^\s/@?#]+/?$")
    """`host:port`, or a URL: `https://` says the same as s3_secure."""
    s3_region: str = "us-east-1"
    s3_access_key: str = "touchstone"
    s3_secret_key: SecretStr = SecretStr("")
    s3_credentials: Literal["keys", "machine"] = "keys"
    """`machine`: what the cloud gives this machine, container or service account (of AWS), instead of the two keys."""
    s3_bucket: str = "touchstone"
    s3_secure: bool = False
    """Whether the object store is spoken to over TLS."""
    ca_file: Path | None = None
    """Certificates (PEM) of who signed those of Redis, the object store, Postgres and Qdrant. Unset: those that this
    machine trusts."""
    library: Path = Path("miniverse")
    """Read-only folder; locations that begin with `library:` are below it."""
    allowed_library: Listed[Folder] = (EVERYTHING,)
    """Folders of the library that may be read. These four hold on the gateway, which refuses to register what is not
    allowed, and on each worker, which refuses to read it."""
    allowed_buckets: Listed[Bucket] = ()
    """`bucket` or `bucket/prefix` that images and tables may come from."""
    allowed_hub: Listed[Repository] = ()
    """`owner/repository` or `owner/*` that models may come from."""
    allowed_hosts: Listed[Host] = ()
    """`example.org`, `*.example.org` or `*`: web servers that the links of an upstream may lead to."""
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    log_format: Literal["json", "console"] = "json"
    metrics_host: str = "127.0.0.1"
    metrics_port: int = Field(default=0, ge=0, le=65_535)
    """Where a worker or the conductor answers /metrics and /healthz; 0 turns it off."""
    traces: bool = Field(default_factory=_collector_named)
    """Whether spans are sent over OTLP/HTTP. Without a value: when OTEL_EXPORTER_OTLP_ENDPOINT names a collector.
    OpenTelemetry's own variables (OTEL_*) say the rest."""

    @property
    def allowed_sources(self) -> AllowedSources:
        return AllowedSources(
            library=self.allowed_library,
            buckets=self.allowed_buckets,
            hub=self.allowed_hub,
            hosts=self.allowed_hosts,
        )

    @property
    def secrets(self) -> tuple[str, ...]:
        """What no log may hold: every secret setting, of a URL its password."""
        values = [value.get_secret_value() for _, value in self if isinstance(value, SecretStr)]
        return tuple(secret for value in values for secret in passwords_in(value))


class WorkerSettings(RuntimeSettings):
    worker_name: str = ""
    """Empty: host name and process id."""
    heartbeat_seconds: float = Field(default=5.0, gt=0)
    """How often a worker says that it lives and a busy one renews its lease; well below the conductor's
    lease_seconds."""
    savepoint_seconds: float = Field(default=SAVEPOINT_SECONDS, gt=0)
    """How often a long step saves how far it is, so that another attempt goes on there."""
    stall_seconds: float = Field(default=STALL_SECONDS, gt=0)
    """A worker ends when its step has told of no progress for so long, and the step is handed out again: a native call
    that is stuck cannot be interrupted. There is no limit on how long a step may take."""
    exit_when_idle_seconds: float = Field(default=0.0, ge=0)
    """A worker without a step for so long ends with exit code 0, so that an autoscaler need end none; 0 is never."""
    models_megabytes: int = Field(default=MODELS_MEGABYTES, ge=1)
    """Memory (of the device) for models that stay loaded: the one used longest ago goes first, the one in use never."""
    device: str = "auto"
    """`auto` takes cuda when there is one; else a torch device name."""
    threads: int = Field(default=0, ge=0)
    """CPU threads for torch; 0 leaves torch's default. Results repeat bit for bit only at one thread count. This one
    overrides OMP_NUM_THREADS for torch alone; numpy follows that variable, so set both to the same number."""

    @property
    def models_bytes(self) -> int:
        return self.models_megabytes * MEGABYTE

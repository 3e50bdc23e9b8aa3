"""Settings of the api: environment variables TOUCHSTONE_*, read once at bootstrap."""

from typing import Annotated, Self

from pydantic import Field, SecretStr, StringConstraints, field_validator, model_validator
from pydantic_settings import NoDecode
from touchstone_contracts.views import Prices
from touchstone_store.settings import StoreSettings

Price = Annotated[float, Field(ge=0, le=1_000_000, allow_inf_nan=False)]
EVERYBODY = "*"
Grant = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9._-]*:(read|write|admin)$", max_length=100)]
"""`project:scope`."""
Issuer = Annotated[str, StringConstraints(pattern=r"^(https://|http://(127\.0\.0\.1|localhost)[:/])\S*[^/\s]$")]
"""As the provider writes it, without a last slash; over TLS, unless it is on this machine."""


class ApiSettings(StoreSettings):
    operator_key: SecretStr | None = Field(default=None, min_length=20)
    """An API key with every scope in the default project, for whoever runs the installation. Never stored: it is valid
    while this variable holds it. Others are made with it, or at the terminal (python -m touchstone_api.projects)."""
    trusted_hosts: Annotated[tuple[str, ...], NoDecode] = ("127.0.0.1", "localhost", "[::1]")
    """The host names that requests may be for, with commas between them; `*` allows any."""
    open_on_this_machine: bool = False
    """Whoever opens a page with a browser on this very machine is logged in as the operator without being asked. For a
    laptop; a proxy in front of the api must say so (X-Forwarded-For), else everybody seems to be on this machine."""
    oidc_issuer: Issuer | None = None
    """An OpenID Connect provider that people log in at (docs/guides/security.md). Unset: with keys alone. Its redirect
    URI is /login/provider/back of this api."""
    oidc_client_id: str = ""
    oidc_client_secret: SecretStr | None = None
    """Unset: a public client, which PKCE protects."""
    oidc_scopes: str = "openid profile email"
    """What the provider is asked for; some need `groups` here to tell of groups."""
    oidc_claim: str = "groups"
    """The claim that `oidc_access` goes by, a text or a list of texts, such as `groups`, `email` or `sub`."""
    oidc_access: dict[str, Grant] = Field(default_factory=dict)
    """JSON: a value of the claim to the project and scope that it opens, `{"vision": "birds:write", "*":
    "default:read"}`. The first that fits counts; `*` is everybody who can log in there."""
    requests_a_minute: int = Field(default=6000, gt=0)
    """Of each key, where its project has no limit of its own."""
    migrate_on_start: bool = True
    """Off: run `python -m touchstone_store.migrate` before the api starts."""
    max_body_bytes: int = Field(default=8 * 1024 * 1024, gt=0)
    """Larger request bodies are refused; a target of ten thousand classes needs about 2 MiB."""
    max_upload_bytes: int = Field(default=20 * 2**30, gt=0)
    """Of one uploaded archive. Its parts are in memory one after the other."""
    upload_quota_bytes: int = Field(default=100 * 2**30, gt=0)
    """Of all that a project has uploaded and not removed."""
    max_plan_steps: int = Field(default=25_000, gt=0, le=1_000_000)
    """An experiment that takes more steps is refused with what to lower. The paper's study of ImageNet has 11,808;
    planning 25,000 takes one to two seconds of one CPU."""
    quota_bytes: int | None = Field(default=None, gt=0)
    """Once results hold so many bytes, new experiments are refused until some were deleted and collected. Unset: no
    limit."""
    plans_at_once: int = Field(default=2, gt=0, le=32)
    """Experiments and upstreams that are planned at the same moment; each takes one CPU. A few more wait, the others
    are told to come again."""
    event_poll_seconds: float = Field(default=0.5, gt=0)
    """How often one look at the database serves all open event streams."""
    most_event_streams: int = Field(default=200, gt=0, le=500)
    """Open at once; whoever comes then is told to come again."""
    search_patience_seconds: float = Field(default=5.0, ge=0, le=30)
    """How long a search of an upstream is waited for before the caller is told to come again for its answer."""
    cpu_hour_price: Price | None = None
    """An hour of one CPU core, in the currency of your choice. Unset: costs are told in seconds alone."""
    gpu_hour_price: Price | None = None
    """An hour of one GPU, in the same currency."""

    @field_validator("trusted_hosts", mode="before")
    @classmethod
    def _split(cls, value: object) -> object:
        return tuple(part.strip() for part in value.split(",") if part.strip()) if isinstance(value, str) else value

    @field_validator("oidc_issuer", "oidc_client_secret", mode="before")
    @classmethod
    def _unset(cls, value: object) -> object:
        """Compose passes what is not set on as an empty text."""
        return None if value == "" else value

    @model_validator(mode="after")
    def _name_a_client(self) -> Self:
        if self.oidc_issuer is not None and not (self.oidc_client_id and self.oidc_access):
            raise ValueError("with TOUCHSTONE_OIDC_ISSUER set TOUCHSTONE_OIDC_CLIENT_ID and TOUCHSTONE_OIDC_ACCESS too")
        return self

    @property
    def prices(self) -> Prices:
        return Prices(cpu_hour=self.cpu_hour_price, gpu_hour=self.gpu_hour_price)

"""Who may do what: projects, API keys and the audit log."""

from datetime import datetime
from typing import Annotated, Literal

from pydantic import Field, StringConstraints

from touchstone_contracts.sources import ProjectSources
from touchstone_contracts.values import Lenient, Name, Strict
from touchstone_contracts.views import Page

Scope = Literal["read", "write", "admin"]
SCOPES: tuple[Scope, ...] = ("read", "write", "admin")
"""In ascending order: each may do what those before it may. `read` looks, `write` also posts, registers, cancels and
deletes, `admin` also manages the keys of its project and what it shares."""

DEFAULT_PROJECT = "default"
"""The project that every installation has."""

Label = Annotated[str, StringConstraints(min_length=1, max_length=100)]


def allows(scope: Scope, needed: Scope) -> bool:
    return SCOPES.index(scope) >= SCOPES.index(needed)


class NewKey(Strict):
    label: Label
    """What the key is for, or whose it is."""
    scope: Scope = "read"
    expires_in_days: Annotated[int, Field(ge=1, le=3650)] | None = None
    """None: until it is revoked."""


class KeyView(Lenient):
    id: str
    prefix: str
    """What the key begins with, to recognise it by."""
    label: str
    scope: Scope
    created_at: datetime
    expires_at: datetime | None = None
    revoked_at: datetime | None = None


class CreatedKey(KeyView):
    key: str
    """The key itself. It is shown this once; only its hash is stored."""


class KeyPage(Page):
    items: tuple[KeyView, ...]


class Use(Lenient):
    """How much of its limits a project uses."""

    steps_in_a_plan: int = 0
    """Of the largest active plan."""
    active_experiments: int = 0
    bytes_stored: int = 0
    gpu_seconds_this_month: float = 0.0


class Limits(Strict):
    """Limits of a project. None: no limit beyond the server's own."""

    steps_in_a_plan: Annotated[int, Field(ge=1, le=10**9)] | None = None
    images_generated: Annotated[int, Field(ge=1, le=10**12)] | None = None
    """By one experiment."""
    active_experiments: Annotated[int, Field(ge=1, le=10**6)] | None = None
    bytes_stored: Annotated[int, Field(ge=1, le=10**18)] | None = None
    gpu_seconds_a_month: Annotated[int, Field(ge=1, le=10**12)] | None = None
    requests_a_minute: Annotated[int, Field(ge=1, le=10**6)] | None = None
    """Of each of its keys."""
    sources: ProjectSources | None = None
    """Where its models and data may come from. None: wherever the installation allows."""


class ProjectView(Lenient):
    """The project that the key of a request belongs to."""

    name: Name
    scope: Scope
    """Of the key."""
    created_at: datetime
    limits: Limits
    use: Use


class AuditEntry(Lenient):
    id: int
    at: datetime
    actor: str
    """The id of the key, `login:` and the subject of a person's token, or `terminal`."""
    action: str
    """The operation of the API."""
    object: str
    """The path that it was asked for."""
    status: int | None = None
    """What was answered; None: it is going on, or the server ended meanwhile."""
    request_id: str | None = None


class AuditPage(Page):
    items: tuple[AuditEntry, ...]

"""The check that every request passes: who sends it, whether they may do so, and which project owns the object."""

from collections.abc import Mapping
from datetime import UTC, datetime
from hmac import compare_digest
from typing import Annotated, Any

from fastapi import Depends, Request
from fastapi.concurrency import run_in_threadpool
from sqlalchemy.orm import Session
from starlette.types import ASGIApp, Message, Receive, Send
from starlette.types import Scope as AsgiScope
from touchstone_contracts.access import Scope, allows
from touchstone_contracts.catalogue import Dataset, Encoder, Entry, Generator, Target, Upstream
from touchstone_contracts.problems import Failure, Invalid, NotFound, Transient
from touchstone_runtime.logs import get_logger
from touchstone_store.audit import note_request, note_status
from touchstone_store.catalogue import owner_of
from touchstone_store.keys import Principal
from touchstone_store.projects import SharedReadOnly, limits_of, require_plan

from touchstone_api.access.credentials import NoCredentials, identify
from touchstone_api.bootstrap import Services
from touchstone_api.dependencies import ServicesHere
from touchstone_api.problems import LoginNeeded, failure_response
from touchstone_api.security.gate import SAFE_METHODS

log = get_logger(__name__)

SCOPE = "x-scope"
"""In an operation's OpenAPI: the scope it needs."""
BY_READERS: dict[str, Any] = {SCOPE: "read"}
BY_ADMINS: dict[str, Any] = {SCOPE: "admin"}
"""For `openapi_extra` of an operation that needs another scope than its method says."""
USES = "x-uses"
BY_USERS: dict[str, Any] = {SCOPE: "write", USES: True}
"""Likewise, where workers compute something with what the path names, which stays as it is: others may do so with what
is shared. It is in the audit log whatever its method."""
OPEN = ("/assets/", "/healthz", "/readyz", "/openapi.json", "/login", "/favicon.ico")
"""What is the same for everybody."""
CSRF_HEADER = "x-csrf-token"
ENTRIES: Mapping[str, type[Entry]] = {
    "upstreams": Upstream,
    "targets": Target,
    "datasets": Dataset,
    "encoders": Encoder,
    "generators": Generator,
}
"""By the first word in their paths, in the API and of pages."""


class Forbidden(Invalid):
    code = "forbidden"
    status = 403
    title = "Not allowed"


class Identify:
    """ASGI middleware: nothing of a request to the API is read before its sender is known. Whoever asks for a page may
    be nobody yet."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: AsgiScope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"].startswith(OPEN):
            await self.app(scope, receive, send)
            return
        request, is_page = Request(scope), not scope["path"].startswith(("/v1/", "/metrics"))
        try:
            scope.setdefault("state", {})["principal"] = await run_in_threadpool(_identified, request)
        except Failure as error:
            if not (is_page and isinstance(error, NoCredentials)):
                await failure_response(request, error)(scope, receive, send)
                return
        await self.app(scope, receive, send)


def _identified(request: Request) -> Principal:
    services: Services = request.app.state.services
    with services.store.read() as session:
        principal = identify(request, session, services.settings)
        most = limits_of(session, principal.project).requests_a_minute
    request.app.state.rates.require_within(principal, most or services.settings.requests_a_minute)
    return principal


class NoteAnswers:
    """ASGI middleware: what was answered to a request that is in the audit log is noted there."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: AsgiScope, receive: Receive, send: Send) -> None:
        status = 500

        async def noting_send(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self.app(scope, receive, noting_send)
        finally:
            entry = scope.get("state", {}).get("audit_entry")
            if entry is not None:
                await run_in_threadpool(_note_status, scope["app"].state.services, entry, status)


def _note_status(services: Services, entry: int, status: int) -> None:
    try:
        with services.store.write() as session:
            note_status(session, entry, status)
    except Transient as error:
        log.warning("audit.no_status", entry=entry, status=status, error=str(error))


def authorise(request: Request, services: ServicesHere) -> Principal:
    """Raises Forbidden or SharedReadOnly (403), NotFound for what the caller may not know of. A request that could
    change something is in the audit log before it does."""
    principal: Principal = request.state.principal
    needed, uses = needed_scope(request.scope["route"]), only_uses(request.scope["route"])
    if uses or (needed != "read" and request.method not in SAFE_METHODS):
        request.state.audit_entry = _note(request, services, principal)
    _require_own_form(request, principal)
    if not allows(principal.scope, needed):
        raise Forbidden(f"this needs the scope {needed!r}, and the key has {principal.scope!r}")
    with services.store.read() as session:
        require_objects(session, principal, request.url.path, request.path_params, write=needed != "read" and not uses)
    return principal


PrincipalHere = Annotated[Principal, Depends(authorise)]


def authorise_page(request: Request, services: ServicesHere) -> Principal:
    """As `authorise`; who has not logged in is sent to do so. Raises LoginNeeded too."""
    if not hasattr(request.state, "principal"):
        query = f"?{request.url.query}" if request.url.query else ""
        raise LoginNeeded(request.url.path + query)
    return authorise(request, services)


PageReader = Annotated[Principal, Depends(authorise_page)]


def needed_scope(route: Any) -> Scope:
    """By the operation's own word, else by its method."""
    declared: Scope | None = (getattr(route, "openapi_extra", None) or {}).get(SCOPE)
    return declared or scope_of(*route.methods)


def only_uses(route: Any) -> bool:
    """Whether the operation leaves what its path names as it is, though it starts work."""
    return bool((getattr(route, "openapi_extra", None) or {}).get(USES))


def scope_of(*methods: str) -> Scope:
    return "read" if SAFE_METHODS.issuperset(methods) else "write"


def require_objects(
    session: Session, principal: Principal, path: str, parameters: Mapping[str, str], *, write: bool
) -> None:
    """That the principal may see, or change, what the path names. Raises NotFound, SharedReadOnly."""
    experiment, name = parameters.get("experiment"), parameters.get("name")
    if experiment is not None:
        require_experiment_access(session, principal, experiment, write=write)
    entry_type = ENTRIES.get(path.removeprefix("/v1").split("/")[1]) if name is not None else None
    if entry_type is not None and name is not None:
        owner = owner_of(session, entry_type, name, principal.project)
        if write and owner != principal.project:
            raise SharedReadOnly("another project shares this; only that project may change it")


def require_experiment_access(session: Session, principal: Principal, experiment: str, *, write: bool = False) -> None:
    """Raises NotFound, SharedReadOnly."""
    missing = f"no experiment {experiment!r}"
    require_plan(session, experiment, principal.project, write=write, missing=missing)


def may_change(session: Session, principal: Principal, experiment: str) -> bool:
    """Whether pages offer to change what they show."""
    try:
        require_experiment_access(session, principal, experiment, write=True)
    except SharedReadOnly:
        return False
    return allows(principal.scope, "write")


def may_see_entry(session: Session, principal: Principal, entry_type: type[Entry], name: str) -> bool:
    """Whether there is an entry of that name whose page the principal may open."""
    try:
        owner_of(session, entry_type, name, principal.project)
    except NotFound:
        return False
    return True


def _require_own_form(request: Request, principal: Principal) -> None:
    """A request that a browser sends with its cookie must come from a page of ours, which knows the login's token."""
    if principal.csrf is None or request.method in SAFE_METHODS:
        return
    given = request.headers.get(CSRF_HEADER, "")
    if not compare_digest(given.encode(), principal.csrf.encode()):
        raise Forbidden("the request carries no token of this login: load the page again")


def _note(request: Request, services: ServicesHere, principal: Principal) -> int:
    request_id = getattr(request.state, "request_id", None)
    action, now = request.scope["route"].name, datetime.now(UTC)
    with services.store.write() as session:
        return note_request(session, principal.project, principal.actor, action, request.url.path, request_id, now)

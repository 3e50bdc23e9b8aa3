"""Pure ASGI middleware: a request id on every answer, protective headers, and what no request may be: for a host that
is not ours, sent by a page of another site, or of another kind than JSON."""

import re
import secrets
from collections.abc import Collection
from dataclasses import dataclass
from http import HTTPStatus
from urllib.parse import urlsplit

import structlog
from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from touchstone_contracts.problems import Problem

from touchstone_api.problems import problem_response

_SAFE_ID = re.compile(r"[\w.-]{1,64}")
PROBES = frozenset({"/healthz", "/readyz"})
SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
FORM = "application/x-www-form-urlencoded"
FORM_PAGES = frozenset({"/login", "/logout"})
ARCHIVES = frozenset({"application/zip", "application/x-tar", "application/octet-stream"})
UPLOADS = "/v1/uploads"
"""The one path whose body is no JSON and may be large; it is streamed."""
PROTECTIVE_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
}
API_POLICY = "default-src 'none'; frame-ancestors 'none'"
"""Answers of the api are data; pages (dashboard, docs) set their own policy."""


class RequestId:
    """Takes the caller's X-Request-Id when it is harmless, else makes one; logs of the request carry it."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        given = Headers(scope=scope).get("x-request-id", "")
        request_id = given if _SAFE_ID.fullmatch(given) else secrets.token_hex(8)
        scope.setdefault("state", {})["request_id"] = request_id

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                _add_headers(MutableHeaders(scope=message), request_id, scope["path"])
            await send(message)

        with structlog.contextvars.bound_contextvars(request_id=request_id):
            await self.app(scope, receive, send_with_headers)


def _add_headers(headers: MutableHeaders, request_id: str, path: str) -> None:
    headers["X-Request-Id"] = request_id
    for name, value in PROTECTIVE_HEADERS.items():
        headers.setdefault(name, value)
    if path.startswith("/v1/"):
        headers.setdefault("Content-Security-Policy", API_POLICY)


@dataclass(frozen=True)
class Refusal:
    status: int
    code: str
    detail: str


class OwnRequests:
    """Refuses requests for hosts that are not ours (DNS rebinding), those that pages of other sites send (CSRF), and
    bodies that are no JSON, which browsers send without asking. Nothing of them is read."""

    def __init__(self, app: ASGIApp, hosts: Collection[str]) -> None:
        """`hosts`: names without a port; `*` allows any."""
        self.app = app
        self._hosts = frozenset(host.lower() for host in hosts)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        refusal = self._refusal(scope) if scope["type"] == "http" else None
        if refusal is None:
            await self.app(scope, receive, send)
            return
        problem = Problem(
            title=HTTPStatus(refusal.status).phrase, status=refusal.status, code=refusal.code, detail=refusal.detail
        )
        await problem_response(Request(scope), problem)(scope, receive, send)

    def _refusal(self, scope: Scope) -> Refusal | None:
        headers = Headers(scope=scope)
        # Whoever watches the process asks by an address of its own.
        if scope["path"] not in PROBES and not self._is_ours(headers.get("host", "")):
            return Refusal(421, "unknown_host", "this server does not serve that host: see TOUCHSTONE_TRUSTED_HOSTS")
        if scope["method"] in SAFE_METHODS:
            return None
        if not _is_same_origin(headers):
            return Refusal(403, "other_origin", "pages of other sites may not send requests here")
        if _has_body(headers) and not _is_expected(scope["path"], headers.get("content-type", "")):
            if scope["path"] == UPLOADS:
                detail = f"the body must be an archive, with the header Content-Type: {' or '.join(sorted(ARCHIVES))}"
                return Refusal(415, "not_an_archive", detail)
            return Refusal(415, "not_json", "the body must be JSON, with the header Content-Type: application/json")
        return None

    def _is_ours(self, host: str) -> bool:
        return "*" in self._hosts or _without_port(host).lower() in self._hosts


def _without_port(host: str) -> str:
    """`[::1]:8000` -> `[::1]`."""
    name, colon, port = host.rpartition(":")
    return name if colon and port.isdigit() else host


def _is_same_origin(headers: Headers) -> bool:
    """Browsers say where a request comes from; other programs say nothing, and carry no cookies by themselves."""
    site, origin = headers.get("sec-fetch-site"), headers.get("origin")
    if site is not None and site not in {"same-origin", "none"}:
        return False
    if origin is None:
        return True
    try:
        return urlsplit(origin).netloc.lower() == headers.get("host", "").lower()
    except ValueError:  # of no address, as http://[a
        return False


def _has_body(headers: Headers) -> bool:
    return "transfer-encoding" in headers or headers.get("content-length", "0") != "0"


def _is_expected(path: str, content_type: str) -> bool:
    media_type = content_type.partition(";")[0].strip().lower()
    if path == UPLOADS:
        return media_type in ARCHIVES
    return media_type == (FORM if path in FORM_PAGES else "application/json")

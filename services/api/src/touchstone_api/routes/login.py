"""/login and /logout: a browser keeps a cookie instead of an API key, got with a key or at an OpenID provider."""

import secrets
from datetime import UTC, datetime
from hmac import compare_digest
from typing import Annotated
from urllib.parse import parse_qs

from fastapi import APIRouter, Query, Request, Response
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import RedirectResponse
from touchstone_contracts.problems import Failure, NotFound
from touchstone_store.keys import LOGIN_HOURS, Principal, find_key, log_out, principal_of_key

from touchstone_api.access.authorise import Forbidden
from touchstone_api.access.credentials import COOKIE, is_at_this_machine, is_operator_key, operator, start_login
from touchstone_api.access.single_sign_on import STATE_PATH, Person, Provider, principal_of_person
from touchstone_api.bootstrap import Services
from touchstone_api.dashboard.rendering import html_page
from touchstone_api.dependencies import ServicesHere

router = APIRouter(include_in_schema=False)

FORM_COOKIE = "touchstone_form"
HOME = "/"
LONGEST_FORM = 10_000


@router.get("/login")
def show_login(request: Request, services: ServicesHere, next: Annotated[str, Query()] = HOME) -> Response:
    """The form; on the operator's own machine a login at once, where the settings say so."""
    settings = services.settings
    if settings.open_on_this_machine and settings.operator_key is not None and is_at_this_machine(request):
        with services.store.write() as session:
            cookie = start_login(session, operator(settings), key_id=None)
        return _logged_in(request, cookie, next)
    return _form(request, next)


@router.post("/login")
async def log_in(request: Request, services: ServicesHere) -> Response:
    fields = await _fields(request)
    if not compare_digest(fields.get("token", "").encode(), request.cookies.get(FORM_COOKIE, "-").encode()):
        return _form(request, fields.get("next", HOME), "The form was too old. Please try again.")
    cookie = await run_in_threadpool(_start, services, fields.get("key", "").strip())
    if cookie is None:
        return _form(request, fields.get("next", HOME), "The key is not known, has expired or was revoked.", 401)
    return _logged_in(request, cookie, fields.get("next", HOME))


def _start(services: Services, key: str) -> str | None:
    with services.store.write() as session:
        if is_operator_key(key, services.settings):
            return start_login(session, operator(services.settings), key_id=None)
        row = find_key(session, key, datetime.now(UTC))
        return None if row is None else start_login(session, principal_of_key(row), key_id=row.id)


@router.get(STATE_PATH)
async def go_to_provider(request: Request, next: Annotated[str, Query()] = HOME) -> Response:
    """Raises NotFound where the settings name none."""
    provider = _provider(request)
    try:
        answer = await provider.send(request, _address(request, f"{STATE_PATH}/back"))
    except Failure as error:
        return _failed(request, next, error)
    request.session["next"] = local_path(next)
    return answer


@router.get(f"{STATE_PATH}/back")
async def come_from_provider(request: Request, services: ServicesHere) -> Response:
    provider = _provider(request)
    following = request.session.pop("next", HOME)
    try:
        person = await provider.receive(request)
        cookie = await run_in_threadpool(_start_for, services, person)
    except Failure as error:
        return _failed(request, following, error)
    # A redirect would be the end of a way that began elsewhere, which browsers send no strict cookie along.
    answer = html_page("logged_in.html", following=following)
    _set_cookie(request, answer, COOKIE, cookie, LOGIN_HOURS * 3600)
    return answer


def _provider(request: Request) -> Provider:
    provider: Provider | None = request.app.state.provider
    if provider is None:
        raise NotFound("people log in with a key here")
    return provider


def _start_for(services: Services, person: Person) -> str:
    with services.store.write() as session:
        return start_login(session, principal_of_person(session, person, services.settings), key_id=None)


def _failed(request: Request, following: str, error: Failure) -> Response:
    return _form(request, following, error.detail[:1].upper() + error.detail[1:] + ".", error.status)


def _address(request: Request, path: str) -> str:
    return f"{'https' if _is_tls(request) else 'http'}://{request.url.netloc}{path}"


@router.post("/logout")
async def leave(request: Request, services: ServicesHere) -> Response:
    principal: Principal | None = getattr(request.state, "principal", None)
    if principal is None:
        return RedirectResponse("/login", status_code=303)
    fields = await _fields(request)
    if principal.csrf is None or not compare_digest(fields.get("token", "").encode(), principal.csrf.encode()):
        raise Forbidden("the form carries no token of this login: load the page again")
    await run_in_threadpool(_end, services, request.cookies.get(COOKIE, ""))
    answer = RedirectResponse("/login", status_code=303)
    answer.delete_cookie(COOKIE)
    return answer


def _end(services: Services, cookie: str) -> None:
    with services.store.write() as session:
        log_out(session, cookie)


async def _fields(request: Request) -> dict[str, str]:
    body = (await request.body())[:LONGEST_FORM].decode("utf-8", "replace")
    return {name: values[0] for name, values in parse_qs(body, max_num_fields=10).items()}


def _form(request: Request, following: str, problem: str = "", status: int = 200) -> Response:
    """The token in form and cookie says that the form is the one shown to this browser."""
    token = secrets.token_urlsafe(32)
    answer = html_page(
        "login.html",
        status,
        token=token,
        following=local_path(following),
        problem=problem,
        sign_on=STATE_PATH if request.app.state.provider else None,
    )
    _set_cookie(request, answer, FORM_COOKIE, token, 3600)
    return answer


def _logged_in(request: Request, cookie: str, following: str) -> Response:
    answer = RedirectResponse(local_path(following), status_code=303)
    _set_cookie(request, answer, COOKIE, cookie, LOGIN_HOURS * 3600)
    return answer


def _set_cookie(request: Request, answer: Response, name: str, value: str, seconds: int) -> None:
    answer.set_cookie(name, value, max_age=seconds, httponly=True, samesite="strict", secure=_is_tls(request))


def _is_tls(request: Request) -> bool:
    return request.url.scheme == "https" or request.headers.get("x-forwarded-proto") == "https"


def local_path(address: str) -> str:
    """A page of ours, and nothing else: `//elsewhere` and `/\\elsewhere` lead away."""
    is_ours = address.startswith("/") and not address.startswith(("//", "/\\")) and address.isprintable()
    return address if is_ours else HOME

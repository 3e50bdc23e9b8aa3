"""Who sends a request: the owner of an API key, or somebody who has logged in with a browser."""

import hmac
from datetime import UTC, datetime
from ipaddress import ip_address

from fastapi import Request
from sqlalchemy.orm import Session
from touchstone_contracts.access import DEFAULT_PROJECT
from touchstone_contracts.problems import Invalid
from touchstone_store.keys import Principal, digest_of, find_key, find_login, log_in, principal_of_key

from touchstone_api.settings import ApiSettings

COOKIE = "touchstone_login"
OPERATOR = "operator"
FORWARDED = ("forwarded", "x-forwarded-for", "x-real-ip")
BEARER = "bearer "


class NoCredentials(Invalid):
    code = "no_credentials"
    status = 401
    title = "Who is asking?"


class BadCredentials(Invalid):
    """One text for every reason: nobody learns which keys there were."""

    code = "bad_credentials"
    status = 401
    title = "Unknown key"


def identify(request: Request, session: Session, settings: ApiSettings) -> Principal:
    """By the key in `Authorization: Bearer`, else by the cookie of a login. Raises NoCredentials, BadCredentials."""
    header = request.headers.get("authorization")
    if header is not None:
        return _of_header(header, session, settings)
    cookie = request.cookies.get(COOKIE)
    found = None if cookie is None else _of_login(cookie, session, settings)
    if found is None:
        raise NoCredentials(
            "send an API key in the header `Authorization: Bearer KEY`; an admin of your project can create one "
            "(POST /v1/keys), pages are opened after a login at /login"
        )
    return found


def _of_header(header: str, session: Session, settings: ApiSettings) -> Principal:
    if not header[: len(BEARER)].lower() == BEARER:
        raise BadCredentials("the header Authorization must be `Bearer` and an API key")
    found = principal_with_key(header[len(BEARER) :].strip(), session, settings)
    if found is None:
        raise BadCredentials("the API key is not known, has expired or was revoked")
    return found


def principal_with_key(key: str, session: Session, settings: ApiSettings) -> Principal | None:
    """None where there is no such key, or it is not valid any more."""
    if is_operator_key(key, settings):
        return operator(settings)
    row = find_key(session, key, datetime.now(UTC))
    return None if row is None else principal_of_key(row)


def is_operator_key(key: str, settings: ApiSettings) -> bool:
    if settings.operator_key is None:
        return False
    given, expected = digest_of(key), digest_of(settings.operator_key.get_secret_value())
    return hmac.compare_digest(given, expected)


def operator(settings: ApiSettings) -> Principal:
    """Whoever runs the installation: admin of the default project. The name changes with the key."""
    assert settings.operator_key is not None
    name = f"{OPERATOR}:{digest_of(settings.operator_key.get_secret_value())[:16]}"
    return Principal(project=DEFAULT_PROJECT, scope="admin", actor=name)


def _of_login(cookie: str, session: Session, settings: ApiSettings) -> Principal | None:
    found = find_login(session, cookie, datetime.now(UTC))
    if found is None or not found.actor.startswith(f"login:{OPERATOR}:"):
        return found
    # A login with the operator's key ends with that key.
    is_current = settings.operator_key is not None and found.actor == f"login:{operator(settings).actor}"
    return found if is_current else None


def start_login(session: Session, principal: Principal, key_id: str | None) -> str:
    """The cookie."""
    return log_in(session, principal.project, principal.scope, principal.actor, key_id, datetime.now(UTC))


def is_at_this_machine(request: Request) -> bool:
    """Whether the other end is a program of the same machine and no proxy says that it speaks for somebody else."""
    if request.client is None or any(name in request.headers for name in FORWARDED):
        return False
    try:
        return ip_address(request.client.host).is_loopback
    except ValueError:
        return False

"""People log in at their organisation's provider (OpenID Connect, authorisation code with PKCE) instead of with a key.

The provider says who somebody is; the settings say which project, and how much of it, that opens. What the provider
sends is verified by Authlib: state, nonce, signature, issuer, audience and times."""

import hashlib
import ssl
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

import httpx2
from authlib.integrations.base_client import OAuthError
from authlib.integrations.starlette_client import OAuth
from fastapi import Request, Response
from joserfc.errors import JoseError
from sqlalchemy.orm import Session
from touchstone_contracts.access import SCOPES, Scope
from touchstone_contracts.problems import Invalid, NotFound, Transient
from touchstone_runtime.logs import get_logger
from touchstone_runtime.tls import trusted_certificates
from touchstone_store.keys import Principal
from touchstone_store.projects import project_named

from touchstone_api.settings import EVERYBODY, ApiSettings

log = get_logger(__name__)

ANSWER_SECONDS = 10
STATE_COOKIE = "touchstone_sign_on"
STATE_SECONDS = 600
STATE_PATH = "/login/provider"


class NotSignedIn(Invalid):
    code = "not_signed_in"
    status = 401
    title = "Signing in did not work"


class NoProject(Invalid):
    code = "no_project"
    status = 403
    title = "No project is open to you"


class Person(NamedTuple):
    subject: str
    """For the audit log: the provider's own name for somebody, and one that people read."""
    names: frozenset[str]
    """What the settings may open a project to: the values of the claim that they name."""


class Provider:
    """One OpenID provider, as the settings name it."""

    def __init__(self, settings: ApiSettings) -> None:
        secret = settings.oidc_client_secret
        self._issuer, self._claim = settings.oidc_issuer, settings.oidc_claim
        self._client = OAuth().register(
            "provider",
            client_id=settings.oidc_client_id,
            client_secret=secret.get_secret_value() if secret else None,
            server_metadata_url=f"{settings.oidc_issuer}/.well-known/openid-configuration",
            client_kwargs={
                "scope": settings.oidc_scopes,
                "code_challenge_method": "S256",
                "timeout": ANSWER_SECONDS,
                "verify": ssl.create_default_context(cafile=trusted_certificates(settings.ca_file)),
                "token_endpoint_auth_method": "client_secret_basic" if secret else "none",
            },
        )

    async def send(self, request: Request, back: str) -> Response:
        """To the provider's own page, which sends the browser `back`. Raises Transient."""
        await self._described()
        answer: Response = await self._client.authorize_redirect(request, back)
        return answer

    async def receive(self, request: Request) -> Person:
        """Who comes back from there. Raises NotSignedIn, Transient."""
        await self._described()
        try:
            token = await self._client.authorize_access_token(request)
            claims = dict(token.get("userinfo") or {})
            if "sub" not in claims:
                raise NotSignedIn("the provider sent no identity: TOUCHSTONE_OIDC_SCOPES must hold `openid`")
            if self._claim not in claims:
                claims = await self._further(token, claims["sub"]) | claims
        except httpx2.HTTPError as error:
            raise self._away(error) from error
        except (OAuthError, JoseError, ValueError) as error:
            log.warning("sign_on.refused", error=type(error).__name__)
            raise NotSignedIn("signing in was refused or took too long: please try again") from error
        return person_of(claims, self._claim)

    async def _further(self, token: dict[str, Any], subject: str) -> dict[str, Any]:
        """What some providers tell at their userinfo endpoint alone, if it is of the same person."""
        if "userinfo_endpoint" not in await self._described():
            return {}
        found = dict(await self._client.userinfo(token=token))
        return found if found.get("sub") == subject else {}

    async def _described(self) -> dict[str, Any]:
        """The document that the provider publishes about itself. Raises NotSignedIn, Transient."""
        try:
            found = dict(await self._client.load_server_metadata())
            issuer, _ = found["issuer"], found["authorization_endpoint"]
        except (httpx2.HTTPError, ValueError, TypeError, KeyError) as error:
            raise self._away(error) from error
        if issuer != self._issuer:
            raise NotSignedIn(f"the provider calls itself {issuer!r}, not {self._issuer!r} (TOUCHSTONE_OIDC_ISSUER)")
        return found

    def _away(self, error: Exception) -> Transient:
        log.warning("sign_on.no_answer", issuer=self._issuer, error=type(error).__name__)
        return Transient(f"{self._issuer} does not answer as an OpenID provider: try again later", code="sign_on")


def person_of(claims: Mapping[str, Any], claim: str) -> Person:
    """An e-mail address that the provider has not verified names nobody."""
    value = claims.get(claim)
    if claim == "email" and claims.get("email_verified") is not True:
        value = None
    names = (value,) if isinstance(value, str) else value if isinstance(value, list) else ()
    readable = claims.get("preferred_username") or claims.get("email") or claims.get("name") or ""
    return Person(f"{claims['sub']} {readable}".strip(), frozenset(name for name in names if isinstance(name, str)))


def principal_of_person(session: Session, person: Person, settings: ApiSettings) -> Principal:
    """By the first entry of the settings that names the person. Raises NoProject."""
    opened = next(_opened(person.names, settings.oidc_access.items()), None)
    if opened is None:
        raise NoProject(
            "you have signed in, but no project is open to you: ask whoever runs this installation "
            "(TOUCHSTONE_OIDC_ACCESS)"
        )
    name, scope = opened
    try:
        project = project_named(session, name).id
    except NotFound as error:
        raise NoProject(f"you may use the project {name!r}, which does not exist yet: ask for it") from error
    return Principal(project=project, scope=scope, actor=f"person:{person.subject}")


def _opened(names: frozenset[str], access: Iterable[tuple[str, str]]) -> Iterator[tuple[str, Scope]]:
    for wanted, grant in access:
        if wanted == EVERYBODY or wanted in names:
            project, _, found = grant.rpartition(":")
            yield project, next(scope for scope in SCOPES if scope == found)


def state_secret(settings: ApiSettings) -> str:
    """Signs the cookie that a browser keeps while it is at the provider: the same at every gateway."""
    known = (settings.oidc_client_secret, settings.operator_key, settings.database_url)
    text = "\0".join(secret.get_secret_value() for secret in known if secret is not None)
    return hashlib.sha256(f"sign on\0{text}".encode()).hexdigest()

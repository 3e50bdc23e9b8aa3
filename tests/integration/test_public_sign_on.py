"""People log in by a public client: no secret is set, and the provider enforces PKCE."""

import base64
import hashlib
from collections.abc import Iterator

import httpx2
import pytest
from fastapi.testclient import TestClient
from support.public_sign_on import BACK, PublicProvider, public_provider
from support.sign_on import PEOPLE, Serve, issuer, services_with
from touchstone_api.access.credentials import COOKIE
from touchstone_api.access.single_sign_on import STATE_PATH
from touchstone_api.main import create_app

__all__ = ["issuer", "services_with"]


@pytest.fixture
def public() -> Iterator[tuple[str, str, PublicProvider]]:
    with public_provider(PEOPLE) as provider:
        yield provider


def browse(services_with: Serve, address: str, client: str) -> TestClient:
    services = services_with(oidc_issuer=address, oidc_client_id=client, oidc_client_secret=None)
    return TestClient(create_app(services), base_url="http://localhost", follow_redirects=False)


def another(page: TestClient) -> TestClient:
    """Another browser at the same installation."""
    return TestClient(page.app, base_url="http://localhost", follow_redirects=False)


def at_provider(page: TestClient) -> httpx2.URL:
    """Where the browser is sent back to, with a code, after the form was filled in."""
    sent = page.get(STATE_PATH)
    assert sent.status_code == 302, sent.text
    answered = httpx2.post(sent.headers["location"], data={"sub": "1"})
    assert answered.status_code == 302, answered.text
    return httpx2.URL(answered.headers["location"])


def test_a_public_client_logs_in_with_pkce_and_no_secret(
    services_with: Serve, public: tuple[str, str, PublicProvider]
) -> None:
    address, client, provider = public
    page = browse(services_with, address, client)
    answer = page.get(str(at_provider(page)))
    assert answer.status_code == 200, answer.text
    assert page.get("/v1/project").json()["name"] == "birds"
    assert (provider.issued, provider.refused) == (1, [])


def test_a_code_is_worth_nothing_without_its_verifier(
    services_with: Serve, public: tuple[str, str, PublicProvider]
) -> None:
    address, client, provider = public
    page = browse(services_with, address, client)
    code = at_provider(page).params["code"]
    for verifier in ({}, {"code_verifier": "x" * 43}, {"code_verifier": provider.challenges[code]}):
        wanted = {"grant_type": "authorization_code", "code": code, "client_id": client, "redirect_uri": BACK}
        assert httpx2.post(f"{address}/oauth2/token", data=wanted | verifier).status_code == 400
    assert (provider.issued, len(provider.refused)) == (0, 3)


def test_each_login_has_a_challenge_of_its_own(services_with: Serve, public: tuple[str, str, PublicProvider]) -> None:
    address, client, provider = public
    page = browse(services_with, address, client)
    for _ in range(3):
        at_provider(another(page))
    assert len(provider.challenges) == len(set(provider.challenges.values())) == 3
    empty = base64.urlsafe_b64encode(hashlib.sha256(b"").digest()).rstrip(b"=").decode()
    assert empty not in provider.challenges.values()


def test_a_code_of_another_browser_is_refused(services_with: Serve, public: tuple[str, str, PublicProvider]) -> None:
    """Its verifier is in the cookie of the browser that began."""
    address, client, provider = public
    mine = browse(services_with, address, client)
    theirs = another(mine)
    code = at_provider(mine).params["code"]
    answer = theirs.get(str(at_provider(theirs).copy_set_param("code", code)))
    assert answer.status_code == 401
    assert COOKIE not in theirs.cookies
    assert provider.refused == ["the verifier is not that of the challenge"]


def test_an_unregistered_client_is_refused(services_with: Serve, public: tuple[str, str, PublicProvider]) -> None:
    address, _, provider = public
    sent = browse(services_with, address, "another").get(STATE_PATH)
    assert httpx2.post(sent.headers["location"], data={"sub": "1"}).status_code == 400
    assert provider.challenges == {}

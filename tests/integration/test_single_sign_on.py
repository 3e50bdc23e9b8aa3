"""People log in at an OpenID provider: a real one, on a port of this machine."""

import html
import json
import re
from typing import Any

import httpx2
import pytest
from fastapi.testclient import TestClient
from pydantic import ValidationError
from support.answering import answering
from support.leaks import looked_through
from support.memory_services import memory_services
from support.sign_on import ACCESS, SECRET, Serve, issuer, services_with
from touchstone_api.access.authorise import CSRF_HEADER
from touchstone_api.access.credentials import COOKIE
from touchstone_api.access.single_sign_on import STATE_COOKIE, STATE_PATH, person_of
from touchstone_api.bootstrap import Services
from touchstone_api.main import create_app
from touchstone_api.settings import ApiSettings
from touchstone_store.audit import list_audit
from touchstone_store.projects import project_named

__all__ = ["issuer", "services_with"]


def browse(services: Services) -> TestClient:
    """A browser without any key. Answers are searched for the client's secret."""
    client = TestClient(create_app(services), base_url="http://localhost", follow_redirects=False)
    client.event_hooks = looked_through([SECRET])
    return client


def at_provider(address: str, **answer: str) -> str:
    """Fills in the provider's form: the address that it sends the browser to."""
    answered = httpx2.post(address, data=answer)
    assert answered.status_code == 302, answered.text
    return answered.headers["location"]


def sign_in(page: TestClient, subject: str, following: str = "/") -> Any:
    """The answer to whoever comes back from the provider."""
    sent = page.get(STATE_PATH, params={"next": following})
    assert sent.status_code == 302, sent.text
    return page.get(at_provider(sent.headers["location"], sub=subject))


def problem(answer: Any) -> str:
    return re.findall(r'role="alert">([^<]*)<', answer.text)[0]


def test_somebody_of_a_group_gets_the_project_and_scope_of_the_first_entry_that_fits(services_with: Serve) -> None:
    services = services_with()
    page = browse(services)
    assert "Log in with your organisation" in page.get("/login").text
    answer = sign_in(page, "1", following="/new")
    assert answer.status_code == 200
    assert 'content="0; url=/new"' in answer.text
    mine = page.get("/v1/project").json()
    assert (mine["name"], mine["scope"]) == ("birds", "write")
    staff = browse(services)
    sign_in(staff, "2")
    theirs = staff.get("/v1/project").json()
    assert (theirs["name"], theirs["scope"]) == ("default", "read")


def test_what_somebody_does_is_in_the_audit_log_by_their_name_and_needs_the_token_of_the_page(
    services_with: Serve,
) -> None:
    services = services_with(oidc_access={"vision": "birds:admin"})
    page = browse(services)
    sign_in(page, "1")
    hook = {"url": "https://hooks.example.org/x"}
    assert page.post("/v1/webhooks", json=hook).status_code == 403
    token = re.findall('name="csrf" content="([^"]+)"', page.get("/").text)[0]
    assert page.post("/v1/webhooks", json=hook, headers={CSRF_HEADER: token}).status_code == 201
    with services.store.read() as session:
        entries = list_audit(session, project_named(session, "birds").id, before=None, limit=10)
    assert [(entry.actor, entry.status) for entry in entries] == [
        ("login:person:1 ana@example.org", 201),
        ("login:person:1 ana@example.org", 403),
    ]


def test_after_a_logout_the_cookie_opens_nothing(services_with: Serve) -> None:
    page = browse(services_with())
    sign_in(page, "1")
    cookie = page.cookies[COOKIE]
    token = re.findall('name="csrf" content="([^"]+)"', page.get("/").text)[0]
    assert page.post("/logout", data={"token": token}).status_code == 303
    page.cookies.set(COOKIE, cookie)
    assert page.get("/v1/project").status_code == 401


@pytest.mark.parametrize(("subject", "said"), [("3", "no project is open to you"), ("5", "no project is open to you")])
def test_who_is_in_no_group_that_opens_a_project_gets_no_login(services_with: Serve, subject: str, said: str) -> None:
    page = browse(services_with())
    answer = sign_in(page, subject)
    assert answer.status_code == 403
    assert said in problem(answer)
    assert COOKIE not in page.cookies


def test_a_project_that_does_not_exist_is_told(services_with: Serve) -> None:
    answer = sign_in(browse(services_with(oidc_access={"*": "nowhere:read"})), "3")
    assert answer.status_code == 403
    assert "does not exist yet" in problem(answer)


def test_everybody_and_single_addresses_can_be_let_in(services_with: Serve) -> None:
    page = browse(
        services_with(oidc_claim="email", oidc_access={"ana@example.org": "birds:admin", "*": "default:read"})
    )
    sign_in(page, "1")
    assert page.get("/v1/project").json()["scope"] == "admin"
    sign_in(page, "3")
    assert page.get("/v1/project").json()["scope"] == "read"


def test_an_address_that_the_provider_has_not_verified_names_nobody(services_with: Serve) -> None:
    page = browse(services_with(oidc_claim="email", oidc_access={"dan@example.org": "birds:admin"}))
    assert sign_in(page, "4").status_code == 403
    assert person_of({"sub": "4", "email": "dan@example.org"}, "email").names == frozenset()
    assert person_of({"sub": "4", "groups": ["a", 7, None]}, "groups").names == {"a"}
    assert person_of({"sub": "4", "groups": {"a": 1}}, "groups").names == frozenset()


def test_only_the_browser_that_left_may_come_back_and_only_once(services_with: Serve) -> None:
    services = services_with()
    page = browse(services)
    back = at_provider(page.get(STATE_PATH).headers["location"], sub="1")
    other = browse(services)
    refused = other.get(back)
    assert (refused.status_code, COOKIE in other.cookies) == (401, False)
    assert "please try again" in problem(refused)
    assert page.get(back).status_code == 200
    page.cookies.delete(COOKIE)
    assert page.get(back).status_code == 401
    for made_up in ("", "?code=x", "?state=x", "?code=x&state=y", "?error=access_denied&state=z"):
        assert page.get(f"{STATE_PATH}/back{made_up}").status_code == 401, made_up
    assert COOKIE not in page.cookies


def test_a_cookie_of_the_way_that_was_changed_is_worth_nothing(services_with: Serve) -> None:
    page = browse(services_with())
    back = at_provider(page.get(STATE_PATH).headers["location"], sub="1")
    kept = page.cookies[STATE_COOKIE]
    page.cookies.clear()
    page.cookies.set(STATE_COOKIE, kept[:-4] + "AAAA")
    assert page.get(back).status_code == 401


def test_who_says_no_at_the_provider_is_back_at_the_form(services_with: Serve) -> None:
    page = browse(services_with())
    back = at_provider(page.get(STATE_PATH).headers["location"], action="deny")
    answer = page.get(back)
    assert (answer.status_code, COOKIE in page.cookies) == (401, False)


def test_a_code_of_another_login_is_refused(services_with: Serve) -> None:
    """What somebody got for themselves cannot be given to another browser under that browser's state."""
    services = services_with()
    mine, theirs = browse(services), browse(services)
    my_code = httpx2.URL(at_provider(mine.get(STATE_PATH).headers["location"], sub="1")).params["code"]
    their_back = httpx2.URL(at_provider(theirs.get(STATE_PATH).headers["location"], sub="2"))
    assert theirs.get(str(their_back.copy_set_param("code", my_code))).status_code == 401
    assert COOKIE not in theirs.cookies


def test_a_provider_that_calls_itself_otherwise_is_not_believed(services_with: Serve) -> None:
    document = {"issuer": "https://other.example.org", "authorization_endpoint": "https://other.example.org/in"}
    with answering(json.dumps(document).encode()) as address:
        page = browse(services_with(oidc_issuer=address))
        answer = page.get(STATE_PATH)
    assert answer.status_code == 401
    assert "https://other.example.org" in html.unescape(problem(answer))


@pytest.mark.parametrize("document", [b"", b"[]", b"{}", b"<html>", b'{"issuer": "x"}'])
def test_what_is_no_provider_is_told(services_with: Serve, document: bytes) -> None:
    with answering(document) as address:
        answer = browse(services_with(oidc_issuer=address)).get(STATE_PATH)
    assert answer.status_code == 503
    assert "does not answer as an OpenID provider" in problem(answer)


def test_a_provider_that_is_away_is_told_and_keys_still_work(services_with: Serve) -> None:
    page = browse(services_with(oidc_issuer="http://localhost:9"))
    answer = page.get(STATE_PATH)
    assert answer.status_code == 503
    assert "does not answer" in problem(answer)
    assert 'name="key"' in answer.text


@pytest.mark.parametrize("elsewhere", ["//evil.example", "https://evil.example", "/\\evil.example", "javascript:x"])
def test_nobody_is_sent_elsewhere_after_the_login(services_with: Serve, elsewhere: str) -> None:
    answer = sign_in(browse(services_with()), "1", following=elsewhere)
    assert 'content="0; url=/"' in answer.text


def test_without_a_provider_there_is_no_such_way_in(tmp_path: Any) -> None:
    page = browse(memory_services(tmp_path))
    assert [page.get(path).status_code for path in (STATE_PATH, f"{STATE_PATH}/back")] == [404, 404]
    assert "organisation" not in page.get("/login").text


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"oidc_issuer": "https://id.example.org"}, "TOUCHSTONE_OIDC_CLIENT_ID"),
        ({"oidc_issuer": "http://id.example.org", "oidc_client_id": "t", "oidc_access": ACCESS}, "oidc_issuer"),
        ({"oidc_issuer": "https://id.example.org/", "oidc_client_id": "t", "oidc_access": ACCESS}, "oidc_issuer"),
        ({"oidc_access": {"vision": "birds"}}, "oidc_access"),
        ({"oidc_access": {"vision": "birds:root"}}, "oidc_access"),
    ],
)
def test_settings_that_cannot_be_right_stop_the_start(settings: dict[str, Any], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        ApiSettings.model_validate({"database_url": "sqlite://", **settings})


def test_empty_settings_are_none(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("ISSUER", "CLIENT_SECRET"):
        monkeypatch.setenv(f"TOUCHSTONE_OIDC_{name}", "")
    settings = ApiSettings.model_validate({"database_url": "sqlite://"})
    assert (settings.oidc_issuer, settings.oidc_client_secret) == (None, None)

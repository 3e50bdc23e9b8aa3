"""What nobody reads in an address is refused, and people who miss a page get a page."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from fastapi.testclient import TestClient
from support.memory_services import api_client, memory_services

BROWSER = {"Accept": "text/html,application/xhtml+xml,*/*;q=0.8"}


@pytest.fixture
def client(tmp_path: Path) -> Iterator[TestClient]:
    services = memory_services(tmp_path)
    with api_client(services, raise_server_exceptions=False) as client:
        yield client
    services.store.close()


@pytest.mark.parametrize(
    ("address", "words"),
    [
        ("/v1/experiments?phse=failed", "did you mean 'phase'?"),
        ("/v1/experiments?colour=red", "known are archived, arm, cursor, encoder, limit, phase, q, sort, tag, target"),
        ("/v1/upstreams?name=miniverse", "known are cursor, limit"),
        ("/v1/project?verbose=1", "known are none"),
    ],
)
def test_an_unknown_parameter_is_refused_with_what_is_known(client: TestClient, address: str, words: str) -> None:
    answer = client.get(address)
    assert (answer.status_code, answer.json()["code"]) == (422, "invalid_request")
    [error] = answer.json()["errors"]
    assert error["pointer"].startswith("/query/")
    assert words in error["detail"]


def test_every_parameter_of_the_description_is_known(client: TestClient) -> None:
    paths = client.get("/openapi.json").json()["paths"]
    tried = 0
    for path, operations in paths.items():
        names = [each["name"] for each in operations.get("get", {}).get("parameters", []) if each["in"] == "query"]
        for name in names:
            answer = client.get(path, params={name: "1"})
            assert "no such parameter" not in answer.text, (path, name)
            tried += 1
    assert tried > 50


@pytest.mark.parametrize("address", ["/nonsense", "/experiments/exp_none", "/experiments", "/?sort=up", "/?cursor=x"])
def test_a_browser_gets_a_page_for_every_error(client: TestClient, address: str) -> None:
    answer = client.get(address, headers=BROWSER)
    assert answer.status_code in {404, 422}
    assert answer.headers["content-type"].startswith("text/html")
    assert "content-security-policy" in answer.headers
    assert '<a href="/">All experiments</a>' in answer.text


def test_programs_get_a_problem_document(client: TestClient) -> None:
    for address in ("/nonsense", "/v1/nonsense", "/v1/experiments/exp_none", "/v1/experiments?sort=up"):
        answer = client.get(address)
        assert answer.headers["content-type"] == "application/problem+json"
        assert answer.json()["status"] in {404, 422}
    assert client.get("/v1/nonsense", headers=BROWSER).headers["content-type"] == "application/problem+json"


def test_a_bug_shows_no_traceback_to_a_person(client: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    def bug(*_: object, **__: object) -> None:
        raise RuntimeError("secret")

    monkeypatch.setattr("touchstone_api.routes.dashboard.list_experiments", bug)
    answer = client.get("/", headers=BROWSER)
    assert (answer.status_code, answer.headers["content-type"][:9]) == (500, "text/html")
    assert "secret" not in answer.text
    assert answer.headers["x-request-id"] in answer.text


def test_every_operation_with_a_json_body_refuses_another_content_type(client: TestClient) -> None:
    paths = client.get("/openapi.json").json()["paths"]
    bodies = [
        (method, re.sub(r"{\w+}", "targets", path))
        for path, operations in paths.items()
        for method, operation in operations.items()
        if "application/json" in operation.get("requestBody", {}).get("content", {})
    ]
    for method, path in bodies:
        for content_type in ("text/plain", "application/x-yaml", "application/x-www-form-urlencoded", ""):
            answer = client.request(method, path, content=b"{}", headers={"Content-Type": content_type})
            assert (answer.status_code, answer.json()["code"]) == (415, "not_json"), (method, path, content_type)
    assert len(bodies) >= 12

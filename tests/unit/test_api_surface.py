"""What every request meets: problem documents, headers, limits, the catalogue, health and the description."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from fastapi.testclient import TestClient
from support.memory_services import api_client, memory_services
from support.specs import DictLookup
from touchstone_api.bootstrap import Services
from touchstone_api.problems import json_pointer
from touchstone_contracts.changes import apply_changes
from touchstone_contracts.problems import Problem, Transient
from touchstone_store.database import open_store
from touchstone_store.migrate import migrate, require_current

LOOKUP = DictLookup()
JSON = {"content-type": "application/json"}
ENCODER = LOOKUP.encoders["clip"].model_dump(mode="json")
UPSTREAM = LOOKUP.upstreams["world"].model_dump(mode="json")
TARGET = LOOKUP.targets["fine"].model_dump(mode="json")


@pytest.fixture
def services(services: Services) -> Services:
    return replace(services, settings=services.settings.model_copy(update={"max_body_bytes": 5000}))


@pytest.fixture
def client(services: Services) -> Iterator[TestClient]:
    with api_client(services, raise_server_exceptions=False) as client:
        yield client


def problem_of(client: TestClient, method: str, path: str, **options: object) -> Problem:
    answer = client.request(method, path, **options)  # type: ignore[arg-type]
    assert answer.headers["content-type"] == "application/problem+json"
    problem = Problem.model_validate_json(answer.content)
    assert problem.status == answer.status_code
    assert problem.request_id == answer.headers["x-request-id"]
    return problem


@pytest.mark.parametrize(
    ("method", "path", "options", "code"),
    [
        ("GET", "/v1/nothing", {}, "not_found"),
        ("DELETE", "/v1/experiments", {}, "method_not_allowed"),
        ("GET", "/v1/experiments/exp_none", {}, "not_found"),
        ("GET", "/v1/experiments?limit=0", {}, "invalid_request"),
        (
            "POST",
            "/v1/experiments",
            {"content": "{", "headers": {"content-type": "application/json"}},
            "malformed_json",
        ),
        ("POST", "/v1/experiments", {"json": {"name": "x" * 6000}}, "body_too_large"),
        (
            "POST",
            "/v1/experiments",
            {"content": iter([b"x" * 3000, b"x" * 3000]), "headers": {"content-type": "application/json"}},
            "body_too_large",
        ),
        ("POST", "/v1/experiments", {"content": iter([b"{}"])}, "not_json"),
        ("POST", "/v1/experiments/exp_none/cancel", {}, "not_found"),
        ("GET", "/v1/targets/none", {}, "not_found"),
        ("POST", "/v1/encoders", {"json": ENCODER | {"model": "library:../../etc"}}, "invalid_request"),
        ("POST", "/v1/upstreams", {"json": UPSTREAM}, "unknown_name"),
    ],
)
def test_every_error_is_a_problem_document(
    client: TestClient, method: str, path: str, options: dict[str, object], code: str
) -> None:
    assert problem_of(client, method, path, **options).code == code


def test_a_bug_tells_its_request_id_and_nothing_else(client: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    def bug(*_: object, **__: object) -> None:
        raise RuntimeError("the password is swordfish")

    monkeypatch.setattr("touchstone_api.routes.experiments.list_experiments", bug)
    answer = client.get("/v1/experiments", headers={"X-Request-Id": "trace-me"})
    assert (answer.status_code, answer.json()["code"]) == (500, "bug")
    assert answer.json()["request_id"] == answer.headers["x-request-id"] == "trace-me"
    assert "swordfish" not in answer.text
    assert "Traceback" not in answer.text


def test_a_harmful_request_id_is_replaced(client: TestClient) -> None:
    answer = client.get("/healthz", headers={"X-Request-Id": 'x" onload="y'})
    assert answer.headers["x-request-id"].isalnum()
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert "default-src 'none'" in client.get("/v1/experiments").headers["content-security-policy"]


def test_registering_twice_is_harmless_and_a_name_keeps_its_meaning(client: TestClient) -> None:
    statuses = [client.post("/v1/encoders", json=ENCODER).status_code for _ in range(2)]
    assert statuses == [201, 200]
    assert problem_of(client, "POST", "/v1/encoders", json=ENCODER | {"description": "other"}).code == "name_taken"
    assert client.get("/v1/encoders/clip").json() == ENCODER
    assert [item["name"] for item in client.get("/v1/encoders").json()["items"]] == ["clip"]


def test_registering_an_upstream_starts_its_ingest(client: TestClient) -> None:
    client.post("/v1/encoders", json=ENCODER)
    answers = [client.post("/v1/upstreams", json=UPSTREAM) for _ in range(2)]
    assert [answer.status_code for answer in answers] == [201, 200]
    view = client.get("/v1/upstreams/world").json()
    assert (view["phase"], view["images"], view["steps"]["total"]) == ("queued", 100, 5)
    assert (view["account"]["files"], view["account"]["ingested"], view["account"]["account"]["seen"]) == (2, 0, 0)
    assert client.get("/v1/upstreams").json()["items"] == [view | {"account": None}]


def test_targets_are_listed_without_their_classes(client: TestClient) -> None:
    client.post("/v1/targets", json=TARGET)
    assert client.get("/v1/targets").json()["items"][0]["classes"] == 3
    assert client.get("/v1/targets/fine").json() == TARGET


def test_readiness_names_the_server_that_is_away(services: Services) -> None:
    def away() -> None:
        raise Transient("secret address refused")

    checks = {"database": services.store.ping, "object_store": away}
    with api_client(replace(services, checks=checks)) as client:
        problem = problem_of(client, "GET", "/readyz")
        assert client.get("/healthz").status_code == 200
    assert (problem.status, [error.pointer for error in problem.errors]) == (503, ["/object_store"])
    assert "secret" not in problem.model_dump_json()
    ready = replace(services, checks={"database": services.store.ping})
    with api_client(ready) as client:
        assert client.get("/readyz").json() == {"database": "ok"}


def test_metrics_count_requests_by_route_and_steps_by_state(client: TestClient) -> None:
    client.post("/v1/encoders", json=ENCODER)
    client.post("/v1/upstreams", json=UPSTREAM)
    client.get("/v1/targets/some-name")
    text = client.get("/metrics").text
    assert 'touchstone_http_requests_total{method="GET",route="/v1/targets/{name}",status="404"} 1.0' in text
    assert 'touchstone_steps{state="waiting"} 5.0' in text
    assert "some-name" not in text


def test_the_description_is_complete(client: TestClient) -> None:
    description = client.get("/openapi.json").json()
    assert description["openapi"].startswith("3.1")
    operations = [
        (path, method, operation)
        for path, methods in description["paths"].items()
        for method, operation in methods.items()
    ]
    assert len(operations) >= 22
    ids = [operation["operationId"] for _, _, operation in operations]
    assert len(set(ids)) == len(ids)
    for path, method, operation in operations:
        assert operation.get("tags"), path
        if "requestBody" in operation and path != "/v1/uploads":  # whose body is an archive
            content = operation["requestBody"]["content"]["application/json"]
            assert content.get("examples"), (path, method)
        for status, answer in operation["responses"].items():
            if status >= "400":
                assert answer["content"] == {
                    "application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}
                }
    assert "Problem" in description["components"]["schemas"]


def test_the_examples_of_the_description_are_accepted(tmp_path: Path) -> None:
    with api_client(memory_services(tmp_path)) as client:
        paths = client.get("/openapi.json").json()["paths"]
        tried = 0
        for resource in ("encoders", "generators", "targets", "datasets", "upstreams"):
            examples = paths[f"/v1/{resource}"]["post"]["requestBody"]["content"]["application/json"]["examples"]
            for name, example in examples.items():
                expected = 202 if "location" in name else 201
                assert client.post(f"/v1/{resource}", json=example["value"]).status_code == expected
                tried += 1
        assert tried == 9


def test_pointers_leave_out_the_member_of_a_tagged_union() -> None:
    body = {"arms": [{"kind": "retrieval", "strategy": {"kind": "union", "a/b": 1}}]}
    location = ("body", "arms", 0, "retrieval", "strategy", "union", "a/b")
    assert json_pointer(location, body) == "/arms/0/strategy/a~1b"
    assert json_pointer(("body", "arms", 0, "generation", "images"), body) == "/arms/0/images"
    assert json_pointer(("query", "limit"), None) == "/query/limit"
    assert json_pointer(("body",), body) == ""


@pytest.mark.parametrize(
    ("path", "body", "pointers"),
    [
        ("upstreams", {"name": "birds", "location": ["../photos"]}, ["/location/0"]),
        ("upstreams", {"name": "birds", "location": ["library:a", "b", "c"]}, ["/location/1", "/location/2"]),
        ("upstreams", {"name": "birds", "location": "../photos"}, ["/location"]),
        ("upstreams", {"name": "birds", "location": []}, ["/location"]),
        ("targets", {"name": "owls", "splits": {"validation": ["a"], "test": "library:b"}}, ["/splits/validation/0"]),
        ("targets", {"name": "owls", "location": "library:a", "classes": ["x", ""]}, ["/classes/1"]),
        ("targets", {"name": "owls", "location": "library:a", "classes": [""]}, ["/classes/0", "/classes"]),
    ],
)
def test_a_list_with_a_refused_item_is_not_called_too_short(
    client: TestClient, path: str, body: dict[str, object], pointers: list[str]
) -> None:
    problem = problem_of(client, "POST", f"/v1/{path}", json=body)
    assert [error.pointer for error in problem.errors] == pointers


@pytest.mark.parametrize(
    ("document", "changes", "changed"),
    [
        ({"a": "b"}, {"a": "c"}, {"a": "c"}),
        ({"a": "b"}, {"b": "c"}, {"a": "b", "b": "c"}),
        ({"a": ["b"]}, {"a": "c"}, {"a": "c"}),
        ({"a": [{"b": "c"}]}, {"a": [1]}, {"a": [1]}),
        ({"a": {"b": "c", "d": 1}}, {"a": {"b": "d"}}, {"a": {"b": "d", "d": 1}}),
        ({"a": {"b": "c"}}, {"a": None}, {"a": None}),
        ({"a": {"b": 0.9, "c": 1}}, {"a": {"b": None}}, {"a": {"b": None, "c": 1}}),
        ({"a": None}, {"a": {"b": 1}}, {"a": {"b": 1}}),
        ({"a": {"kind": "x", "b": 1}}, {"a": {"kind": "y", "c": 2}}, {"a": {"kind": "y", "c": 2}}),
        ({"a": {"kind": "x", "b": 1}}, {"a": {"kind": "x", "c": 2}}, {"a": {"kind": "x", "b": 1, "c": 2}}),
    ],
)
def test_changes_merge_objects_and_replace_the_rest(document: object, changes: object, changed: object) -> None:
    assert apply_changes(document, changes) == changed


def test_readiness_names_a_database_without_schema_and_says_what_to_do(services: Services, tmp_path: Path) -> None:
    empty = open_store(f"sqlite:///{tmp_path / 'empty.db'}")
    waiting = replace(services, store=empty, checks={"database": lambda: require_current(empty)})
    with api_client(waiting) as client:
        problem = problem_of(client, "GET", "/readyz")
        assert [(error.pointer, error.detail) for error in problem.errors] == [
            ("/database", "database has no schema: run the migration")
        ]
        migrate(empty)
        assert client.get("/readyz").json() == {"database": "ok"}


def test_invented_methods_and_paths_make_one_series(client: TestClient) -> None:
    for method in ("BREW", "WHEN", "BREW"):
        client.request(method, f"/v1/{method.lower()}")
    text = client.get("/metrics").text
    assert 'touchstone_http_requests_total{method="other",route="unmatched",status="404"} 3.0' in text
    assert "BREW" not in text
    assert "brew" not in text


def test_metrics_count_problems_by_code(client: TestClient) -> None:
    client.get("/v1/targets/some-name")
    client.get("/v1/experiments", params={"limit": 0})
    text = client.get("/metrics").text
    assert 'touchstone_http_problems_total{code="not_found"} 1.0' in text
    assert 'touchstone_http_problems_total{code="invalid_request"} 1.0' in text
    assert 'touchstone_http_problems_total{code="bug"} 0.0' in text
    assert "process_resident_memory_bytes" in text


@pytest.mark.parametrize("pattern", [r"(?=-)", r"(a)\1", "((a{100}){100}){100}"])
def test_clusters_are_named_by_what_matches_in_linear_time(client: TestClient, pattern: str) -> None:
    cluster = {"cluster": {"kind": "key", "remove": pattern}}
    further = {"sketch": UPSTREAM["shards"][0] | cluster}
    problem = problem_of(
        client, "POST", "/v1/targets", json=TARGET | {"splits": TARGET["splits"] | {"further_tests": further}}
    )
    assert problem.status == 422
    assert problem.errors[0].pointer == "/splits/further_tests/sketch/cluster/remove"

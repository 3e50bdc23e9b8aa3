"""Text that no database holds, numbers that no column holds and cursors that no list gave are 422 wherever a request
can carry them, on both databases."""

import base64
import json
from collections import Counter
from collections.abc import Callable, Iterator
from copy import deepcopy
from typing import Any

import pytest
from fastapi.testclient import TestClient
from support.finished_experiments import finish_experiment, post_experiment
from support.memory_services import api_client, memory_services, on_postgres

Operation = tuple[str, str, dict[str, Any]]

PERCENT_ENCODED = {
    "NUL": "a%00b",
    "escape": "a%1bb",
    "line break": "a%0ab",
    "delete": "a%7fb",
    "C1 control": "a%C2%85b",
    "byte that is not UTF-8": "a%ffb",
    "lone surrogate": "a%ED%A0%80b",
}
IN_JSON = {"NUL": r"a\u0000b", "escape": r"a\u001bb", "delete": "a\x7fb", "lone surrogate": r"a\ud800b"}
HUGE = [2**31, 2**63, 2**64, 10**400]


def _cursor(text: bytes) -> str:
    return base64.urlsafe_b64encode(text).decode().rstrip("=")


CURSORS = {
    "emoji": "%F0%9F%8D%80",
    "not base64": "!!!!",
    "wrong padding": "YQ===",
    "not UTF-8": _cursor(b"\xff\xfe"),
    "NUL": _cursor(b"00000000/\0"),
    "no position": _cursor(b"exp_123"),
    "of another list": _cursor(b"00000000/exp_123"),
    "huge row": _cursor(b"00000000/" + b"9" * 60),
    "long": "A" * 5000,
}


@pytest.fixture(scope="module", params=["sqlite", "postgres"])
def client(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, new_database: Callable[[str], str]
) -> Iterator[TestClient]:
    """With a finished experiment. What is refused changes nothing, so that the module shares it."""
    services = memory_services(tmp_path_factory.mktemp(request.param))
    if request.param == "postgres":
        url = new_database(request.getfixturevalue("postgres_server"))
        services = on_postgres(services, url)
    told = post_experiment(services)
    finish_experiment(services, told)
    with api_client(services, raise_server_exceptions=False) as client:
        client.headers["X-Experiment"] = told.id
        yield client


def operations(client: TestClient) -> list[Operation]:
    paths = client.get("/openapi.json").json()["paths"]
    found = [(method.upper(), path, operation) for path, each in paths.items() for method, operation in each.items()]
    assert len(found) > 40
    return found


def filled(path: str, client: TestClient, **garbage: str) -> str:
    values = {"experiment": client.headers["X-Experiment"], "name": "world", "arm": "retrieved", "image": "0" * 64}
    values |= {"step": "0" * 64, "webhook": "hook_1", "delivery": "msg_1", "plural": "targets", "key": "0" * 16}
    values |= {"kind": "upstream", "target": "fine", "upload": "default.0123", "search": "0" * 64}
    return path.format(**values | garbage)


def parameters(operation: dict[str, Any], location: str, kind: str | None = None) -> list[str]:
    """Names of the parameters in one location (`in`); of one type, or a union with it."""
    return [
        each["name"]
        for each in operation.get("parameters", [])
        if each["in"] == location and (kind is None or kind in str(each["schema"]))
    ]


def examples(operation: dict[str, Any]) -> list[Any]:
    """Of the JSON that it takes; an archive is none."""
    media = operation.get("requestBody", {}).get("content", {}).get("application/json")
    return [each["value"] for each in media["examples"].values()] if media else []


def strings(document: Any, path: tuple[str | int, ...] = ()) -> Iterator[tuple[str | int, ...]]:
    if isinstance(document, str):
        yield path
    elif isinstance(document, dict | list):
        for key, value in document.items() if isinstance(document, dict) else enumerate(document):
            yield from strings(value, (*path, key))


def replaced(document: Any, path: tuple[str | int, ...], value: str) -> Any:
    copy = deepcopy(document)
    here = copy
    for part in path[:-1]:
        here = here[part]
    here[path[-1]] = value
    return copy


def refused(client: TestClient, method: str, path: str, what: str, **options: Any) -> str:
    """The code of the 422."""
    answer = client.request(method, path, **options)
    assert answer.status_code == 422, (method, path, what, answer.status_code, answer.text[:300])
    assert answer.headers["content-type"] == "application/problem+json"
    return str(answer.json()["code"])


def test_text_that_cannot_be_stored_is_refused_in_every_path_and_query(client: TestClient) -> None:
    codes: Counter[str] = Counter()
    for method, path, operation in operations(client):
        for what, garbage in PERCENT_ENCODED.items():
            for name in parameters(operation, "path"):
                codes[refused(client, method, filled(path, client, **{name: garbage}), what)] += 1
            for name in parameters(operation, "query"):
                codes[refused(client, method, f"{filled(path, client)}?{name}={garbage}", what)] += 1
            codes[refused(client, method, f"{filled(path, client)}?{garbage}=1", what)] += 1
    assert set(codes) == {"invalid_text"}
    assert codes.total() > 700


def test_text_that_cannot_be_stored_is_refused_in_every_string_of_every_body(client: TestClient) -> None:
    tried: Counter[str] = Counter()
    bodies = [(method, path, body) for method, path, each in operations(client) for body in examples(each)]
    for method, path, body in bodies:
        fields = [*strings(body), ("unknown",)]
        for what, garbage in IN_JSON.items():
            for field in fields:
                text = json.dumps(replaced(body, field, "GARBAGE")).replace("GARBAGE", garbage)
                options: dict[str, Any] = {"content": text, "headers": {"content-type": "application/json"}}
                assert refused(client, method, filled(path, client), f"{what} in {field}", **options) == "invalid_text"
                tried[f"{method} {path}"] += 1
            text = json.dumps({**body, "GARBAGE": 1}).replace("GARBAGE", garbage)
            options = {"content": text, "headers": {"content-type": "application/json"}}
            assert refused(client, method, filled(path, client), f"{what} as a key", **options) == "invalid_text"
    assert len(tried) >= 9
    assert tried.total() > 300


def test_tabs_and_line_breaks_of_a_body_are_text(client: TestClient) -> None:
    encoder = {"name": "e", "model": "library:m", "digest": "0" * 64, "trained_on": "x", "description": "a\tb\r\nc"}
    assert client.post("/v1/encoders", json=encoder).status_code == 201
    assert client.get("/v1/encoders/e").json()["description"] == "a\tb\r\nc"


def test_numbers_beyond_what_a_column_holds_are_refused(client: TestClient) -> None:
    tried = 0
    for method, path, operation in operations(client):
        for number in [*HUGE, *(-number for number in HUGE)]:
            for name in parameters(operation, "query", "'integer'"):
                refused(client, method, f"{filled(path, client)}?{name}={number}", str(number))
                tried += 1
            for name in parameters(operation, "header", "'integer'"):
                refused(client, method, filled(path, client), str(number), headers={name: str(number)})
                tried += 1
    assert tried > 80


def test_every_parameter_has_a_limit(client: TestClient) -> None:
    looked_at = 0
    for method, path, operation in operations(client):
        for each in operation.get("parameters", []):
            if each["in"] == "path":
                continue
            text = str(each["schema"])
            limited = any(word in text for word in ("'maximum'", "'exclusiveMaximum'", "'maxLength'", "'pattern'"))
            assert limited or "'enum'" in text or "'boolean'" in text, (method, path, each)
            looked_at += 1
    assert looked_at > 40


def test_a_cursor_that_the_list_did_not_give_is_refused(client: TestClient) -> None:
    lists = [(path, each) for method, path, each in operations(client) if "cursor" in parameters(each, "query")]
    assert len(lists) >= 12
    for path, _ in lists:
        for what, cursor in CURSORS.items():
            refused(client, "GET", f"{filled(path, client)}?cursor={cursor}", what)
    for what, cursor in CURSORS.items():
        assert client.get(f"/?cursor={cursor}").status_code == 422, what


def test_a_cursor_of_one_list_is_refused_by_every_other(client: TestClient) -> None:
    experiment = client.headers["X-Experiment"]
    paths = [
        f"/v1/experiments/{experiment}/steps",
        "/v1/upstreams/world/steps",
        "/v1/generators",
        "/v1/targets",
        f"/v1/experiments/{experiment}/arms/retrieved/images?target=fine&",
    ]
    joined = [path if "?" in path else f"{path}?" for path in paths]
    cursors = [client.get(f"{path}limit=1").json()["next_cursor"] for path in joined]
    for one, path in enumerate(joined):
        for other, cursor in enumerate(cursors):
            answer = client.get(f"{path}limit=1&cursor={cursor}")
            assert answer.status_code == (200 if one == other else 422), (path, paths[other], answer.text)


@pytest.mark.parametrize("key", ["", "a b", "é", "k" * 201, "a\x01b"])
def test_an_idempotency_key_is_printable_ascii_of_bounded_length(client: TestClient, key: str) -> None:
    spec = {"name": "x"}
    refused(client, "POST", "/v1/experiments", key, json=spec, headers={"Idempotency-Key": key.encode()})


@pytest.mark.parametrize("last", ["x", "-1", "1.5", "\x01", "9" * 5000])
def test_a_last_event_id_is_a_number_of_an_event(client: TestClient, last: str) -> None:
    path = f"/v1/experiments/{client.headers['X-Experiment']}/events"
    refused(client, "GET", path, last, headers={"Last-Event-ID": last})

"""An Idempotency-Key on everything that creates: repeated it answers as before, also when the repetitions come at once;
with another request it is refused. On both databases."""

from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from fastapi.testclient import TestClient
from support.memory_services import api_client, register_everything
from support.specs import spec
from touchstone_api.bootstrap import Services

SOURCE = {"format": "parquet", "location": "library:a.parquet", "digest": "0" * 64, "images": 9}
WORDS = ["an icon of {name}"]
BODIES: dict[str, dict[str, Any]] = {
    "encoders": {"name": "e", "model": "library:m", "digest": "0" * 64, "trained_on": "x"},
    "generators": {"name": "g", "model": "library:m", "digest": "0" * 64, "trained_on": "x"},
    "datasets": {"name": "d", "target": "fine", "images": SOURCE},
    "targets": {
        "name": "t",
        "classes": [{"id": 0, "display_name": "a"}, {"id": 1, "display_name": "b"}],
        "templates": dict.fromkeys(("retrieval", "filter", "zero_shot", "synthesis"), WORDS),
        "splits": {"validation": SOURCE | {"location": "library:b.parquet", "digest": "1" * 64}, "test": SOURCE},
    },
    "upstreams": {"name": "u", "index_encoder": "clip", "shards": [SOURCE]},
    "experiments": spec(name="with a key").model_dump(mode="json"),
}

LOCATED: dict[str, dict[str, Any]] = {
    "upstreams": {"name": "u", "index_encoder": "clip", "location": "library:photos"},
    "targets": {"name": "t", "location": "library:classes"},
    "datasets": {"name": "d", "target": "fine", "location": "library:bought"},
}


@pytest.fixture
def client(either_database: Services) -> Iterator[TestClient]:
    with api_client(either_database, raise_server_exceptions=False) as client:
        register_everything(client)
        yield client


def name_of(answer: Any) -> str:
    return str(answer.json().get("id") or answer.json()["name"])


@pytest.mark.parametrize("kind", BODIES)
def test_a_repeated_key_answers_as_before_and_no_other_request(client: TestClient, kind: str) -> None:
    headers, body = {"Idempotency-Key": "k-1"}, BODIES[kind]
    first, again = (client.post(f"/v1/{kind}", json=body, headers=headers) for _ in range(2))
    assert (first.status_code, again.status_code) == (201, 200), first.text
    assert name_of(again) == name_of(first)
    other = client.post(f"/v1/{kind}", json=body | {"name": "other"}, headers=headers)
    assert (other.status_code, other.json()["code"]) == (422, "idempotency_key_reused")
    elsewhere = "targets" if kind != "targets" else "encoders"
    refused = client.post(f"/v1/{elsewhere}", json=BODIES[elsewhere], headers=headers)
    assert (refused.status_code, refused.json()["code"]) == (422, "idempotency_key_reused")
    assert "other" not in [item["name"] for item in client.get(f"/v1/{kind}").json()["items"]]


@pytest.mark.parametrize("kind", LOCATED)
def test_the_key_of_a_registration_by_location_is_recorded(client: TestClient, kind: str) -> None:
    headers, body = {"Idempotency-Key": "k-1"}, LOCATED[kind]
    first, again = (client.post(f"/v1/{kind}", json=body, headers=headers) for _ in range(2))
    assert (first.status_code, again.status_code) == (202, 202), first.text
    assert first.json()["created_at"] == again.json()["created_at"]
    for path, other in ((kind, body | {"name": "other"}), (kind, BODIES[kind]), ("encoders", BODIES["encoders"])):
        refused = client.post(f"/v1/{path}", json=other, headers=headers)
        assert (refused.status_code, refused.json()["code"]) == (422, "idempotency_key_reused")
    assert len(client.get("/v1/descriptions").json()["items"]) == 1


def six_at_once(post: Callable[[int], Any]) -> list[Any]:
    with ThreadPoolExecutor(6) as pool:
        return list(pool.map(post, range(6)))


@pytest.mark.parametrize("kind", LOCATED)
def test_of_many_locations_with_one_key_at_once_one_is_looked_at(client: TestClient, kind: str) -> None:
    def post(number: int) -> Any:
        body = LOCATED[kind] | {"name": f"n{number % 2}"}
        return client.post(f"/v1/{kind}", json=body, headers={"Idempotency-Key": "k-1"})

    answers = six_at_once(post)
    assert Counter(answer.status_code for answer in answers) == {202: 3, 422: 3}, [each.text for each in answers]
    assert len(client.get("/v1/descriptions").json()["items"]) == 1


def test_a_clone_has_a_key_too(client: TestClient) -> None:
    parent = client.post("/v1/experiments", json=BODIES["experiments"]).json()["id"]
    path, headers = f"/v1/experiments/{parent}/clone", {"Idempotency-Key": "k-1"}
    first, again = (client.post(path, json={"sizes": [6]}, headers=headers) for _ in range(2))
    assert (first.status_code, again.status_code) == (201, 200)
    assert first.json()["id"] == again.json()["id"] != parent
    assert client.post(path, json={"sizes": [12]}, headers=headers).json()["code"] == "idempotency_key_reused"


@pytest.mark.parametrize("kind", BODIES)
def test_of_many_at_once_one_creates_and_all_answer_the_same(client: TestClient, kind: str) -> None:
    def post(_: int) -> Any:
        return client.post(f"/v1/{kind}", json=BODIES[kind], headers={"Idempotency-Key": "k-1"})

    answers = six_at_once(post)
    assert Counter(answer.status_code for answer in answers) == {201: 1, 200: 5}, [each.text for each in answers]
    assert len({name_of(answer) for answer in answers}) == 1


@pytest.mark.parametrize("kind", BODIES)
def test_of_different_requests_with_one_key_at_once_one_is_done(client: TestClient, kind: str) -> None:
    def post(number: int) -> Any:
        body = BODIES[kind] | {"name": f"n{number}"}
        return client.post(f"/v1/{kind}", json=body, headers={"Idempotency-Key": "k-1"})

    answers = six_at_once(post)
    assert Counter(answer.status_code for answer in answers) == {201: 1, 422: 5}, [each.text for each in answers]
    created = [item["name"] for item in client.get(f"/v1/{kind}").json()["items"]]
    assert len([name for name in created if name in {f"n{number}" for number in range(6)}]) == 1

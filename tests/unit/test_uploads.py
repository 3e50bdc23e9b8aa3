"""Archives are streamed to the object store within a bound and a quota, and belong to the project that sent them."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient
from support.archives import zip_of
from support.memory_services import api_client, memory_services
from touchstone_api.bootstrap import Services
from touchstone_conductor.collect import Collection
from touchstone_contracts.access import DEFAULT_PROJECT, Limits, NewKey
from touchstone_runtime.artifacts import Artifacts
from touchstone_runtime.objects import MemoryObjects
from touchstone_store.keys import create_key
from touchstone_store.projects import create_project, set_limits

ZIP = {"Content-Type": "application/zip"}


@pytest.fixture
def objects() -> MemoryObjects:
    return MemoryObjects()


@pytest.fixture
def services(tmp_path: Path, objects: MemoryObjects) -> Iterator[Services]:
    found = memory_services(tmp_path, Artifacts(objects))
    settings = found.settings.model_copy(update={"max_upload_bytes": 1000, "upload_quota_bytes": 1500})
    yield replace(found, settings=settings)
    found.store.close()


@pytest.fixture
def api(services: Services) -> TestClient:
    return api_client(services)


def pieces(*sizes: int) -> Iterator[bytes]:
    for size in sizes:
        yield bytes(size)


def send(api: TestClient, body: Any, status: int = 201, **headers: str) -> dict[str, Any]:
    answer = api.post("/v1/uploads", content=body, headers=ZIP | headers)
    assert answer.status_code == status, answer.text
    found: dict[str, Any] = answer.json()
    return found


def test_an_archive_is_kept_under_an_id_that_nobody_guesses(api: TestClient, objects: MemoryObjects) -> None:
    data = zip_of({"a.png": b"a"})
    first, second = send(api, data), send(api, data)
    assert first["id"] != second["id"]
    assert first["id"].startswith("default.")
    assert (first["size"], first["digest"]) == (len(data), sha256(data).hexdigest())
    assert api.get(f"/v1/uploads/{first['id']}").json() == first
    assert objects.get(f"uploads/{first['id'].replace('.', '/')}/000000") == data


def test_an_archive_may_come_in_pieces_of_any_size(api: TestClient) -> None:
    assert send(api, pieces(1, 500, 0, 499))["size"] == 1000


def test_an_archive_beyond_the_bound_is_refused_and_nothing_of_it_stays(
    api: TestClient, objects: MemoryObjects
) -> None:
    for body in (bytes(1001), pieces(600, 401)):
        refused = send(api, body, 413)
        assert refused["code"] == "upload_too_large"
        assert "TOUCHSTONE_MAX_UPLOAD_BYTES" in refused["detail"]
    assert list(objects.listed("uploads/")) == []


def test_uploads_of_a_project_have_a_quota_that_removing_one_frees(api: TestClient) -> None:
    first = send(api, bytes(1000))
    refused = send(api, bytes(501), 409)
    assert refused["code"] == "quota_exceeded"
    assert "hold 1,000 bytes and may hold 1,500" in refused["detail"]
    assert api.delete(f"/v1/uploads/{first['id']}").status_code == 204
    assert send(api, bytes(501))["size"] == 501


def test_the_limit_of_a_project_counts_its_uploads(api: TestClient, services: Services) -> None:
    with services.store.write() as session:
        set_limits(session, DEFAULT_PROJECT, Limits(bytes_stored=100))
    assert send(api, bytes(101), 409)["code"] == "quota_exceeded"
    assert send(api, bytes(100))["size"] == 100


def test_an_empty_body_and_other_kinds_of_bodies_are_refused(api: TestClient) -> None:
    assert send(api, b"", 422)["code"] == "empty_upload"
    for kind in ("application/json", "text/plain", "multipart/form-data; boundary=x"):
        answer = api.post("/v1/uploads", content=b"x", headers={"Content-Type": kind})
        assert (answer.status_code, answer.json()["code"]) == (415, "not_an_archive")


def test_readers_may_not_upload_and_nobody_may_without_a_key(services: Services, objects: MemoryObjects) -> None:
    api = api_client(services)
    with services.store.write() as session:
        reader = create_key(session, DEFAULT_PROJECT, NewKey(label="reader"), datetime.now(UTC)).key
    for key, status in ((f"Bearer {reader}", 403), ("Bearer ts_nobody", 401)):
        assert send(api, b"x", status, Authorization=key)["code"]
    assert list(objects.listed("uploads/")) == []


def test_another_project_neither_sees_nor_uses_nor_removes_an_upload(api: TestClient, services: Services) -> None:
    mine = send(api, b"x")["id"]
    with services.store.write() as session:
        other = create_project(session, "other", Limits(), datetime.now(UTC))
        key = create_key(session, other, NewKey(label="other", scope="write"), datetime.now(UTC)).key
    as_other = {"Authorization": f"Bearer {key}"}
    assert api.get("/v1/uploads", headers=as_other).json()["items"] == []
    assert api.get(f"/v1/uploads/{mine}", headers=as_other).status_code == 404
    assert api.delete(f"/v1/uploads/{mine}", headers=as_other).status_code == 404
    asked = api.post("/v1/targets", json={"name": "icons", "location": f"upload://{mine}"}, headers=as_other)
    assert (asked.status_code, asked.json()["code"]) == (403, "source_not_allowed")
    assert api.get("/v1/uploads").json()["items"][0]["id"] == mine


def test_an_upload_that_something_registered_lies_in_stays(api: TestClient) -> None:
    mine = send(api, b"x")["id"]
    splits = {
        name: {"format": "parquet", "location": f"upload://{mine}/{name}.parquet", "digest": digit * 64, "images": 1}
        for name, digit in (("validation", "0"), ("test", "1"))
    }
    classes = [{"id": number, "display_name": name} for number, name in enumerate(("owl", "crow"))]
    templates = {name: ["a {name}"] for name in ("retrieval", "filter", "zero_shot", "synthesis")}
    target = {"name": "birds", "classes": classes, "templates": templates, "splits": splits}
    assert api.post("/v1/targets", json=target).status_code == 201
    refused = api.delete(f"/v1/uploads/{mine}")
    assert (refused.status_code, refused.json()["code"]) == (409, "upload_in_use")
    assert "target birds" in refused.json()["detail"]


def test_uploads_are_listed_by_page(api: TestClient) -> None:
    sent = sorted(send(api, b"x")["id"] for _ in range(3))
    first = api.get("/v1/uploads?limit=2").json()
    rest = api.get(f"/v1/uploads?limit=2&cursor={first['next_cursor']}").json()
    assert [each["id"] for each in (*first["items"], *rest["items"])] == sent
    assert rest["next_cursor"] is None


def test_a_collection_removes_what_never_came_to_its_end(
    api: TestClient, services: Services, objects: MemoryObjects
) -> None:
    whole = send(api, b"x")["id"]
    objects.put("uploads/default/00000000000000000000000000000000/000000", b"broken off")
    collection = Collection(services.store, objects, timedelta(seconds=-1), weights="all", delete=True)
    assert collection.run().removed == 1
    assert {stored.key.split("/")[2] for stored in objects.listed("uploads/")} == {whole.partition(".")[2]}

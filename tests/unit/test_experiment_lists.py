"""Experiments are found by a word, by what they are about and by their tags; renamed, archived, told in a sentence."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient
from support.finished_experiments import finish_only, made_up_results, post_experiment
from support.memory_services import api_client, memory_services, register_everything
from support.specs import spec
from touchstone_api.bootstrap import Services

BODY = spec().model_dump(mode="json")
ARMS = {arm["kind"] for arm in BODY["arms"]}
NAMES = ("Flags of Europe", "flags again", "Faces 100%")


@pytest.fixture
def services(tmp_path: Path) -> Iterator[Services]:
    services = memory_services(tmp_path)
    yield services
    services.store.close()


@pytest.fixture
def client(services: Services) -> Iterator[TestClient]:
    with api_client(services) as client:
        register_everything(client)
        yield client


@pytest.fixture
def posted(client: TestClient) -> list[str]:
    """Ids of three experiments of the names above."""
    answers = [
        client.post("/v1/experiments", json=BODY | {"name": name, "seeds": [0, 1, 2 + at]})
        for at, name in enumerate(NAMES)
    ]
    assert [answer.status_code for answer in answers] == [201] * 3
    return [answer.json()["id"] for answer in answers]


def names(client: TestClient, **query: Any) -> list[str]:
    answer = client.get("/v1/experiments", params=query)
    assert answer.status_code == 200, answer.text
    return [item["name"] for item in answer.json()["items"]]


def change(client: TestClient, experiment: str, **changes: Any) -> Any:
    return client.patch(f"/v1/experiments/{experiment}", json=changes)


@pytest.mark.parametrize(
    ("words", "found"),
    [
        ("flags", ["flags again", "Flags of Europe"]),
        ("FLAGS europe", ["Flags of Europe"]),
        ("100%", ["Faces 100%"]),
        ("%", ["Faces 100%"]),
        ("_", []),
        ("nothing", []),
        ("", ["Faces 100%", "flags again", "Flags of Europe"]),
    ],
)
def test_every_word_must_be_in_the_name(client: TestClient, posted: list[str], words: str, found: list[str]) -> None:
    assert names(client, q=words) == found


def test_the_beginning_of_an_id_finds_it(client: TestClient, posted: list[str]) -> None:
    assert names(client, q=posted[1][:-2]) == [NAMES[1]]


@pytest.mark.parametrize(
    ("facet", "value"),
    [("upstream", BODY["upstream"]), ("encoder", BODY["encoder"]), ("target", BODY["targets"][0])]
    + [("arm", kind) for kind in sorted(ARMS)],
)
def test_they_are_found_by_what_they_are_about(client: TestClient, posted: list[str], facet: str, value: str) -> None:
    assert len(names(client, **{facet: value})) == len(posted)
    assert names(client, **{facet: "something-else"}) == []


def test_phases_are_told_apart(client: TestClient, posted: list[str]) -> None:
    assert client.post(f"/v1/experiments/{posted[0]}/cancel").status_code == 200
    assert names(client, phase="cancelled") == [NAMES[0]]
    assert names(client, phase="queued") == [NAMES[2], NAMES[1]]


@pytest.mark.parametrize(
    ("order", "found"),
    [
        ("newest", ["Faces 100%", "flags again", "Flags of Europe"]),
        ("oldest", ["Flags of Europe", "flags again", "Faces 100%"]),
        ("name", ["Faces 100%", "flags again", "Flags of Europe"]),
    ],
)
def test_pages_go_on_in_every_order(client: TestClient, posted: list[str], order: str, found: list[str]) -> None:
    query: dict[str, Any] = {"sort": order, "limit": 1}
    seen: list[str] = []
    for _ in found:
        page = client.get("/v1/experiments", params=query).json()
        seen += [item["name"] for item in page["items"]]
        query["cursor"] = page["next_cursor"]
    assert seen == found
    assert query["cursor"] is None


def test_a_page_after_a_deleted_experiment_says_where_to_start(client: TestClient, posted: list[str]) -> None:
    cursor = client.get("/v1/experiments", params={"sort": "name", "limit": 1}).json()["next_cursor"]
    client.post(f"/v1/experiments/{posted[2]}/cancel")
    assert client.delete(f"/v1/experiments/{posted[2]}").status_code == 204
    answer = client.get("/v1/experiments", params={"sort": "name", "cursor": cursor})
    assert (answer.status_code, answer.json()["code"]) == (422, "bad_cursor")
    assert "first page" in answer.json()["detail"]


def test_tags_are_given_replaced_and_searched(client: TestClient, posted: list[str]) -> None:
    answer = change(client, posted[0], tags=["for the paper", "flags", "flags"])
    assert (answer.status_code, answer.json()["tags"]) == (200, ["flags", "for the paper"])
    assert names(client, tag="for the paper") == names(client, q="paper") == [NAMES[0]]
    assert change(client, posted[0], tags=["second try"]).json()["tags"] == ["second try"]
    assert names(client, tag="for the paper") == []
    assert client.get(f"/v1/experiments/{posted[0]}").json()["tags"] == ["second try"]


def test_a_new_name_changes_nothing_that_was_asked(client: TestClient, posted: list[str]) -> None:
    before = client.get(f"/v1/experiments/{posted[0]}").json()
    after = change(client, posted[0], name="Flags, the first try").json()
    assert after["name"] == "Flags, the first try"
    assert (after["spec"], after["identity"]) == (before["spec"], before["identity"])
    again = client.post("/v1/experiments", json=BODY | {"name": NAMES[0], "seeds": [0, 1, 2]})
    assert (again.status_code, again.json()["id"]) == (200, posted[0])


def test_archived_experiments_leave_the_list_and_come_back(client: TestClient, posted: list[str]) -> None:
    assert change(client, posted[1], archived=True).json()["archived_at"] is not None
    assert names(client) == [NAMES[2], NAMES[0]]
    assert names(client, archived=True) == [NAMES[1]]
    assert client.get(f"/v1/experiments/{posted[1]}").status_code == 200
    assert change(client, posted[1], archived=False).json()["archived_at"] is None
    assert len(names(client)) == 3


@pytest.mark.parametrize(
    "changes",
    [
        {"name": ""},
        {"name": "x" * 201},
        {"tags": [""]},
        {"tags": [" blank"]},
        {"tags": ["a,b"]},
        {"tags": ["x" * 65]},
        {"tags": [str(number) for number in range(21)]},
        {"tags": "paper"},
        {"phase": "succeeded"},
        {"spec": {}},
    ],
)
def test_changes_that_make_no_sense_are_refused(client: TestClient, posted: list[str], changes: dict[str, Any]) -> None:
    before = client.get(f"/v1/experiments/{posted[0]}").json()
    assert change(client, posted[0], **changes).status_code == 422
    assert client.get(f"/v1/experiments/{posted[0]}").json() == before


def test_a_change_of_what_changed_meanwhile_is_refused(client: TestClient, posted: list[str]) -> None:
    etag = client.get(f"/v1/experiments/{posted[0]}").headers["etag"]
    address = f"/v1/experiments/{posted[0]}"
    assert client.patch(address, json={"name": "one"}, headers={"If-Match": etag}).status_code == 200
    assert client.patch(address, json={"name": "two"}, headers={"If-Match": etag}).status_code == 412
    assert client.get(address).json()["name"] == "one"


def test_no_experiment_no_change(client: TestClient) -> None:
    assert change(client, "exp_none", name="x").status_code == 404


def test_a_deleted_experiment_is_found_by_nothing(client: TestClient, posted: list[str]) -> None:
    change(client, posted[0], tags=["gone"])
    client.post(f"/v1/experiments/{posted[0]}/cancel")
    assert client.delete(f"/v1/experiments/{posted[0]}").status_code == 204
    assert names(client, tag="gone") == []


def test_the_page_offers_what_there_is_and_keeps_what_was_chosen(client: TestClient, posted: list[str]) -> None:
    change(client, posted[0], tags=["paper <b>"])
    page = client.get("/", params={"q": "flags", "phase": "", "tag": "", "sort": "oldest"}).text
    assert 'value="flags"' in page
    assert '<option value="oldest" selected>' in page
    assert "<option>paper &lt;b&gt;</option>" in page
    assert page.index(NAMES[0]) < page.index(NAMES[1])
    assert NAMES[2] not in page
    assert "No experiment meets all of these conditions" in client.get("/", params={"q": "nothing"}).text


def test_a_judged_experiment_tells_its_verdict_in_the_list(services: Services) -> None:
    told = post_experiment(services)
    with api_client(services) as client:
        assert client.get(f"/v1/experiments/{told.id}").json()["headline"] is None
        finish_only(services, told, made_up_results(services.artifacts, told))
        [item] = client.get("/v1/experiments").json()["items"]
        verdict = client.get(f"/v1/experiments/{told.id}/verdict").json()
        assert item["headline"] == verdict["headline"] != ""
        assert f'<p class="headline">{verdict["headline"]}</p>' in client.get("/").text

"""Searching an upstream over REST and on its page: what is answered, to whom, when, and for how long."""

import base64
import re
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import select
from support.finished_experiments import write_result
from support.memory_services import api_client, finish_steps, memory_services, register_everything
from support.pages import ESCAPED, NASTY, of_another_project, page, section, texts
from support.specs import spec
from support.waiting import until
from touchstone_api.bootstrap import Services
from touchstone_api.main import create_app
from touchstone_api.upstream_search import MOST_ACTIVE
from touchstone_conductor.collect import Collected, Collection
from touchstone_conductor.takedown_reach import reach_of
from touchstone_contracts.access import DEFAULT_PROJECT, NewKey
from touchstone_contracts.identity import sha256
from touchstone_contracts.image_sets import ImageSet
from touchstone_contracts.messages import StepFailed, StepStarted
from touchstone_contracts.problems import Problem
from touchstone_contracts.search import SearchHit
from touchstone_contracts.steps import CATALOGUE, ImagesEmbedded, ImagesIngested, UpstreamSearched
from touchstone_contracts.values import Blob, Lenient
from touchstone_planning import transitions
from touchstone_runtime.artifacts import Artifacts
from touchstone_runtime.objects import MemoryObjects
from touchstone_store.keys import create_key
from touchstone_store.layouts import upstream_layout, upstream_plan_id
from touchstone_store.plans import StepChange, save_steps
from touchstone_store.searches import SEARCH_PLANS
from touchstone_store.steps import find_rows, first_ready, to_step
from touchstone_store.tables import PlanRow, StepRow
from touchstone_store.takedowns import readers_of

SEARCH, WORLD = "/v1/upstreams/world/search", upstream_plan_id("world")
PIXELS = b"\x89PNG\r\n\x1a\n pixels of an owl"
LIES: dict[str, Any] = {"shard": sha256(PIXELS), "length": len(PIXELS)}
OWL = SearchHit(image=sha256(PIXELS), score=0.31, caption=NASTY, source_key="owl-1", **LIES)
NOTHING = Blob(digest="0" * 64, size=0)
EMPTY: dict[str, Lenient] = {
    "ingest_images": ImagesIngested(images=ImageSet(manifest=NOTHING, shards=(), count=0)),
    "embed_images": ImagesEmbedded(count=0, dimension=1, image_embeddings=NOTHING),
}
LINK = SearchHit(image="link-7", score=0.2, caption="an owl", source_key="https://example.org/owl.jpg")


@dataclass(frozen=True)
class World:
    services: Services
    objects: MemoryObjects
    api: TestClient

    def search(self, status: int = 202, **body: Any) -> Any:
        answer = self.api.post(SEARCH, json=body)
        assert answer.status_code == status, answer.text
        return answer.json()

    def answer(self, search: str, *hits: SearchHit) -> None:
        """A worker has computed it."""
        result = UpstreamSearched(hits=hits, images=100)
        manifest = write_result(self.services.artifacts, search, "search_upstream", result)
        self.change(search, lambda step, now: transitions.succeed(step, now, manifest))

    def fail(self, search: str, problem: Problem) -> None:
        def failed(step: Any, now: datetime) -> Any:
            limits = transitions.Limits()
            leased = transitions.lease(step, now, limits)
            names = {"step_id": search, "attempt": leased.attempt}
            started = transitions.apply_report(leased, StepStarted(**names, worker="w1"), now, limits)
            report = StepFailed(**names, problem=problem, retryable=False)
            return transitions.apply_report(started, report, now, limits)

        self.change(search, failed)

    def change(self, search: str, made: Any) -> None:
        with self.services.store.write() as session:
            row = find_rows(session, [search], lock=True)[search]
            now = datetime.now(UTC)
            save_steps(session, [StepChange(row, made(to_step(row), now))], now)

    def plans(self) -> list[PlanRow]:
        with self.services.store.read() as session:
            return list(session.query(PlanRow).filter(PlanRow.id.startswith(SEARCH_PLANS)))

    def answered_while_waiting(self, body: dict[str, Any], answer: Callable[[str], None]) -> Any:
        """What an api says that waits for the search, which is answered as soon as there is one."""
        patient = self.services.settings.model_copy(update={"search_patience_seconds": 30.0})

        def asked() -> str | None:
            with self.services.store.read() as session:
                queued = select(StepRow.id).where(StepRow.kind == "search_upstream", StepRow.state == "waiting")
                return session.scalar(queued)

        with api_client(replace(self.services, settings=patient)) as api, ThreadPoolExecutor(1) as worker:
            assert asked() is None
            done = worker.submit(lambda: answer(until(asked, 30)))
            found = api.post(SEARCH, json=body)
            done.result()
        return found

    def collect(self, *, later: timedelta, delete: bool = True) -> Collected:
        now = datetime.now(UTC) + later
        return Collection(self.services.store, self.objects, timedelta(days=7), delete=delete, now=lambda: now).run()


@pytest.fixture
def world(tmp_path: Path) -> World:
    """An upstream of two files that are ingested, as if workers had done so."""
    objects = MemoryObjects()
    services = memory_services(tmp_path, Artifacts(objects))
    world = World(services, objects, api_client(services, raise_server_exceptions=False))
    register_everything(world.api)
    finish_steps(services, WORLD)
    services.artifacts.put_blob(PIXELS)
    return world


def test_a_search_is_answered_at_once_when_it_was_computed_before(world: World) -> None:
    asked = world.search(text="an owl", limit=2)
    assert (asked["phase"], asked["files"], asked["all_files"], asked["searched"]) == ("queued", 2, 2, None)
    assert world.search(text="an owl", limit=2)["id"] == asked["id"]
    world.answer(asked["id"], OWL, LINK)
    answered = world.api.post(SEARCH, json={"text": " an owl ", "limit": 2})
    assert (answered.status_code, answered.headers["location"]) == (200, f"/v1/upstreams/world/searches/{asked['id']}")
    found = answered.json()
    assert (found["phase"], found["searched"], len(world.plans())) == ("succeeded", 100, 1)
    assert [(each["score"], each["caption"], each["link"]) for each in found["results"]] == [
        (0.31, NASTY, None), (0.2, "an owl", "https://example.org/owl.jpg"),
    ]  # fmt: skip
    assert world.api.get(answered.headers["location"]).json() == found


def test_another_question_is_another_search(world: World) -> None:
    image = base64.b64encode(PIXELS).decode()
    bodies: list[dict[str, Any]] = [
        {"text": "an owl"}, {"text": "an owl", "search_in": "captions"}, {"text": "an owl", "search_in": "words"},
        {"text": "an owl", "limit": 3}, {"text": "owl"}, {"image": image}, {"like": OWL.image},
    ]  # fmt: skip
    found = [world.search(**body) for body in bodies]
    assert len({each["id"] for each in found}) == len(bodies) == len(world.plans())
    assert found[5]["image"] == sha256(PIXELS)
    with world.services.store.read() as session:
        requests = [row.request for row in session.query(StepRow).filter(StepRow.kind == "search_upstream")]
    assert len(requests) == len(bodies)
    assert image not in str(requests), "the bytes of an image lie in the object store alone"


def test_pixels_are_served_and_those_of_links_are_not(world: World) -> None:
    asked = world.search(text="an owl")
    path = f"/v1/upstreams/world/searches/{asked['id']}/images"
    assert world.api.get(f"{path}/{OWL.image}").status_code == 404, "before there is an answer"
    world.answer(asked["id"], OWL, LINK)
    [owl, link] = world.api.get(f"/v1/upstreams/world/searches/{asked['id']}").json()["results"]
    assert (owl["url"], link["url"]) == (f"{path}/{OWL.image}", None)
    shown = world.api.get(owl["url"])
    assert (shown.content, shown.headers["content-type"]) == (PIXELS, "image/png")
    assert shown.headers["content-security-policy"] == "default-src 'none'; sandbox"
    assert [world.api.get(f"{path}/{image}").status_code for image in ("link-7", "0" * 64)] == [404, 404]


def test_without_an_ingested_file_there_is_nothing_to_search(services: Services, api: TestClient) -> None:
    register_everything(api)
    answer = api.post(SEARCH, json={"text": "an owl"})
    assert (answer.status_code, answer.json()["code"]) == (409, "not_ingested")
    assert "0 of 5 steps are done" in answer.json()["detail"]
    api.post("/v1/upstreams/world/cancel")
    assert "POST /v1/upstreams/world/retry" in api.post(SEARCH, json={"text": "an owl"}).json()["detail"]


def test_files_that_are_ingested_are_searched_before_the_others_are(services: Services, api: TestClient) -> None:
    register_everything(api)
    with services.store.write() as session:
        first = upstream_layout(session, WORLD).shards[0]
        rows, now = find_rows(session, [first.images, first.embeddings], lock=True), datetime.now(UTC)
        kinds = {first.images: "ingest_images", first.embeddings: "embed_images"}
        done = {step: write_result(services.artifacts, step, kind, EMPTY[kind]) for step, kind in kinds.items()}
        changes = [StepChange(row, transitions.succeed(to_step(row), now, done[id_])) for id_, row in rows.items()]
        save_steps(session, changes, now)
    some = api.post(SEARCH, json={"text": "an owl"}).json()
    assert (some["files"], some["all_files"]) == (1, 2)
    finish_steps(services, WORLD)
    everything = api.post(SEARCH, json={"text": "an owl"}).json()
    assert (everything["files"], everything["id"] == some["id"]) == (2, False)


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        ({"text": "x" * 1001}, "/text"),
        ({"image": "no base64"}, "/image"),
        ({"limit": 1000, "text": "owl"}, "/limit"),
        ({"text": "owl", "embeddings": "images"}, "/embeddings"),
        ({}, ""),
    ],
)
def test_what_is_wrong_is_named_by_its_pointer(world: World, body: dict[str, Any], pointer: str) -> None:
    assert [error["pointer"] for error in world.search(422, **body)["errors"]] == [pointer]


def test_an_unknown_upstream_is_told_with_the_nearest(world: World) -> None:
    answer = world.api.post("/v1/upstreams/worlds/search", json={"text": "an owl"})
    assert answer.status_code == 404
    assert "did you mean 'world'?" in answer.json()["detail"]


@pytest.mark.parametrize(
    ("body", "code", "pointer"),
    [({"image": "QUJD"}, "undecodable_image", "/image"), ({"like": "0"}, "unknown_image", "/like")],
)
def test_what_the_worker_refuses_is_told_with_its_pointer_and_tried_again(
    world: World, body: dict[str, Any], code: str, pointer: str
) -> None:
    asked = world.search(**body)
    world.fail(asked["id"], Problem(title="Refused", status=422, code=code, detail="the reason"))
    told = world.api.get(f"/v1/upstreams/world/searches/{asked['id']}").json()
    assert (told["phase"], told["problems"][0]["code"]) == ("failed", code)
    assert world.search(**body)["phase"] == "queued", "asking again tries again"
    world.fail(asked["id"], Problem(title="Refused", status=422, code=code, detail="the reason"))
    problem = Problem(title="Refused", status=422, code=code, detail="why")
    refused = world.answered_while_waiting({**body, "limit": 7}, lambda search: world.fail(search, problem))
    assert (refused.status_code, refused.json()["code"]) == (422, code)
    assert refused.json()["errors"] == [{"pointer": pointer, "detail": "why"}]


def test_an_answer_that_comes_while_the_caller_waits_is_200(world: World) -> None:
    answered = world.answered_while_waiting({"text": "an owl"}, lambda search: world.answer(search, OWL))
    assert (answered.status_code, len(answered.json()["results"])) == (200, 1)


def test_a_lost_result_is_computed_again(world: World) -> None:
    asked = world.search(text="an owl")
    world.answer(asked["id"], OWL)
    world.services.artifacts.forget(asked["id"])
    assert world.api.get(f"/v1/upstreams/world/searches/{asked['id']}").json()["phase"] == "running"
    assert world.search(text="an owl")["phase"] == "queued"
    world.answer(asked["id"], OWL)
    assert world.search(200, text="an owl")["searched"] == 100


def test_a_search_is_of_one_project_and_its_answer_is_used_by_others(world: World) -> None:
    asked = world.search(text="an owl")
    world.answer(asked["id"], OWL)
    other, path = of_another_project(world.services), f"/v1/upstreams/world/searches/{asked['id']}"
    assert other.post(SEARCH, json={"text": "an owl"}).status_code == 404
    assert world.api.put("/v1/upstreams/world/share").status_code == 204
    assert [other.get(f"{path}{rest}").status_code for rest in ("", f"/images/{OWL.image}")] == [404, 404]
    found = other.post(SEARCH, json={"text": "an owl"})
    assert (found.status_code, found.json()["id"]) == (200, asked["id"]), "the same step, which is not computed again"
    assert [other.get(f"{path}{rest}").status_code for rest in ("", f"/images/{OWL.image}")] == [200, 200]
    assert len(world.plans()) == 2


def test_reading_is_not_enough_to_search_and_searches_are_in_the_audit_log(world: World) -> None:
    with world.services.store.write() as session:
        key = create_key(session, DEFAULT_PROJECT, NewKey(label="x", scope="read"), datetime.now(UTC)).key
    asked = world.search(text="an owl")
    reader = TestClient(
        create_app(world.services), base_url="http://localhost", headers={"Authorization": f"Bearer {key}"},
        follow_redirects=False,
    )  # fmt: skip
    assert reader.post(SEARCH, json={"text": "an owl"}).status_code == 403
    assert reader.get("/upstreams/world/search?text=owl").status_code == 403
    assert reader.get(f"/v1/upstreams/world/searches/{asked['id']}").status_code == 200
    for address in ("/upstreams/world", f"/upstreams/world/searches/{asked['id']}"):
        assert 'role="search"' not in page(reader, address)
    entries = world.api.get("/v1/audit").json()["items"]
    assert [(each["action"], each["status"]) for each in entries[:3]] == [
        ("search_from_a_form", 403), ("search_upstream", 403), ("search_upstream", 202),
    ]  # fmt: skip


def test_a_project_has_so_many_searches_under_way(world: World) -> None:
    for number in range(MOST_ACTIVE):
        world.search(text=f"owl {number}")
    refused = world.search(409, text="one more")
    assert (refused["code"], f"{MOST_ACTIVE} searches" in refused["detail"]) == ("quota_exceeded", True)
    assert world.search(text="owl 3")["phase"] == "queued", "one that is under way may be asked for again"


def test_searches_come_first_within_a_project(world: World) -> None:
    experiment = world.api.post("/v1/experiments", json=spec().model_dump(mode="json"))
    assert experiment.status_code == 201
    asked = world.search(text="an owl")
    channels = [contract.channel for contract in CATALOGUE.values()]
    with world.services.store.read() as session:
        ready = first_ready(session, datetime.now(UTC), channels, 100)
    assert len(ready) > 2
    assert ready[0].id == asked["id"]


def test_old_searches_are_collected_and_asked_again_they_are_computed_again(world: World) -> None:
    image = base64.b64encode(PIXELS).decode()
    asked, active = world.search(image=image), world.search(text="still under way")
    world.answer(asked["id"], OWL)
    before = len(list(world.objects.listed("")))
    assert world.collect(later=timedelta(days=1)).searches == 0
    looked = world.collect(later=timedelta(days=8), delete=False)
    assert (looked.searches, looked.steps, len(list(world.objects.listed("")))) == (1, 1, before)
    collected = world.collect(later=timedelta(days=8))
    assert (collected.searches, collected.steps) == (1, 1)
    assert (looked.removed, looked.removed_size) == (collected.removed, collected.removed_size)
    gone = world.api.get(f"/v1/upstreams/world/searches/{asked['id']}")
    assert (gone.status_code, "asks again" in gone.json()["detail"]) == (404, True)
    assert world.api.get(f"/v1/upstreams/world/searches/{active['id']}").json()["phase"] == "queued"
    assert world.api.get("/v1/upstreams/world").json()["phase"] == "succeeded"
    assert world.search(image=image)["phase"] == "queued"


def test_searches_of_the_files_that_hold_a_taken_down_image_are_made_again(world: World) -> None:
    asked = world.search(text="an owl")
    with world.services.store.read() as session:
        first = upstream_layout(session, WORLD).shards[0].images
        reach = reach_of({first: "ingest_images"}, [first], lambda steps: readers_of(session, steps))
    assert asked["id"] in reach.remade
    assert asked["id"] not in reach.marked


def test_words_are_searched_from_the_page_without_a_script(world: World) -> None:
    shown = section(page(world.api, "/upstreams/world"), "search-title")
    action = re.search(r'<form class="choice" role="search" action="([^"]+)"', shown)
    assert action is not None
    sent = world.api.get(action[1], params={"text": "an owl", "search_in": "captions"}, follow_redirects=False)
    path = sent.headers["location"]
    assert (sent.status_code, path.startswith("/upstreams/world/searches/")) == (303, True)
    waiting = page(world.api, path)
    assert ("<progress" in waiting, "Look again" in waiting, 'id="waiting"' in waiting) == (True, True, True)
    world.answer(path.rpartition("/")[2], OWL, LINK)
    answered = page(world.api, path)
    assert ("<progress" in answered, NASTY in answered, ESCAPED in answered) == (False, False, True)
    found = section(answered, "found-title")
    assert [row[:30] for row in texts(found, "li")][1] == "The image is behind a link and"
    assert "Score 0.310" in found
    assert re.findall(r'<img src="([^"]+)"', found) == [f"/v1{path}/images/{OWL.image}"]
    assert '<option value="captions" selected>' in answered
    more = re.findall(r'href="([^"]+)" aria-label="More like result', found)
    assert len(more) == 2
    again = world.api.get(more[0].replace("&amp;", "&"), follow_redirects=False)
    assert again.status_code == 303
    assert world.api.get(f"/v1{again.headers['location']}").json()["like"] == OWL.image


def test_nothing_found_and_a_failure_are_told_on_the_page(world: World) -> None:
    asked = world.search(text="an owl", search_in="words")
    path = f"/upstreams/world/searches/{asked['id']}"
    world.answer(asked["id"])
    assert "No caption holds all of these words." in page(world.api, path)
    failed = world.search(like="none")
    world.fail(failed["id"], Problem(title="Refused", status=422, code="unknown_image", detail=NASTY))
    html = page(world.api, f"/upstreams/world/searches/{failed['id']}")
    assert (ESCAPED in html, NASTY in html, "/problems/unknown_image" in html) == (True, False, True)


@pytest.mark.parametrize(
    ("query", "status"),
    [("text=", 422), ("", 422), ("text=%00", 422), ("text=owl&search_in=pixels", 422), ("like=a&search_in=words", 422),
     ("text=owl&like=a", 422), (f"text={'x' * 1001}", 422)],
)  # fmt: skip
def test_a_form_that_asks_for_nothing_is_a_page_that_says_so(world: World, query: str, status: int) -> None:
    answer = world.api.get(f"/upstreams/world/search?{query}", headers={"Accept": "text/html"}, follow_redirects=False)
    assert (answer.status_code, answer.headers["content-type"]) == (status, "text/html; charset=utf-8")
    assert world.plans() == []

"""Results that are lost or damaged under a finished experiment: whoever asks for them has them computed again."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from fastapi.testclient import TestClient
from support.finished_experiments import (
    Told,
    finished_on_memory,
    judge_stored,
    judgements,
)
from support.memory_services import api_client
from touchstone_api.bootstrap import Services
from touchstone_api.submission import submit_experiment
from touchstone_conductor.scrub import Scrub
from touchstone_contracts.access import DEFAULT_PROJECT
from touchstone_contracts.keys import blob_key, manifest_key
from touchstone_contracts.messages import StepManifest
from touchstone_runtime.artifacts import Artifacts
from touchstone_runtime.objects import MemoryObjects
from touchstone_store.plan_steps import facts_of_steps
from touchstone_store.steps import find_rows, to_step


@dataclass
class World:
    """A finished experiment, its object store and an api that remembers nothing yet."""

    services: Services
    objects: MemoryObjects
    told: Told
    api: TestClient

    def get(self, path: str) -> tuple[int, str]:
        answer = self.api.get(f"/v1/experiments/{self.told.id}{path}")
        return answer.status_code, answer.json().get("code", "")

    @property
    def phase(self) -> str:
        return str(self.api.get(f"/v1/experiments/{self.told.id}").json()["phase"])

    def states(self, *steps: str) -> set[str]:
        with self.services.store.read() as session:
            return {to_step(row).state for row in find_rows(session, steps).values()}

    def manifest(self, step: str) -> StepManifest:
        found = self.services.artifacts.manifest(step)
        assert found is not None
        return found

    def spoil(self, key: str) -> None:
        """Other bytes of the same length."""
        data = self.objects.get(key)
        self.objects.put(key, bytes([data[0] ^ 1]) + data[1:])


@pytest.fixture
def world(tmp_path: Path) -> World:
    services, objects, told = finished_on_memory(tmp_path)
    return World(services, objects, told, api_client(services, raise_server_exceptions=False))


def test_a_verdict_whose_bytes_are_lost_is_judged_again_when_it_is_asked_for(world: World) -> None:
    [last] = list(judgements(world.told.plan))[-1:]
    before = world.api.get(f"/v1/experiments/{world.told.id}/verdict").json()
    for blob in world.manifest(last).blobs:
        world.objects.remove(blob_key(blob.digest))
    fresh = api_client(world.services)
    answer = fresh.get(f"/v1/experiments/{world.told.id}/verdict")
    assert (answer.status_code, answer.json()["code"]) == (503, "healing")
    assert "1 of its steps" in answer.json()["detail"]
    assert answer.headers["retry-after"]
    assert (world.phase, world.states(last)) == ("running", {"waiting"})
    judge_stored(world.services, world.told.id)
    assert fresh.get(f"/v1/experiments/{world.told.id}/verdict").json() == before
    assert world.phase == "succeeded"


@pytest.mark.parametrize(
    "path",
    [
        "/classes?arm=synthetic&size=6&target=fine",
        "/manifest",
        "/predictions",
        "/labels",
        "/arms/synthetic?target=fine",
    ],
)
def test_whatever_was_lost_of_a_finished_experiment_heals_when_it_is_asked_for(world: World, path: str) -> None:
    plan = world.told.plan
    for steps in (plan.evaluations, plan.curations, plan.audits):
        for step in steps.values():
            world.objects.remove(manifest_key(step))
    answer = api_client(world.services).get(f"/v1/experiments/{world.told.id}{path}")
    assert (answer.status_code, answer.json()["code"]) == (503, "healing")
    assert world.states(*plan.evaluations.values(), *plan.curations.values(), *plan.audits.values()) == {"waiting"}


def test_an_image_with_other_bytes_of_the_same_length_is_not_shown_and_made_again(world: World) -> None:
    step = world.told.plan.curations["fine", "synthetic"]
    page = world.api.get(f"/v1/experiments/{world.told.id}/arms/synthetic/images?target=fine").json()
    shard = next(blob for blob in world.manifest(step).blobs[1:])
    data = bytearray(world.objects.get(blob_key(shard.digest)))
    data[600:] = bytes(len(data) - 600)
    world.objects.put(blob_key(shard.digest), bytes(data))
    answer = world.api.get(page["items"][-1]["url"])
    assert (answer.status_code, answer.json()["code"]) == (503, "healing")
    assert world.objects.size(blob_key(shard.digest)) is None
    assert (world.phase, world.states(step)) == ("running", {"waiting"})


@pytest.mark.parametrize("way", ["post", "retry"])
def test_posting_or_retrying_a_finished_experiment_has_lost_results_computed_again(world: World, way: str) -> None:
    steps = [*world.told.plan.evaluations.values()][:2]
    world.objects.remove(manifest_key(steps[0]))
    world.objects.remove(blob_key(world.manifest(steps[1]).blobs[0].digest))
    if way == "post":
        assert submit_experiment(world.services, DEFAULT_PROJECT, world.told.spec).id == world.told.id
    else:
        assert world.api.post(f"/v1/experiments/{world.told.id}/retry").status_code == 200
    assert world.phase == "running"
    assert world.states(*steps) == {"waiting"}


def test_an_experiment_that_lost_nothing_stays_finished_and_cannot_be_retried(world: World) -> None:
    assert submit_experiment(world.services, DEFAULT_PROJECT, world.told.spec).id == world.told.id
    answer = world.api.post(f"/v1/experiments/{world.told.id}/retry")
    assert (answer.status_code, answer.json()["code"]) == (409, "not_retryable")
    assert world.phase == "succeeded"


def flipped(objects: MemoryObjects, key: str) -> None:
    data = objects.get(key)
    middle = len(data) // 2
    objects.put(key, data[:middle] + bytes([data[middle] ^ 4]) + data[middle + 1 :])


def cut(objects: MemoryObjects, key: str) -> None:
    objects.put(key, objects.get(key)[:-1])


def emptied(objects: MemoryObjects, key: str) -> None:
    objects.put(key, b"")


def gone(objects: MemoryObjects, key: str) -> None:
    objects.remove(key)


FAULTS: tuple[Callable[[MemoryObjects, str], None], ...] = (flipped, cut, emptied, gone)


def test_a_scrub_finds_every_planted_fault_and_has_its_step_computed_again(world: World) -> None:
    sound = Scrub(world.services.store, world.services.artifacts).run()
    assert (sound.damaged, sound.repeated, sound.lost_facts) == ([], [], [])
    assert sound.steps == len(world.told.plan.steps) + len(upstream_steps(world))
    assert sound.blobs > 50
    evaluations = list(world.told.plan.evaluations.values())
    keys = {}
    for step, fault in zip(evaluations[:4], FAULTS, strict=True):
        keys[step] = blob_key(world.manifest(step).blobs[0].digest)
        fault(world.objects, keys[step])
    for step, fault in zip(evaluations[4:8], FAULTS, strict=True):
        fault(world.objects, manifest_key(step))
    swapped = evaluations[8:10]
    first, second = (world.objects.get(manifest_key(step)) for step in swapped)
    world.objects.put(manifest_key(swapped[0]), second)
    world.objects.put(manifest_key(swapped[1]), first)
    found = Scrub(world.services.store, world.services.artifacts).run()
    assert set(evaluations[:10]) <= set(found.repeated)
    assert len(found.damaged) == 4
    assert world.states(*evaluations[:10]) == {"waiting"}
    assert world.phase == "running"
    assert [key for key in keys.values() if world.objects.size(key) is not None] == []


def upstream_steps(world: World) -> list[str]:
    upstream = world.api.get(f"/v1/upstreams/{world.told.spec.upstream}/steps?limit=500").json()
    return [step["id"] for step in upstream["items"]]


def test_a_scrub_names_damaged_parts_of_requests_that_no_step_can_make_again(world: World) -> None:
    with world.services.store.read() as session:
        digest = sorted(facts_of_steps(session, [step.id for step in world.told.plan.steps]))[0]
    world.spoil(blob_key(digest))
    found = Scrub(world.services.store, Artifacts(world.objects)).run()
    assert (found.lost_facts, found.repeated) == ([digest], [])
    assert submit_experiment(world.services, DEFAULT_PROJECT, world.told.spec).id == world.told.id
    assert Scrub(world.services.store, Artifacts(world.objects)).run().damaged == []

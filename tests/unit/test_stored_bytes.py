"""How many bytes results hold, whose they are, and what happens where there is a quota."""

from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient
from rich.console import Console
from support.finished_experiments import Told, finished_on_memory
from support.memory_services import api_client, empty_manifest
from support.specs import spec
from touchstone.storage_tables import print_storage
from touchstone.tables import print_experiment
from touchstone_api.bootstrap import Services
from touchstone_api.submission import submit_experiment
from touchstone_conductor.collect import Collection
from touchstone_conductor.settings import KeptWeights
from touchstone_contracts.access import DEFAULT_PROJECT
from touchstone_contracts.byte_words import byte_words
from touchstone_contracts.steps import ADAPT_ENCODER
from touchstone_contracts.views import ExperimentDetail, Storage
from touchstone_runtime.objects import MemoryObjects
from touchstone_store.losses import forget_results


@dataclass
class World:
    services: Services
    objects: MemoryObjects
    told: Told

    @property
    def api(self) -> TestClient:
        return api_client(self.services)

    def get(self, path: str) -> Any:
        return self.api.get(path).json()

    def stored(self, experiment: str) -> dict[str, int]:
        held = self.get(f"/v1/experiments/{experiment}")["stored"]
        return {name: int(held[name]) for name in ("total", "own")}

    def collect(self, weights: KeptWeights = "all") -> None:
        """Which also notes the sizes of results that were written past the conductor."""
        later = datetime.now(UTC) + timedelta(hours=1)
        Collection(self.services.store, self.objects, timedelta(), weights, delete=True, now=lambda: later).run()

    def blobs(self) -> int:
        return sum(stored.size for stored in self.objects.listed("blobs/"))

    def in_manifests(self, *kinds: str) -> int:
        """Of the results of the experiment, each blob once."""
        sizes: dict[str, int] = {}
        for step in self.told.plan.steps:
            manifest = self.services.artifacts.manifest(step.id)
            assert manifest is not None
            if not kinds or step.kind in kinds:
                sizes |= {blob.digest: blob.size for blob in manifest.blobs}
        return sum(sizes.values())

    def with_quota(self, quota: int) -> Services:
        return replace(self.services, settings=self.services.settings.model_copy(update={"quota_bytes": quota}))


@pytest.fixture
def world(tmp_path: Path) -> World:
    world = World(*finished_on_memory(tmp_path))
    world.collect()
    return world


def test_an_experiment_holds_what_its_manifests_name_each_object_once(world: World) -> None:
    assert world.stored(world.told.id) == {"total": world.in_manifests(), "own": world.in_manifests()}
    assert world.get("/v1/storage")["total"] == world.in_manifests() > 100_000


def test_what_another_experiment_needs_too_is_not_its_own(world: World) -> None:
    other = submit_experiment(world.services, DEFAULT_PROJECT, spec(seeds=(0, 1))).id
    held, shared = world.stored(world.told.id), world.stored(other)
    assert held["total"] == world.in_manifests()
    assert 0 < held["own"] < held["total"]
    assert shared == {"total": held["total"] - held["own"], "own": 0}
    listed = world.get("/v1/storage")
    assert listed["total"] == held["total"]
    assert [(each["id"], each["total"], each["own"]) for each in listed["largest"]] == [
        (world.told.id, held["total"], held["own"]),
        (other, shared["total"], 0),
    ]


def test_its_own_bytes_are_what_a_collection_removes_after_it_was_deleted(world: World) -> None:
    submit_experiment(world.services, DEFAULT_PROJECT, spec(seeds=(0, 1)))
    own, before, objects = world.stored(world.told.id)["own"], world.get("/v1/storage")["total"], world.blobs()
    world.api.delete(f"/v1/experiments/{world.told.id}")
    assert world.get("/v1/storage")["total"] == before
    world.collect()
    assert before - world.get("/v1/storage")["total"] == own
    assert objects - world.blobs() >= own  # and class lists of its requests


def test_weights_that_were_let_go_are_not_held(world: World) -> None:
    weights, before = world.in_manifests(ADAPT_ENCODER.name), world.stored(world.told.id)["total"]
    world.collect("none")
    assert world.stored(world.told.id)["total"] == before - weights < before


def test_a_result_that_was_lost_is_not_held(world: World) -> None:
    [*steps] = world.told.plan.curations.values()
    forget_results(world.services.store, steps, datetime.now(UTC))
    assert world.stored(world.told.id)["total"] < world.in_manifests()


def test_over_the_quota_new_experiments_are_refused_with_what_to_do(world: World) -> None:
    held = world.get("/v1/storage")["total"]
    full = api_client(world.with_quota(held))
    for refused in (
        full.post("/v1/experiments", json=spec(name="another", seeds=(7,)).model_dump(mode="json")),
        full.post(f"/v1/experiments/{world.told.id}/clone", json={"seeds": [7]}),
    ):
        assert (refused.status_code, refused.json()["code"]) == (409, "quota_exceeded")
        assert f"hold {held} bytes, the quota is {held}" in refused.json()["detail"]
        assert "make collect DELETE=1" in refused.json()["detail"]
    again = full.post("/v1/experiments", json=world.told.spec.model_dump(mode="json"))
    assert (again.status_code, again.json()["id"]) == (200, world.told.id)
    assert full.get("/v1/storage").json()["quota"] == held
    room = api_client(world.with_quota(held + 1))
    assert room.post(f"/v1/experiments/{world.told.id}/clone", json={"seeds": [7]}).status_code == 201


def test_after_deleting_and_collecting_there_is_room_again(world: World) -> None:
    services = world.with_quota(world.get("/v1/storage")["total"])
    api = api_client(services)
    api.delete(f"/v1/experiments/{world.told.id}")
    document = world.told.spec.model_dump(mode="json")
    assert api.post("/v1/experiments", json=document).status_code == 409
    world.collect()
    assert api.post("/v1/experiments", json=document).status_code == 201


def test_pages_and_terminal_say_it(world: World) -> None:
    words = byte_words(world.in_manifests())
    assert f"holds {words}, {words} of it alone" in world.api.get(f"/experiments/{world.told.id}").text
    assert f"All results hold {words}." in world.api.get("/").text
    full = api_client(world.with_quota(10**9)).get("/").text
    assert f"All results hold {words} of the 1.0 GB of the quota." in full
    console = Console(record=True, width=120)
    print_experiment(console, ExperimentDetail.model_validate(world.get(f"/v1/experiments/{world.told.id}")))
    print_storage(console, Storage.model_validate(world.get("/v1/storage")))
    said = console.export_text()
    assert f"holds {words}, {words} of it alone" in said
    assert f"results hold {words}" in said
    assert world.told.id in said


def test_an_upstream_says_what_it_holds(world: World) -> None:
    [step, *_] = world.get("/v1/upstreams/world/steps")["items"]
    blob = world.services.artifacts.put_blob(b"the images of a shard")
    manifest = empty_manifest(step["id"], step["kind"]).model_copy(update={"blobs": (blob,)})
    world.services.artifacts.write_manifest(manifest)
    world.collect()
    assert world.get("/v1/upstreams/world")["stored"] == {"total": blob.size, "own": blob.size}
    assert (blob.size, "upstream/world") in {(each["own"], each["id"]) for each in world.get("/v1/storage")["largest"]}


@pytest.mark.parametrize(
    ("size", "words"),
    [(0, "0 bytes"), (999, "999 bytes"), (1000, "1.0 kB"), (12_340_000, "12.3 MB"), (10**18, "1000.0 PB")],
)
def test_bytes_in_words(size: int, words: str) -> None:
    assert byte_words(size) == words

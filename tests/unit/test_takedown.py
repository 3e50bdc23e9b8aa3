"""An image is taken down: its bytes are gone, no later step takes it in, and what was computed with it stays and is
marked."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from fastapi.testclient import TestClient
from support.finished_experiments import Told, finish_experiment, finished_on_memory, write_result
from support.killed_steps import killed_at_a_removal
from support.memory_services import api_client
from support.specs import spec
from touchstone_api.bootstrap import Services
from touchstone_api.submission import submit_experiment
from touchstone_conductor.collect import Collection
from touchstone_conductor.scrub import Scrub
from touchstone_conductor.takedown import Applied, TakingDown
from touchstone_conductor.takedown_reach import reach_of
from touchstone_contracts.access import DEFAULT_PROJECT
from touchstone_contracts.catalogue import ArrayFile, LinkTable
from touchstone_contracts.identity import sha256
from touchstone_contracts.keys import blob_key
from touchstone_contracts.steps import GeneratorTuned, ImagesCurated
from touchstone_contracts.takedowns import Takedown, TakenDown
from touchstone_retrieval.ingest.link_table import link_id, read_links
from touchstone_runtime.artifacts import Artifacts
from touchstone_runtime.image_sets import BLANK_ID, BLANK_IMAGE, ImageRecord, ImageSetWriter, read_images
from touchstone_runtime.objects import MemoryObjects
from touchstone_store.steps import find_rows
from touchstone_store.takedowns import Reader

REASON = "asked for by the person in it"
NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
POOL = ("fine", "retrieved")


@dataclass
class World:
    services: Services
    objects: MemoryObjects
    told: Told

    @property
    def api(self) -> TestClient:
        return api_client(self.services, raise_server_exceptions=False)

    def get(self, path: str) -> Any:
        return self.api.get(f"/v1/experiments/{self.told.id}{path}").json()

    def takes_down(self, images: Sequence[str] = (), keys: Sequence[str] = (), *, look: bool = False) -> list[Applied]:
        return TakingDown(self.services.store, self.objects, lambda: NOON).run(images, keys, REASON, look=look)

    def shown(self, kept: bool = True) -> list[dict[str, Any]]:
        page = self.get(f"/arms/retrieved/images?target=fine&limit=200&kept={str(kept).lower()}")
        return list(page["items"])

    def holding(self, image: bytes) -> list[str]:
        return [stored.key for stored in self.objects.listed("") if image in self.objects.get(stored.key)]

    def states(self, *steps: str) -> set[str]:
        with self.services.store.read() as session:
            return {row.state for row in find_rows(session, steps).values()}

    def pool(self) -> str:
        return self.told.plan.curations[POOL]


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(*finished_on_memory(tmp_path))


def test_the_bytes_are_gone_and_the_pool_is_curated_again(world: World) -> None:
    chosen = world.shown()[3]
    image = world.api.get(chosen["url"]).content
    assert world.holding(image) != []
    [applied] = world.takes_down([chosen["id"]])
    assert (applied.images, world.holding(image)) == ({chosen["id"]}, [])
    assert world.states(world.pool()) == {"waiting"}
    assert world.api.get(chosen["url"]).status_code == 409
    assert world.get("")["phase"] == "running"


def test_a_gateway_that_has_shown_the_image_shows_the_new_pool(world: World) -> None:
    """It remembers pools, and forgets them when something was taken down."""
    api, path = world.api, f"/v1/experiments/{world.told.id}/arms/retrieved"
    chosen = api.get(f"{path}/images?target=fine").json()["items"][3]["id"]
    world.takes_down([chosen])
    assert api.get(f"{path}?target=fine").status_code == 409
    finish_experiment(world.services, world.told)
    images = api.get(f"{path}/images?target=fine").json()["items"]
    assert (images[3]["id"], images[3]["kept"], images[3]["drop_reason"]) == (BLANK_ID, False, "taken_down")
    assert chosen not in [image["id"] for image in images]


def test_results_that_were_computed_with_it_stay_and_say_so(world: World) -> None:
    before, results = world.get("/verdict"), world.get("/results")
    [applied] = world.takes_down([world.shown()[3]["id"]])
    assert [(each.id, each.name) for each in applied.dependants] == [(world.told.id, world.told.spec.name)]
    after, words = world.get("/verdict"), f"was taken down on 2026-01-01 ({REASON})"
    assert after["warnings"][:-1] == before["warnings"]
    assert words in after["warnings"][-1]
    # What its images cost is not known again before the pool is.
    changed = {"warnings", "costs"}
    assert {name: after[name] for name in set(after) - changed} == {
        name: before[name] for name in set(before) - changed
    }
    assert world.get("/results") == results
    assert world.get("")["takedowns"][0]["reason"] == REASON
    assert world.api.get(f"/experiments/{world.told.id}").text.count(words) == 2
    [listed] = world.api.get("/v1/takedowns").json()["items"]
    assert listed["experiments"] == [{"id": world.told.id, "name": world.told.spec.name}]


def test_an_experiment_that_shares_marked_results_is_marked_too_and_others_are_not(world: World) -> None:
    world.takes_down([world.shown()[3]["id"]])
    shares = submit_experiment(world.services, DEFAULT_PROJECT, spec(seeds=(0, 1)), None).id
    other = submit_experiment(world.services, DEFAULT_PROJECT, spec(targets=("broad",), seeds=(0, 1))).id
    assert len(world.api.get(f"/v1/experiments/{shares}").json()["takedowns"]) == 1
    assert world.api.get(f"/v1/experiments/{other}").json()["takedowns"] == []


def test_an_image_that_curation_had_dropped_was_not_trained_on(world: World) -> None:
    chosen = world.shown(kept=False)[0]["id"]
    [applied] = world.takes_down([chosen])
    assert (applied.images, applied.dependants) == ({chosen}, ())
    assert world.get("")["takedowns"] == []
    assert world.states(world.pool()) == {"waiting"}


def test_by_key_it_is_found_and_remembered_by_its_bytes_too(world: World) -> None:
    """Another image has that key in another source: whoever only looks first sees that there are two."""
    chosen = world.shown()[3]["id"]
    [looked] = world.takes_down(keys=[_key_of(world, chosen)], look=True)
    assert (len(looked.images), chosen in looked.images, looked.steps) == (2, True, 4)
    assert (world.services.artifacts.takedowns(), world.states(world.pool())) == ([], {"succeeded"})
    [applied] = world.takes_down(keys=[_key_of(world, chosen)])
    assert applied.images == looked.images == set(applied.takedown.images)
    assert applied.dependants == looked.dependants
    assert world.services.artifacts.taken_down().covers(chosen, "another key")


def _key_of(world: World, image: str) -> str:
    images, _ = world.services.artifacts.image_set(world.pool())
    table = world.services.artifacts.get_table(images.manifest)
    keys = dict(zip(table["id"].to_pylist(), table["source_key"].to_pylist(), strict=True))
    return str(keys[image])


def test_a_request_that_is_made_again_or_repeated_finds_nothing_more_to_do(world: World) -> None:
    chosen = world.shown()[3]["id"]
    world.takes_down([chosen])
    for images in ([chosen], []):
        [applied] = world.takes_down(images)
        assert (len(applied.images), applied.steps, len(applied.dependants)) == (0, 0, 1)
    assert len(world.services.artifacts.takedowns()) == 1


@pytest.mark.parametrize("after", [0, 1])
def test_it_may_be_killed_and_run_again(world: World, after: int) -> None:
    chosen = world.shown()[3]
    image = world.api.get(chosen["url"]).content
    with killed_at_a_removal(world.objects, after):
        world.takes_down([chosen["id"]])
    world.takes_down()
    assert world.holding(image) == []
    assert len(world.get("")["takedowns"]) == 1
    assert world.states(world.pool()) == {"waiting"}


def test_other_pools_with_images_in_the_same_shard_are_made_again_and_not_marked(world: World) -> None:
    artifacts, other = world.services.artifacts, world.told.plan.curations["broad", "retrieved"]
    images, _ = artifacts.image_set(world.pool())
    manifest = artifacts.manifest(other)
    assert manifest is not None
    shared = ImagesCurated.model_validate(manifest.result)
    shards = (*shared.images.shards, *images.shards)
    write_result(
        artifacts,
        other,
        manifest.kind,
        shared.model_copy(update={"images": shared.images.model_copy(update={"shards": shards})}),
    )
    [applied] = world.takes_down([world.shown()[3]["id"]])
    assert world.states(other, world.pool()) == {"waiting"}
    assert applied.steps == 3  # with the label card of its own pool
    marked = submit_experiment(world.services, DEFAULT_PROJECT, spec(targets=("broad",), seeds=(0, 1))).id
    assert world.api.get(f"/v1/experiments/{marked}").json()["takedowns"] == []


def test_a_mark_goes_with_the_result_that_it_is_about(world: World) -> None:
    world.takes_down([world.shown()[3]["id"]])
    world.api.delete(f"/v1/experiments/{world.told.id}")
    world.api.post(f"/v1/experiments/{world.told.id}/cancel")
    world.api.delete(f"/v1/experiments/{world.told.id}")
    later = datetime.now(UTC).replace(year=2040)
    Collection(world.services.store, world.objects, later - later, delete=True, now=lambda: later).run()
    again = submit_experiment(world.services, DEFAULT_PROJECT, world.told.spec).id
    assert world.api.get(f"/v1/experiments/{again}").json()["takedowns"] == []
    [listed] = world.api.get("/v1/takedowns").json()["items"]
    assert listed["experiments"] == []
    assert Scrub(world.services.store, world.services.artifacts).run().lost_facts == []


def written(artifacts: Artifacts, *records: tuple[bytes, ImageRecord]) -> tuple[list[dict[str, Any]], list[bytes]]:
    writer = ImageSetWriter(artifacts)
    for image, record in records:
        writer.add(image, record)
    images = writer.finish()
    table = artifacts.get_table(images.manifest)
    return table.to_pylist(), list(read_images(artifacts, table, images.shards))


@pytest.mark.parametrize(
    ("images", "keys"), [((sha256(b"second"),), ()), ((), ("beaches/2.jpg",)), ((sha256(b"its parent"),), ())]
)
def test_no_later_set_holds_it_and_the_rows_after_it_keep_theirs(
    images: tuple[str, ...], keys: tuple[str, ...]
) -> None:
    artifacts = Artifacts(MemoryObjects())
    artifacts.record_takedown(Takedown.of(images, keys, REASON, NOON))
    first, second, third = (
        ImageRecord(9, 9, source_kind="upstream", source_key=f"beaches/{number}.jpg", caption=f"no {number}")
        for number in (1, 2, 3)
    )
    child = replace(second, parent=sha256(b"its parent"))
    rows, stored = written(artifacts, (b"first", first), (b"second", child), (b"third", third))
    assert stored == [b"first", BLANK_IMAGE, b"third"]
    assert [row["id"] for row in rows] == [sha256(b"first"), BLANK_ID, sha256(b"third")]
    assert [row["kept"] for row in rows] == [True, False, True]
    blank = rows[1]
    assert (blank["caption"], blank["parent"], blank["drop_reason"]) == ("", "", "taken_down")
    assert "beaches/2.jpg" not in str(blank)


def test_a_link_that_was_taken_down_keeps_its_row_and_is_never_asked_for(tmp_path: Path) -> None:
    urls = [f"https://example.org/{number}.jpg" for number in range(3)]
    pq.write_table(pa.table({"url": urls, "caption": ["a", "b", "c"]}), tmp_path / "links.parquet")
    array = ArrayFile(location="library:links.npy", digest=sha256(b"array"))
    links = LinkTable(location="library:links.parquet", digest=sha256(b"table"), images=3, image_embeddings=array)
    gone = TakenDown.of([Takedown.of([link_id(urls[0])], [urls[1]], REASON, NOON)])
    rows = read_links(tmp_path / "links.parquet", links, taken_down=gone)[0].to_pylist()
    assert [row["drop_reason"] for row in rows] == ["taken_down", "taken_down", ""]
    assert [row["source_key"] for row in rows] == ["", "", urls[2]]


def test_a_generator_that_was_tuned_on_it_is_tuned_again(world: World) -> None:
    """Its result names the images."""
    artifacts, image = world.services.artifacts, world.shown()[3]["id"]
    step = next(step for step in world.told.plan.steps if step.kind == "generate_images")
    lora = {"rank": 4}
    tuned = GeneratorTuned.model_validate(
        {
            "weights": None,
            "base_digest": sha256(b"base"),
            "images": world.pool(),
            "image_ids": [image],
            "lora": lora,
            "first_loss": None,
            "last_loss": None,
        }
    )
    write_result(artifacts, step.id, "tune_generator", tuned)
    world.takes_down([image])
    assert world.states(step.id, world.told.plan.curations["fine", "synthetic"]) == {"waiting"}


EDGES = [
    ("shard", "embed", "embed_images"),
    ("embed", "index", "index_upstream"),
    ("index", "retrieve", "retrieve_images"),
    ("retrieve", "embed again", "embed_images"),
    ("retrieve", "pool", "curate_images"),
    ("embed again", "pool", "curate_images"),
    ("split", "embed split", "embed_images"),
    ("split", "other pool", "curate_images"),
    ("split", "evaluate", "evaluate_encoder"),
    ("embed split", "other pool", "curate_images"),
    ("pool", "card", "audit_pool"),
    ("split", "other card", "audit_pool"),
    ("pool", "adapt", "adapt_encoder"),
    ("pool", "perturb", "perturb_images"),
    ("perturb", "third pool", "curate_images"),
    ("third pool", "adapt third", "adapt_encoder"),
    ("adapt", "evaluate", "evaluate_encoder"),
    ("evaluate", "judge", "judge_experiment"),
]


def reached(holders: dict[str, str], used: set[str]) -> tuple[set[str], set[str]]:
    reach = reach_of(holders, used, lambda steps: [Reader(*edge) for edge in EDGES if edge[0] in steps])
    return reach.remade - set(holders), reach.marked


def test_an_upstream_image_that_no_arm_retrieved_concerns_the_index_alone() -> None:
    assert reached({"shard": "ingest_images"}, {"shard"}) == ({"embed", "index"}, set())


def test_what_was_made_from_a_pool_that_kept_it_is_made_again_and_what_was_measured_is_marked() -> None:
    held = {"shard": "ingest_images", "retrieve": "retrieve_images", "pool": "curate_images"}
    again, marked = reached(held, set(held))
    assert again == {"embed", "index", "embed again", "card", "perturb", "third pool"}
    assert marked == {"adapt", "adapt third", "evaluate", "judge"}


def test_a_test_image_concerns_what_was_tested_on_it() -> None:
    assert reached({"split": "ingest_images"}, {"split"}) == ({"embed split", "other card"}, {"evaluate", "judge"})


def test_a_shard_that_is_gone_is_no_loss_of_anything_else(world: World) -> None:
    before = {stored.key for stored in world.objects.listed("blobs/")}
    images, _ = world.services.artifacts.image_set(world.pool())
    world.takes_down([world.shown()[3]["id"]])
    assert before - {stored.key for stored in world.objects.listed("blobs/")} == {
        blob_key(shard.digest) for shard in images.shards
    }

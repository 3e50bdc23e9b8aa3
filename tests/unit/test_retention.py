"""Deleting experiments, and collecting what nobody needs any more: what is needed stays, whenever it is interrupted."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import func, select
from support.finished_experiments import Told, finish_experiment, post_experiment
from support.killed_steps import killed_at_a_removal
from support.memory_services import api_client, memory_services
from support.specs import spec
from touchstone_api.bootstrap import Services
from touchstone_api.submission import submit_experiment
from touchstone_conductor.collect import Collected, Collection, words
from touchstone_conductor.scrub import Scrub
from touchstone_conductor.settings import KeptWeights
from touchstone_contracts.access import DEFAULT_PROJECT
from touchstone_contracts.keys import blob_key, manifest_key
from touchstone_contracts.messages import StepManifest
from touchstone_contracts.recipes.cross_entropy import CrossEntropy
from touchstone_contracts.steps import ADAPT_ENCODER
from touchstone_runtime.artifacts import Artifacts
from touchstone_runtime.objects import MemoryObjects
from touchstone_store.tables import EventRow, ExperimentRow, PlanRow, PlanStepRow, StepRow

HOUR = timedelta(hours=1)


@dataclass
class World:
    services: Services
    objects: MemoryObjects
    api: TestClient

    def collect(
        self,
        *,
        delete: bool = True,
        grace: timedelta = timedelta(),
        later: timedelta = HOUR,
        weights: KeptWeights = "chosen",
    ) -> Collected:
        now = datetime.now(UTC) + later
        return Collection(self.services.store, self.objects, grace, weights, delete=delete, now=lambda: now).run()

    def delete(self, told: Told) -> int:
        return self.api.delete(f"/v1/experiments/{told.id}").status_code

    def stored(self) -> set[str]:
        return {stored.key for stored in self.objects.listed("")}

    def count(self, table: type) -> int:
        with self.services.store.read() as session:
            return session.scalar(select(func.count()).select_from(table)) or 0


@pytest.fixture
def world(tmp_path: Path) -> World:
    objects = MemoryObjects()
    services = memory_services(tmp_path, Artifacts(objects))
    return World(services, objects, api_client(services))


@pytest.fixture
def finished(world: World) -> Told:
    told = post_experiment(world.services)
    finish_experiment(world.services, told)
    return told


def test_a_deleted_experiment_is_gone_everywhere_at_once(world: World, finished: Told) -> None:
    paths = ("", "/results", "/verdict", "/labels", "/manifest", "/steps", "/arms/synthetic/images?target=fine")
    assert [world.api.get(f"/v1/experiments/{finished.id}{path}").status_code for path in paths] == [200] * 7
    assert world.delete(finished) == 204
    assert [world.api.get(f"/v1/experiments/{finished.id}{path}").status_code for path in paths] == [404] * 7
    assert world.api.get(f"/experiments/{finished.id}").status_code == 404
    assert world.api.get("/v1/experiments").json()["items"] == []
    assert world.delete(finished) == 404
    assert (world.count(ExperimentRow), world.count(PlanRow)) == (0, 1)


def test_an_active_experiment_is_not_deleted_until_it_is_cancelled(world: World) -> None:
    told = post_experiment(world.services)
    answer = world.api.delete(f"/v1/experiments/{told.id}")
    assert (answer.status_code, answer.json()["code"]) == (409, "still_active")
    assert f"{told.id}/cancel" in answer.json()["detail"]
    world.api.post(f"/v1/experiments/{told.id}/cancel")
    assert world.delete(told) == 204


def test_an_idempotency_key_of_a_deleted_experiment_can_be_used_again(world: World, finished: Told) -> None:
    submit_experiment(world.services, DEFAULT_PROJECT, finished.spec, "key")
    assert world.delete(finished) == 204
    again = submit_experiment(world.services, DEFAULT_PROJECT, finished.spec, "key")
    assert (again.created, again.id == finished.id) == (True, False)


def test_what_is_needed_is_never_collected(world: World, finished: Told) -> None:
    before = world.stored()
    found = world.collect()
    assert (found.removed, found.steps, found.kept) == (0, 0, len(before))
    assert world.stored() == before
    assert Scrub(world.services.store, world.services.artifacts).run().repeated == []


def test_after_everything_was_deleted_only_the_upstream_is_left(world: World, finished: Told) -> None:
    upstream = {manifest_key(step) for step in _upstream_steps(world, finished)}
    size = sum(stored.size for stored in world.objects.listed(""))
    world.delete(finished)
    would = world.collect(delete=False)
    assert would.removed > 50
    found = world.collect()
    assert (found.removed, found.removed_size) == (would.removed, would.removed_size)
    assert found.kept_size == size - found.removed_size == sum(stored.size for stored in world.objects.listed(""))
    assert {key for key in world.stored() if key.startswith("steps/")} == upstream
    assert world.count(StepRow) == len(upstream) == world.count(PlanStepRow)
    assert f"removed {found.removed} objects" in words(found, deleted=True)
    assert "would remove" in words(would, deleted=False)


def test_what_another_experiment_shares_stays(world: World, finished: Told) -> None:
    other = submit_experiment(world.services, DEFAULT_PROJECT, spec(seeds=(0, 1))).id
    shared = world.api.get(f"/v1/experiments/{other}").json()["steps"]["reused"]
    assert shared > 10
    world.delete(finished)
    assert world.collect().removed > 0
    steps = world.api.get(f"/v1/experiments/{other}/steps?state=succeeded&limit=500").json()["items"]
    assert len(steps) >= shared
    assert [step["id"] for step in steps if world.services.artifacts.present(step["id"]) is None] == []


def test_what_is_younger_than_the_grace_period_stays(world: World, finished: Told) -> None:
    world.delete(finished)
    kept = world.collect(grace=2 * HOUR)
    assert (kept.removed, kept.young > 50) == (0, True)
    assert world.collect(grace=2 * HOUR, later=3 * HOUR).removed == kept.young


def test_without_delete_nothing_changes(world: World, finished: Told) -> None:
    world.delete(finished)
    before, rows = world.stored(), world.count(StepRow)
    world.collect(delete=False)
    assert (world.stored(), world.count(StepRow)) == (before, rows)


@pytest.mark.parametrize("after", [0, 1, 7, 40])
def test_a_collection_that_is_killed_leaves_nothing_broken_and_the_next_one_ends_it(
    world: World, finished: Told, after: int
) -> None:
    other = submit_experiment(world.services, DEFAULT_PROJECT, spec(seeds=(0, 1))).id
    world.delete(finished)
    with killed_at_a_removal(world.objects, after):
        world.collect()
    steps = world.api.get(f"/v1/experiments/{other}/steps?state=succeeded&limit=500").json()["items"]
    assert len(steps) > 10
    assert [step["id"] for step in steps if world.services.artifacts.present(step["id"]) is None] == []
    assert world.collect().removed > 0
    assert world.collect().removed == 0
    assert Scrub(world.services.store, world.services.artifacts).run().repeated == []


def test_the_same_experiment_can_be_posted_again_after_a_collection(world: World, finished: Told) -> None:
    digest = world.api.get(f"/v1/experiments/{finished.id}/results").json()["digest"]
    world.delete(finished)
    world.collect()
    again = post_experiment(world.services)
    assert world.api.get(f"/v1/experiments/{again.id}").json()["steps"]["reused"] == 0
    finish_experiment(world.services, again)
    assert world.api.get(f"/v1/experiments/{again.id}/results").json()["digest"] == digest


def test_steps_that_nobody_wants_any_more_but_somebody_works_on_stay(world: World) -> None:
    told = post_experiment(world.services)
    with world.services.store.write() as session:
        row = session.scalars(select(StepRow).where(StepRow.state == "waiting")).first()
        assert row is not None
        row.state = "leased"
        leased = row.id
    world.api.post(f"/v1/experiments/{told.id}/cancel")
    assert world.delete(told) == 204
    world.collect()
    with world.services.store.read() as session:
        assert leased in set(session.scalars(select(StepRow.id)))


RATES = (0.01, 0.1)


@pytest.fixture
def grid(world: World) -> Told:
    """Every arm chose the larger one of two learning rates."""
    told = post_experiment(world.services, spec(recipe=CrossEntropy(learning_rates=RATES)))
    finish_experiment(world.services, told, chosen=dict.fromkeys(("retrieved", "synthetic"), RATES[1]))
    return told


def runs_with_weights(world: World, told: Told) -> set[float]:
    """The learning rates of those whose weights are stored."""
    return {
        step.request.learning_rate  # type: ignore[attr-defined]
        for step in told.plan.steps
        if step.kind == ADAPT_ENCODER.name
        and world.objects.size(blob_key(manifest_of(world, step.id).result["weights"]["digest"])) is not None
    }


def manifest_of(world: World, step: str) -> StepManifest:
    found = world.services.artifacts.manifest(step)
    assert found is not None
    return found


@pytest.mark.parametrize(("policy", "left"), [("all", set(RATES)), ("chosen", {RATES[1]}), ("none", set())])
def test_weights_outlive_their_evaluations_as_the_policy_says(
    world: World, grid: Told, policy: KeptWeights, left: set[float]
) -> None:
    would = world.collect(delete=False, weights=policy)
    assert runs_with_weights(world, grid) == set(RATES)
    found = world.collect(weights=policy)
    assert (found.let_go, found.removed) == (would.let_go, would.removed) == (16 * (2 - len(left)),) * 2
    assert runs_with_weights(world, grid) == left
    assert world.collect(weights=policy).removed == 0


@pytest.mark.parametrize("way", ["scrub", "post", "retry", "clone"])
def test_weights_that_were_let_go_are_no_damage(world: World, grid: Told, way: str) -> None:
    paths = (
        "/results",
        "/verdict",
        "/predictions",
        "/labels",
        "/manifest",
        "/classes?arm=synthetic&size=6&target=fine",
    )
    before = [world.api.get(f"/v1/experiments/{grid.id}{path}").content for path in paths]
    world.collect(weights="none")
    runs = [step.id for step in grid.plan.steps if step.kind == ADAPT_ENCODER.name]
    assert [run for run in runs if world.services.artifacts.verified(run) is None] == []
    if way == "scrub":
        assert Scrub(world.services.store, world.services.artifacts).run().repeated == []
    elif way == "post":
        assert not submit_experiment(world.services, DEFAULT_PROJECT, grid.spec).created
    elif way == "retry":
        assert world.api.post(f"/v1/experiments/{grid.id}/retry").json()["code"] == "not_retryable"
    else:
        clone = world.api.post(f"/v1/experiments/{grid.id}/clone", json={"evaluation": {"metrics": ["zero_shot"]}})
        assert clone.json()["reused_by_kind"][ADAPT_ENCODER.name] == len(runs)
    assert world.api.get(f"/v1/experiments/{grid.id}").json()["phase"] == "succeeded"
    fresh = api_client(world.services)
    assert [fresh.get(f"/v1/experiments/{grid.id}{path}").content for path in paths] == before


def test_weights_that_an_unfinished_evaluation_may_read_stay(world: World, grid: Told) -> None:
    """One evaluation of a clone is still to come, and any run of its grid may be the one that it tests."""
    world.api.post(f"/v1/experiments/{grid.id}/clone", json={"evaluation": {"metrics": ["zero_shot"]}})
    assert world.collect(weights="none").let_go == 0
    assert runs_with_weights(world, grid) == set(RATES)


def test_weights_younger_than_the_grace_period_stay(world: World, grid: Told) -> None:
    assert world.collect(grace=2 * HOUR).let_go == 0
    assert world.collect(grace=2 * HOUR, later=3 * HOUR).let_go == 16


def _upstream_steps(world: World, told: Told) -> Iterator[str]:
    page = world.api.get(f"/v1/upstreams/{told.spec.upstream}/steps?limit=500").json()
    yield from (step["id"] for step in page["items"])
    assert world.count(EventRow) > 0

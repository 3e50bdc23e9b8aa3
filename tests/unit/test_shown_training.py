"""A training that has not finished shows its epochs: its worker tells of them, the API and the page pass them on."""

from pathlib import Path

import pytest
import torch
from fastapi.testclient import TestClient
from gpu.recipes import load, training_data, untouched
from support.finished_experiments import Told, finish_experiment, hand_out, post_experiment
from support.pages import page, texts
from support.specs import spec
from support.trainer_world import CLASSES, TEMPLATES
from touchstone_api.bootstrap import Services
from touchstone_contracts.problems import Transient
from touchstone_contracts.recipes.cross_entropy import CrossEntropy
from touchstone_contracts.steps import EpochScore, EpochsSoFar
from touchstone_contracts.values import StepId
from touchstone_planning.layout import layout_of
from touchstone_runtime.artifacts import Artifacts
from touchstone_runtime.objects import MemoryObjects
from touchstone_runtime.savepoints import SHOW_SECONDS, StepSavepoints
from touchstone_trainer.recipes.gradient import Run
from touchstone_trainer.recipes.loop import Adapted
from touchstone_trainer.recipes.registry import adapt
from touchstone_trainer.recipes.subject import Subject

STEP = "5a" * 32
RECIPE = CrossEntropy(epochs=4, batch_size=8, warmup_fraction=0.5)
SOME = EpochsSoFar(
    epochs=tuple(EpochScore(epoch=n, train_loss=1 / n, validation_accuracy=0.5 + n / 100) for n in (1, 2, 3)),
    planned=10,
)


class FullObjects(MemoryObjects):
    """Nothing can be written."""

    tried = 0

    def put(self, key: str, data: bytes) -> None:
        self.tried += 1
        raise Transient("no space left")


def savepoints(objects: MemoryObjects, show_seconds: float) -> StepSavepoints:
    return StepSavepoints(objects, STEP, 3600, resumes=False, show_seconds=show_seconds)


def trained(folder: Path, saved: StepSavepoints, seen: list[EpochsSoFar | None]) -> Adapted:
    """`seen`: what could be read at each update."""
    artifacts = Artifacts(saved._objects)

    def progress(done: int, total: int | None) -> None:
        stored = artifacts.shown(STEP)
        seen.append(None if stored is None else EpochsSoFar.model_validate_json(stored))

    tower = load(folder, "vit", torch.device("cpu"))
    subject = Subject(untouched(tower), tower, CLASSES, TEMPLATES)
    return adapt(subject, training_data(tower), RECIPE, Run(1e-3, seed=3, progress=progress, savepoints=saved))


def test_every_epoch_is_shown_once_it_is_done_and_nothing_is_left_in_the_end(tmp_path: Path) -> None:
    objects, seen = MemoryObjects(), list[EpochsSoFar | None]()
    saved = savepoints(objects, show_seconds=0)
    adapted = trained(tmp_path, saved, seen)
    per_epoch = adapted.updates // RECIPE.epochs
    assert per_epoch >= 2
    for update, told in enumerate(seen):
        done = update // per_epoch
        assert (told.epochs if told else ()) == adapted.epochs[:done]
        assert told is None or told.planned == RECIPE.epochs
    assert len(seen) == adapted.updates
    saved.remove()
    assert list(objects.listed("savepoints/")) == []


def test_a_training_that_takes_no_longer_than_a_few_seconds_writes_nothing(tmp_path: Path) -> None:
    objects = MemoryObjects()
    trained(tmp_path, savepoints(objects, SHOW_SECONDS * 100), [])
    assert list(objects.listed("savepoints/")) == []


def test_a_store_that_takes_nothing_holds_no_training_up_and_is_left_alone_for_a_while(tmp_path: Path) -> None:
    objects = FullObjects()
    assert len(trained(tmp_path, savepoints(objects, show_seconds=0), []).epochs) == RECIPE.epochs
    assert objects.tried == 1


@pytest.fixture
def told(services: Services) -> Told:
    return post_experiment(services, spec(seeds=(0, 1, 2), sizes=(6,)))


def trainings(told: Told) -> list[StepId]:
    """Of the synthetic arm at its first target, by seed."""
    grid = next(each for each in layout_of(told.plan).grids if (each.target, each.arm) == ("fine", "synthetic"))
    return [each.step for each in sorted(grid.adaptations, key=lambda each: each.seed)]


def test_runs_that_workers_are_at_are_told_with_their_epochs(api: TestClient, services: Services, told: Told) -> None:
    address = f"/v1/experiments/{told.id}/arms/synthetic/runs?target=fine"
    page_address = f"/experiments/{told.id}/runs?target=fine&arm=synthetic"
    assert api.get(address).json()["unfinished"] == []
    first, second, _ = steps = trainings(told)
    assert len(steps) == 3
    hand_out(services, [first, second])
    StepSavepoints(services.artifacts._objects, first, 3600, resumes=False, show_seconds=0).show(SOME)
    answer = api.get(address).json()
    assert answer["runs"] == []
    assert [(run["step"], run["seed"], run["planned_epochs"]) for run in answer["unfinished"]] == [
        (first, 0, 10),
        (second, 1, None),
    ]
    assert answer["unfinished"][0]["epochs"] == [score.model_dump() for score in SOME.epochs]
    html = page(api, page_address)
    assert "0 of 3 runs have finished, 2 are being trained." in html
    assert "data-unfinished" in html
    assert html.count("<polyline") == 2  # loss and accuracy of the one that has told
    assert texts(html, "td")[:3] == ["3 of 10", "0.3333", "53.0"]
    assert "the worker has not told of an epoch yet" in html
    finish_experiment(services, told)
    assert api.get(address).json()["unfinished"] == []
    assert "data-unfinished" not in page(api, page_address)


@pytest.mark.parametrize("stored", [b"", b"\xff\xfe", b"0" * 64 + b"{}", b"[]"])
def test_what_cannot_be_read_is_as_if_nothing_had_been_told(
    api: TestClient, services: Services, told: Told, stored: bytes
) -> None:
    first, *_ = trainings(told)
    hand_out(services, [first])
    shown = StepSavepoints(services.artifacts._objects, first, 3600, resumes=False, show_seconds=0)
    shown.show(SOME)
    [key] = [each.key for each in services.artifacts._objects.listed("savepoints/")]
    services.artifacts._objects.put(key, stored)
    [run] = api.get(f"/v1/experiments/{told.id}/arms/synthetic/runs?target=fine").json()["unfinished"]
    assert (run["epochs"], run["planned_epochs"]) == ([], None)

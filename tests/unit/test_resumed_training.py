"""Training that is killed again and again ends with the weights of an undisturbed run, and repeats next to nothing."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from gpu.recipes import load, training_data, untouched
from support.trainer_world import CLASSES, TEMPLATES
from touchstone_contracts.recipes import Recipe
from touchstone_contracts.recipes.contrastive import Contrastive
from touchstone_contracts.recipes.cross_entropy import CrossEntropy
from touchstone_contracts.recipes.learned_prompts import LearnedPrompts
from touchstone_contracts.recipes.lora import LoRA
from touchstone_contracts.recipes.two_stage import TwoStage
from touchstone_runtime.artifacts import Artifacts
from touchstone_runtime.objects import MemoryObjects, MissingObject
from touchstone_runtime.savepoints import StepSavepoints
from touchstone_trainer.checkpoints import dump_weights
from touchstone_trainer.recipes.gradient import Run
from touchstone_trainer.recipes.loop import Adapted
from touchstone_trainer.recipes.registry import adapt
from touchstone_trainer.recipes.subject import Subject

STEP = "5a" * 32
SHORT: dict[str, Any] = {"epochs": 3, "batch_size": 8, "warmup_fraction": 0.5}
RECIPES: dict[str, Recipe] = {
    "cross_entropy": CrossEntropy(**SHORT),
    "smoothed towards the untouched encoder": CrossEntropy(**SHORT, interpolation=0.5),
    "mixed images": CrossEntropy(**SHORT, batch_augmentation={"kind": "cutmix", "alpha": 1.0}),
    "contrastive": Contrastive(**SHORT),
    "lora": LoRA(**SHORT, rank=2),
    "learned_prompts": LearnedPrompts(**SHORT),
    "two_stage": TwoStage(**SHORT, head={"images": 24, "epochs": 3, "batch_size": 8, "learning_rate": 1e-2}),
}


class Killed(BaseException):
    """As SIGKILL: nothing that handles failures sees it."""


@dataclass
class Trainer:
    """One object store, and a new process for every attempt."""

    folder: Path
    recipe: Recipe
    objects: MemoryObjects = field(default_factory=MemoryObjects)
    updates: int = 0
    """Of all attempts."""

    def attempt(self, number: int, after: int | None = None, every_seconds: float = 0.0) -> Adapted:
        """Killed after so many updates."""
        savepoints = Artifacts(self.objects).savepoints(STEP, every_seconds, resumes=number > 1)
        tower = load(self.folder, "vit", torch.device("cpu"))
        data = training_data(tower)
        left = after

        def progress(done: int, total: int | None) -> None:
            nonlocal left
            self.updates += 1
            if left is not None:
                left -= 1
                if left < 0:
                    raise Killed

        subject = Subject(untouched(tower), tower, CLASSES, TEMPLATES)
        run = Run(1e-3, seed=3, progress=progress, savepoints=savepoints)
        return adapt(subject, replace(data, target=data.training), self.recipe, run)


@pytest.fixture(params=RECIPES)
def recipe(request: pytest.FixtureRequest) -> Recipe:
    return RECIPES[request.param]


def test_a_run_that_is_killed_after_every_update_ends_with_the_same_weights(tmp_path: Path, recipe: Recipe) -> None:
    whole = Trainer(tmp_path, recipe)
    undisturbed = whole.attempt(1)
    again, kills = Trainer(tmp_path, recipe), 0
    for attempt in range(1, 30):
        try:
            resumed = again.attempt(attempt, after=1)
            break
        except Killed:
            kills += 1
    assert kills >= 8
    assert dump_weights(resumed.weights) == dump_weights(undisturbed.weights)
    assert (resumed.epochs, resumed.first_stage) == (undisturbed.epochs, undisturbed.first_stage)
    assert (resumed.best_epoch, resumed.updates) == (undisturbed.best_epoch, undisturbed.updates)
    # An update that was reported when the process died was not saved yet: one each time.
    assert again.updates <= whole.updates + kills


def test_what_is_saved_now_and_then_costs_what_came_after_it(tmp_path: Path) -> None:
    undisturbed = Trainer(tmp_path, RECIPES["cross_entropy"]).attempt(1)
    trainer = Trainer(tmp_path, RECIPES["cross_entropy"])
    with pytest.raises(Killed):
        trainer.attempt(1, after=4)
    with pytest.raises(Killed):
        trainer.attempt(2, after=2, every_seconds=3600)
    resumed = trainer.attempt(3, every_seconds=3600)
    assert dump_weights(resumed.weights) == dump_weights(undisturbed.weights)
    assert trainer.updates == 5 + 3 + (undisturbed.updates - 4)


def damaged(data: bytes) -> bytes:
    return data[:-1] + bytes([data[-1] ^ 1])


def cut(data: bytes) -> bytes:
    return data[: len(data) // 2]


def of_nothing(data: bytes) -> bytes:
    return b""


@pytest.mark.parametrize("spoil", [damaged, cut, of_nothing])
def test_a_spoilt_savepoint_means_that_the_run_begins_anew(tmp_path: Path, spoil: Callable[[bytes], bytes]) -> None:
    trainer = Trainer(tmp_path, RECIPES["cross_entropy"])
    undisturbed = trainer.attempt(1)
    with pytest.raises(Killed):
        trainer.attempt(1, after=4)
    [stored] = [each for each in trainer.objects.listed("savepoints/") if each.key.endswith("/training")]
    trainer.objects.put(stored.key, spoil(trainer.objects.get(stored.key)))
    trainer.updates = 0
    assert dump_weights(trainer.attempt(2).weights) == dump_weights(undisturbed.weights)
    assert trainer.updates == undisturbed.updates


def test_what_another_kind_of_run_saved_is_not_taken(tmp_path: Path) -> None:
    lora = Trainer(tmp_path, RECIPES["lora"])
    undisturbed = lora.attempt(1)
    other = Trainer(tmp_path, RECIPES["cross_entropy"], objects=lora.objects)
    with pytest.raises(Killed):
        other.attempt(1, after=4)
    assert dump_weights(lora.attempt(2).weights) == dump_weights(undisturbed.weights)


def test_a_first_attempt_looks_for_nothing_and_a_finished_step_leaves_nothing(tmp_path: Path) -> None:
    objects = MemoryObjects()
    first = StepSavepoints(objects, STEP, 0, resumes=False)
    first.save("training", b"state")
    assert first.load("training") is None
    second = StepSavepoints(objects, STEP, 0, resumes=True)
    assert second.load("training") == b"state"
    assert second.load("another part") is None
    second.save("training", b"later state")
    assert StepSavepoints(objects, STEP, 0, resumes=True).load("training") == b"later state"
    second.remove()
    assert list(objects.listed("")) == []


def test_an_object_store_that_is_away_costs_a_savepoint_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trainer = Trainer(tmp_path, RECIPES["cross_entropy"])
    undisturbed = trainer.attempt(1)

    def away(key: str, data: bytes) -> None:
        raise MissingObject("no such bucket")

    monkeypatch.setattr(trainer.objects, "put", away)
    assert dump_weights(trainer.attempt(1).weights) == dump_weights(undisturbed.weights)

"""Tuning a generator on few images, and generating with what it left."""

from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load
from support.generator_worker import GeneratorWorker, PoolImage
from support.tiny_images import SHAPES, draw_shape
from support.tiny_pipeline import IMAGE_SIZE
from touchstone_contracts.arms.generation import Sampler
from touchstone_contracts.arms.tuning import LoraSettings
from touchstone_contracts.catalogue import ClassLabel, Generator
from touchstone_contracts.problems import Invalid
from touchstone_contracts.steps import (
    GENERATE_IMAGES,
    TUNE_GENERATOR,
    WRITE_PROMPTS,
    GenerateImages,
    ModelRef,
    TunedModel,
    TuneGenerator,
    WritePrompts,
)
from touchstone_contracts.values import StepId
from touchstone_generator.tuning.lora import TuningSet, tune_unet
from touchstone_runtime.objects import MemoryObjects
from touchstone_runtime.savepoints import StepSavepoints

CLASSES = tuple(ClassLabel(id=number, display_name=name) for number, name in enumerate(SHAPES))
TEMPLATES = ("icon of a {name}",)
LORA = LoraSettings(rank=4, steps=60, batch_size=4, learning_rate=0.02)


def pool(worker: GeneratorWorker) -> StepId:
    rng = np.random.default_rng(0)
    images = [PoolImage(draw_shape(SHAPES[i % 4], "blue", rng), i % 4, kept=i % 5 != 0) for i in range(20)]
    return worker.pool(images)


def request(worker: GeneratorWorker, generator: Generator, **changes: Any) -> TuneGenerator:
    fields = {
        "images": pool(worker),
        "images_per_class": 2,
        "classes": CLASSES,
        "templates": TEMPLATES,
        "generator": ModelRef.of(generator),
        "image_size": IMAGE_SIZE,
        "lora": LORA,
        "seed": 0,
    }
    return TuneGenerator.model_validate(fields | changes)


def test_the_loss_falls_and_the_weights_carry_their_lineage(worker: GeneratorWorker, generator: Generator) -> None:
    asked = request(worker, generator)
    _, tuned = worker.run(TUNE_GENERATOR, asked)

    assert tuned.first_loss is not None
    assert tuned.last_loss is not None
    assert tuned.last_loss < 0.95 * tuned.first_loss
    assert tuned.weights is not None
    assert (tuned.base_digest, tuned.images, tuned.lora) == (generator.digest, asked.images, LORA)
    assert len(set(tuned.image_ids)) == 8  # two of each class
    weights = load(worker.artifacts.get_blob(tuned.weights))
    assert weights
    assert all(name.startswith("unet.") and ".attn" in name for name in weights)


def test_the_same_request_leaves_the_same_bytes_and_another_seed_others(
    worker: GeneratorWorker, generator: Generator
) -> None:
    short = LORA.model_copy(update={"steps": 5})
    once, again, other = (
        worker.run(TUNE_GENERATOR, request(worker, generator, lora=short, seed=seed))[1] for seed in (0, 0, 1)
    )
    assert once == again
    assert other.weights != once.weights


def test_tuned_images_differ_say_so_and_leave_the_generator_as_it_was(
    worker: GeneratorWorker, generator: Generator
) -> None:
    tuning, tuned = worker.run(TUNE_GENERATOR, request(worker, generator))
    prompts, _ = worker.run(WRITE_PROMPTS, WritePrompts(classes=CLASSES, templates=TEMPLATES, images_per_class=1))
    plain = ModelRef.of(generator)

    def generate(model: ModelRef | TunedModel) -> list[dict[str, Any]]:
        asked = GenerateImages(
            prompts=prompts,
            first=0,
            last=4,
            generator=model,
            image_size=IMAGE_SIZE,
            sampler=Sampler(steps=3, guidance_scale=3.0, batch_size=4),
            seed=1,
        )
        return worker.rows(worker.run(GENERATE_IMAGES, asked)[1].images)

    before = generate(plain)
    moved = generate(TunedModel(base=plain, tuning=tuning))
    assert tuned.weights is not None
    after = generate(plain)

    assert len(before) == len(moved) == 4
    assert not {row["id"] for row in before} & {row["id"] for row in moved}
    assert {(row["model_digest"], row["tuning_digest"]) for row in moved} == {(generator.digest, tuned.weights.digest)}
    assert {row["tuning_digest"] for row in before} == {""}
    assert [row["id"] for row in after] == [row["id"] for row in before]


def test_an_adapter_of_one_class_sees_its_images_alone_as_many_as_the_adapter_of_all(
    worker: GeneratorWorker, generator: Generator
) -> None:
    short = LORA.model_copy(update={"steps": 5})
    _, whole = worker.run(TUNE_GENERATOR, request(worker, generator, lora=short))
    asked = [request(worker, generator, lora=short, class_id=label.id) for label in CLASSES]
    found = [worker.run(TUNE_GENERATOR, each)[1] for each in asked]
    assert [image for tuned in found for image in tuned.image_ids] == list(whole.image_ids)
    assert len({tuned.weights for tuned in found} | {whole.weights}) == 5
    assert found[2] == worker.run(TUNE_GENERATOR, asked[2])[1]


def test_a_class_without_images_is_generated_untuned_and_counted(worker: GeneratorWorker, generator: Generator) -> None:
    others = worker.pool([PoolImage(draw_shape("bar", "red", np.random.default_rng(0)), 0)], name="one class")
    tuning, tuned = worker.run(TUNE_GENERATOR, request(worker, generator, images=others, class_id=1))
    assert (tuned.weights, tuned.image_ids, tuned.last_loss) == (None, (), None)
    prompts, _ = worker.run(WRITE_PROMPTS, WritePrompts(classes=CLASSES, templates=TEMPLATES, images_per_class=2))
    plain, sampler = ModelRef.of(generator), Sampler(steps=2, guidance_scale=3.0, batch_size=2)
    made = [
        worker.run(
            GENERATE_IMAGES,
            GenerateImages(
                prompts=prompts, first=2, last=4, generator=model, image_size=IMAGE_SIZE, sampler=sampler, seed=1
            ),
        )[1]
        for model in (plain, TunedModel(base=plain, tuning=tuning))
    ]
    assert made[0].images == made[1].images
    assert [found.notes.get("untuned") for found in made] == [None, 2]


def test_one_tuned_copy_is_held_beside_the_generator_itself(worker: GeneratorWorker, generator: Generator) -> None:
    cache, plain, short = worker.tools.generators, ModelRef.of(generator), LORA.model_copy(update={"steps": 2})
    cache.clear()
    cache.get(plain)
    for seed in (0, 1):
        weights = worker.run(TUNE_GENERATOR, request(worker, generator, lora=short, seed=seed))[1].weights
        assert weights is not None
        loaded = cache.tuned(plain, weights.digest, lambda weights=weights: worker.artifacts.get_blob(weights))  # type: ignore[misc]
        assert cache.tuned(plain, weights.digest, bytes) is loaded
        assert len(cache._loaded) == 2


def test_without_an_image_there_is_nothing_to_tune_on(worker: GeneratorWorker, generator: Generator) -> None:
    dropped = PoolImage(draw_shape("bar", "red", np.random.default_rng(0)), 0, kept=False)
    empty = worker.pool([dropped], name="empty")
    with pytest.raises(Invalid) as refused:
        worker.run(TUNE_GENERATOR, request(worker, generator).model_copy(update={"images": empty}))
    assert refused.value.code == "no_tuning_images"


def test_a_loss_that_is_not_finite_stops_the_tuning(worker: GeneratorWorker, generator: Generator) -> None:
    pipeline = worker.tools.generators.fresh(ModelRef.of(generator)).pipeline
    torch.nn.init.constant_(pipeline.unet.conv_out.weight, torch.inf)
    images = TuningSet(torch.zeros((1, 3, IMAGE_SIZE, IMAGE_SIZE)), ["a bar"])
    with pytest.raises(Invalid) as refused:
        tune_unet(pipeline, images, LORA, 0)
    assert refused.value.code == "tuning_diverged"


def test_a_tuning_that_is_killed_after_every_step_ends_with_the_same_weights(
    worker: GeneratorWorker, generator: Generator
) -> None:
    class Killed(BaseException):
        pass

    objects, kills, steps = MemoryObjects(), 0, 0
    pixels = torch.from_numpy(np.random.default_rng(0).uniform(-1, 1, (3, 3, IMAGE_SIZE, IMAGE_SIZE))).float()
    images, short = TuningSet(pixels, ["a bar", "a ring", "a cross"]), LORA.model_copy(update={"steps": 6})

    def pipeline() -> Any:
        return worker.tools.generators.fresh(ModelRef.of(generator)).pipeline

    def killed_at_the_second(done: int, total: int | None) -> None:
        nonlocal steps
        steps += 1
        if done > first + 1:
            raise Killed

    undisturbed = tune_unet(pipeline(), images, short, 5)
    for attempt in range(10):
        savepoints, first = StepSavepoints(objects, "5a" * 32, 0.0, resumes=attempt > 0), attempt
        try:
            resumed = tune_unet(pipeline(), images, short, 5, killed_at_the_second, savepoints)
            break
        except Killed:
            kills += 1
    assert kills == 5
    assert steps == 6 + kills
    assert resumed.weights == undisturbed.weights
    assert np.array_equal(resumed.losses, undisturbed.losses)

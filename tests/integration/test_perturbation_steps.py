"""Perturbing a curated pool: gamma 0 gives it back, more gamma moves further, and shares are only a way to cut it."""

import io
from pathlib import Path
from shutil import copytree
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import StableDiffusionImg2ImgPipeline
from PIL import Image
from support.generator_worker import GeneratorWorker, PoolImage
from support.tiny_images import SHAPES, draw_shape
from support.tiny_pipeline import IMAGE_SIZE
from touchstone_contracts.arms.generation import Sampler
from touchstone_contracts.catalogue import ClassLabel, Generator
from touchstone_contracts.identity import sha256
from touchstone_contracts.problems import Invalid
from touchstone_contracts.steps import PERTURB_IMAGES, WRITE_PROMPTS, ImagesFound, ModelRef, PerturbImages, WritePrompts
from touchstone_generator.encoding import encode_png
from touchstone_generator.sampling.seeds import perturbation_seed
from touchstone_runtime.digests import folder_digest

MINI = Path(__file__).parents[2] / "miniverse" / "models" / "mini-diffusion"
CLASSES = tuple(ClassLabel(id=number, display_name=name) for number, name in enumerate(SHAPES))
SAMPLER = Sampler(steps=5, guidance_scale=3.0, batch_size=3)


def shapes(size: int = IMAGE_SIZE) -> list[PoolImage]:
    """Eight images of four classes; the third was dropped."""
    rng = np.random.default_rng(0)
    return [
        PoolImage(draw_shape(SHAPES[i % 4], "red", rng, size=size), i % 4, f"red {SHAPES[i % 4]}", kept=i != 2)
        for i in range(8)
    ]


def perturb(worker: GeneratorWorker, pool: str, generator: Generator, **changes: Any) -> ImagesFound:
    fields = {
        "pool": pool,
        "part": 0,
        "parts": 1,
        "gamma": 0.6,
        "classes": CLASSES,
        "templates": ("icon of a {name}",),
        "prompt": "class_name",
        "generator": ModelRef.of(generator),
        "image_size": IMAGE_SIZE,
        "sampler": SAMPLER,
        "seed": 7,
    }
    return worker.run(PERTURB_IMAGES, PerturbImages.model_validate(fields | changes))[1]


def pixels(image: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(image)).convert("RGB"), dtype=int)


def test_gamma_zero_gives_the_parents_pixels_back(worker: GeneratorWorker, generator: Generator) -> None:
    found = perturb(worker, worker.pool(shapes()), generator, gamma=0)
    parents = [each.image for each in shapes() if each.kept]
    images = worker.encoded(found)

    assert len(images) == 7
    assert all(np.array_equal(pixels(image), pixels(parent)) for image, parent in zip(images, parents, strict=True))


def test_perturbed_images_can_be_stored_smaller(worker: GeneratorWorker, generator: Generator) -> None:
    found = perturb(worker, worker.pool(shapes()), generator, gamma=0, stored_size=IMAGE_SIZE // 2)
    assert {pixels(image).shape for image in worker.encoded(found)} == {(IMAGE_SIZE // 2, IMAGE_SIZE // 2, 3)}


def test_gamma_zero_gives_a_generated_parent_back_byte_for_byte(worker: GeneratorWorker, generator: Generator) -> None:
    parent = encode_png(pixels(shapes()[0].image).astype(np.uint8))
    found = perturb(worker, worker.pool([PoolImage(parent, 0)]), generator, gamma=0)
    assert worker.rows(found.images)[0]["id"] == sha256(parent)


def test_gamma_zero_squashes_a_parent_of_another_size(worker: GeneratorWorker, generator: Generator) -> None:
    (parent, *_) = shapes(size=48)
    found = perturb(worker, worker.pool([parent]), generator, gamma=0)
    expected = Image.open(io.BytesIO(parent.image)).resize((IMAGE_SIZE, IMAGE_SIZE), Image.Resampling.BICUBIC)

    assert np.array_equal(pixels(worker.encoded(found)[0]), np.asarray(expected))


@pytest.mark.parametrize("parts", [2, 3, 9])
def test_shares_together_are_the_whole_byte_for_byte(worker: GeneratorWorker, generator: Generator, parts: int) -> None:
    pool = worker.pool(shapes())
    whole = worker.encoded(perturb(worker, pool, generator))
    shares = [worker.encoded(perturb(worker, pool, generator, part=part, parts=parts)) for part in range(parts)]

    assert len(whole) == 7
    assert [image for share in shares for image in share] == whole


def test_every_perturbed_image_carries_its_parent_and_how_it_was_made(
    worker: GeneratorWorker, generator: Generator
) -> None:
    rows = worker.rows(perturb(worker, worker.pool(shapes()), generator).images)
    parents = [each for each in shapes() if each.kept]

    assert len(rows) == 7
    for row, parent in zip(rows, parents, strict=True):
        assert row["parent"] == sha256(parent.image)
        assert row["class_id"] == parent.class_id
        assert row["source_kind"] == "perturbed"
        assert row["caption"] == SHAPES[parent.class_id]
        assert row["seed"] == perturbation_seed(7, row["parent"])
        assert row["gamma"] == pytest.approx(0.6)
        assert (row["scheduler"], row["steps"], row["guidance_scale"]) == ("ddim", 5, 3.0)
        assert row["model_digest"] == generator.digest
    assert {row["source_key"] for row in rows} == {f"key-{i}" for i in range(8) if i != 2}


@pytest.mark.parametrize(
    ("prompt", "caption", "expected"),
    [
        ("class_name", "a red disc", "circle"),
        ("template", "a red disc", "icon of a circle"),
        ("caption", "a red disc", "a red disc"),
        ("caption", " ", "icon of a circle"),
    ],
)
def test_the_prompt_is_the_class_or_the_parents_caption(
    worker: GeneratorWorker, generator: Generator, prompt: str, caption: str, expected: str
) -> None:
    pool = worker.pool([PoolImage(shapes()[0].image, 0, caption)])
    (row,) = worker.rows(perturb(worker, pool, generator, prompt=prompt).images)
    assert row["caption"] == expected


def test_images_are_what_diffusers_makes_of_the_same_parent(worker: GeneratorWorker, generator: Generator) -> None:
    found = perturb(worker, worker.pool(shapes()), generator)
    row, image = worker.rows(found.images)[4], worker.encoded(found)[4]
    pipeline = worker.tools.generators.get(ModelRef.of(generator)).pipeline
    usual = StableDiffusionImg2ImgPipeline(**pipeline.components, requires_safety_checker=False)
    expected = usual(
        row["caption"],
        image=Image.open(io.BytesIO(shapes()[5].image)).convert("RGB"),
        strength=0.6,
        num_inference_steps=SAMPLER.steps,
        guidance_scale=SAMPLER.guidance_scale,
        generator=torch.Generator().manual_seed(row["seed"]),
    ).images[0]

    assert np.abs(pixels(image) - np.asarray(expected, dtype=int)).max() <= 1


def test_a_larger_gamma_moves_further_from_the_parent(worker: GeneratorWorker, library: Path) -> None:
    copytree(MINI, library / "models" / MINI.name)
    mini = Generator(name="mini", model=f"library:models/{MINI.name}", digest=folder_digest(MINI), image_size=32)
    pool = worker.pool(shapes())
    distances = []
    for gamma in (0.0, 0.2, 0.6, 1.0):
        images = worker.encoded(perturb(worker, pool, mini, gamma=gamma))
        parents = [each.image for each in shapes() if each.kept]
        moved = [np.abs(pixels(a) - pixels(b)).mean() for a, b in zip(images, parents, strict=True)]
        distances.append(float(np.mean(moved)))

    assert distances[0] == 0
    assert distances == sorted(distances)
    assert len(set(distances)) == 4


def test_a_step_that_made_no_images_is_refused_as_parent(worker: GeneratorWorker, generator: Generator) -> None:
    written = WritePrompts(classes=CLASSES, templates=("{name}",), images_per_class=1)
    step, _ = worker.run(WRITE_PROMPTS, written)
    with pytest.raises(Invalid) as refused:
        perturb(worker, step, generator)
    assert refused.value.code == "not_an_image_set"

"""Generating images against the loop everybody writes: StableDiffusionPipeline called once per prompt.

Same generator, prompts, seeds, steps and guidance on both sides. Ours is the path of a `generate_images` step without
storage: the pipeline as the worker loads it, fixed batches whose prompts are encoded together. In a denoising step the
loop sends two rows through the UNet (with and without prompt), ours `2 x batch_size`. Ours leaves out what depends on
the text alone after a batch's first step; the rest of the arithmetic is the same, so that the most that can be won
there is what small calls waste. Quality: no value further apart than 1/255."""

from collections.abc import Sequence
from itertools import cycle, islice
from pathlib import Path

import numpy as np
import torch
import yaml
from diffusers import StableDiffusionPipeline
from diffusers.utils import logging as diffusers_logging
from PIL import Image
from support.duels import Duel
from touchstone_contracts.arms.generation import Sampler
from touchstone_contracts.catalogue import Catalogue
from touchstone_contracts.steps import ModelRef
from touchstone_generator.pipelines import load_generator, pick_device
from touchstone_generator.prompts.templates import write_template_prompts
from touchstone_generator.sampling.batches import batches
from touchstone_generator.sampling.schedulers import build_scheduler
from touchstone_generator.sampling.txt2img import Draft, TextToImage
from touchstone_runtime.library import Library

NAME = "generation"
FLOOR = 3
MINIVERSE = Path(__file__).parents[2] / "miniverse"
IMAGES = 64
SAMPLER = Sampler(steps=10, guidance_scale=3.0, batch_size=64)


def prepare() -> Duel[np.ndarray, np.ndarray]:
    diffusers_logging.set_verbosity_error()
    catalogue = Catalogue.model_validate(yaml.safe_load((MINIVERSE / "catalogue.yaml").read_text()))
    target = catalogue.targets[0]
    prompts = write_template_prompts(target.classes, target.templates.synthesis, 1)
    drafts = [Draft(prompt.prompt, seed) for seed, prompt in enumerate(islice(cycle(prompts), IMAGES))]
    generator = catalogue.generators[0]
    return Duel(
        ours=Batched(ModelRef.of(generator), generator.image_size, drafts),
        peer=OneByOne(MINIVERSE / generator.model.removeprefix("library:"), generator.image_size, drafts),
        quality=_same_pictures,
        repetitions=5,
    )


class Batched:
    def __init__(self, ref: ModelRef, image_size: int, drafts: Sequence[Draft]) -> None:
        loaded = load_generator(ref, Library(MINIVERSE), pick_device("cpu"))
        loaded.pipeline.scheduler = build_scheduler(SAMPLER.scheduler, loaded.scheduler_config)
        self._pipeline, self._image_size, self._drafts = loaded.pipeline, image_size, drafts

    def __call__(self) -> np.ndarray:
        painter = TextToImage(self._pipeline, SAMPLER, self._image_size)  # nothing is encoded yet
        return np.concatenate(
            [
                painter.draw(self._drafts[rows.start : rows.stop], 0, lambda step, steps: None)
                for rows in batches(0, len(self._drafts), SAMPLER.batch_size)
            ]
        )


class OneByOne:
    """As the documentation of diffusers shows it, in full precision as ours."""

    def __init__(self, folder: Path, image_size: int, drafts: Sequence[Draft]) -> None:
        self._pipeline = StableDiffusionPipeline.from_pretrained(folder, dtype=torch.float32)
        self._pipeline.set_progress_bar_config(disable=True)
        self._image_size, self._drafts = image_size, drafts

    def __call__(self) -> np.ndarray:
        return np.stack([np.asarray(self._draw(draft)) for draft in self._drafts])

    def _draw(self, draft: Draft) -> Image.Image:
        image: Image.Image = self._pipeline(
            draft.prompt,
            height=self._image_size,
            width=self._image_size,
            num_inference_steps=SAMPLER.steps,
            guidance_scale=SAMPLER.guidance_scale,
            generator=torch.Generator("cpu").manual_seed(draft.seed),
        ).images[0]
        return image


def _same_pictures(ours: np.ndarray, peer: np.ndarray) -> bool:
    apart = np.abs(ours.astype(int) - peer.astype(int))
    print(f"generation: {int((apart > 0).sum())} of {apart.size} values differ, by at most {apart.max()}/255")
    return len(ours) == IMAGES and apart.max() <= 1
